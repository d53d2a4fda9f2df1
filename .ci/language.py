"""Checker of the project's language: plain technical English in docstrings, comments, messages and names.

`python .ci/language.py [PATH …]` prints `path:line: 'words': write … (why)` for each violation and ends with exit code 1
if there is one; `--counts` prints the number of violations per folder instead. Text in backticks is never checked.
"""

import argparse
import ast
import re
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path.cwd()
PATHS = [".ci", "Makefile", "Snakefile", "conf", "envs/audit.yaml", "envs/qatlab.yaml", "profiles", "tests", "workflow"]
SUFFIXES = {".py", ".smk", ".yaml"}
FUNCTION, OPENING, TEXT, NAME = "function", "opening", "text", "name"
"""Where a pattern applies: first words of a function's docstring, first words of any docstring or comment, all text, names."""


class Pattern(NamedTuple):
    """Words to avoid: where, as which regular expression, what to write instead, and why. A space also matches a line break."""

    name: str
    where: str
    regex: str
    write: str
    why: str


PEOPLE, TERM, PRIVATE = "a verb of people for a machine", "another word than the field's term", "private wording"
FRAGMENT, NEGATION = "a fragment that only makes sense beside the code", "a negation in place of the term"
MANY = "row|line|step|token|byte|bit|batch|query|document|dimension|panel|figure|value|run|chain|job|file|thread|tensor|box"
PER = f"{MANY}|seed|task|method|deployment|process|node|GPU|core|model|epoch|text|sentence|column|precision|pair"
NOT_VERBS = (
    "An?|The|Of|What|Whether|Whose|Which|Who|Whoever|Where|When|While|How|Those|These|This|That|Such|Its?|They|Each|Every|All|Any"
    "|No|None|Nothing|One|Two|By|As|At|In|On|With|Without|From|For|To|Like|Only|Also|Not"
)
PATTERNS = [Pattern(*parts) for parts in (
    ("not imperative", FUNCTION, rf"(?:{NOT_VERBS})\b", "'Return whether …'", "a function's docstring starts with an imperative"),
    ("starts with Of", OPENING, r"[Oo]f\b(?! \d)(?! [^.;:]*, (?:\w+ ){0,2}(?:is|are|was|were|has|have|would)\b)", "a sentence", FRAGMENT),
    ("starts with The same", OPENING, r"The same(?=[.,]| of\b| by\b| at\b| as\b| again\b)", "the name of what it is equal to", FRAGMENT),
    ("starts with Those", OPENING, r"Those (?:that|whose|which|of|in|below)\b", "the noun", FRAGMENT),
    ("distributive", TEXT, rf"\b(?:[Aa]n?|[Oo]ne|[Tt]wo|[Tt]hree|[Nn]ine|\d+) (?:{MANY})s? an? (?:{PER})\b",
     "'one … per …'", "a distributive without a preposition"),
    ("told", TEXT, r"\b[Tt]old\b|(?<!people )\b[Ss]aid\b", "'receives', 'reported', 'printed', 'distinguished from'", PEOPLE),
    ("say so", TEXT, r"\b[Ss]ay(?:s|ing)? (?:so|nothing)\b", "'is marked', 'reports it', 'sets it'", PEOPLE),
    ("asked", TEXT, r"(?<!users )(?<!user )\basked\b|(?<!user )\b[Aa]sks (?:for|of|to|no)\b|\b(?:study|task|plan|job|model)s? asks?\b",
     "'requested', 'required', 'queried'", PEOPLE),
    ("speaks for", TEXT, r"\b[Ss]peaks? (?:for|of)\b", "'reports on behalf of', 'is the primary process'", PEOPLE),
    ("knows", TEXT, r"(?<!people )(?<!users )(?<!user )(?<!cannot )\b[Kk]nows?\b", "'has', 'contains', 'supports', 'depends on'", PEOPLE),
    ("wants", TEXT, r"\b[Ii]nsists?\b|(?<!user )\bwants\b", "'requires', 'expects'", PEOPLE),
    ("goes on", TEXT, r"\b(?:[Gg]o|[Gg]oes|going|gone|went) on\b", "'resumes', 'continues'", PRIVATE),
    ("is no", TEXT, r"(?<!here )\b(?:is|are|was|were) (?:none\b|no (?!longer\b|more\b|less\b|one\b|(?:better|\w+er than)\b)\w+)",
     "'is not a …', or the term: 'became NaN', 'is invalid', 'is missing'", NEGATION),
    ("is there", TEXT, r"\b(?:is|are|was|were|be|been) (?:(?:not|all|already|still|each|also) )?there\b(?! (?:is|are|was|any|an?|no)\b)",
     "'exists', 'is present', 'is missing'", PRIVATE),
    ("processor", TEXT, r"\b[Pp]rocessors?\b", "'CPU'", TERM),
    ("turned", TEXT, r"\bturned\b(?! (?:on|off|into|out|to|down|back|up)\b)", "'rotated'", TERM),
    ("laid over", TEXT, r"\blaid\b(?! out\b)|\blays? (?:[\w-]+ ){0,4}over\b", "'range', 'fitted to', 'spans'", TERM),
    ("figures", TEXT, r"\b[Ff]igures\b|\b(?:[Aa]|[Ee]ach|[Ee]very|[Oo]ne|[Nn]o|such|per|main|published|single) figure\b",
     "'metrics', 'results', 'scores'", TERM),
    ("twins", TEXT, r"\b[Tt]wins?\b", "'counterpart', 'PTQ counterpart'", TERM),
    ("forms", TEXT, r"\b(?:[Ww]hich|[Tt]he|[Oo]f|three|several|all|other) forms\b(?! in which)|\b(?:[Ee]ach|[Ee]very|[Aa]) form\b(?! of\b)",
     "'variants', 'deployments', 'formats'", TERM),
    ("whole", TEXT, r"\b[Nn]ewest (?:whole|that)\b|\bwhole ones?\b|\b[Uu]nbroken\b", "'latest complete', 'uninterrupted'", PRIVATE),
    ("so many", TEXT, r"\b[Ss]o many\b(?! that\b)(?! \w+ that\b)", "the number: '`n` rows', 'the first `dimensions` values'", PRIVATE),
    ("harmless", TEXT, r"\bmade harmless\b", "'escaped'", TERM),
    ("withheld", TEXT, r"\b[Ww]ithheld (?:records?|triplets?)\b|\b[Rr]ecords withheld\b", "'held-out triplets'", TERM),
    ("apart", TEXT, r"(?<!far )(?<!enough )(?<!drift )(?<!are )\bapart\b(?! from\b)", "'separately', 'distinguish'", PRIVATE),
    ("idiom", TEXT, r"\bgoes without saying\b|\b(?:nobody's|our) business\b|\bfor want of\b", "the fact itself", PRIVATE),
    ("vague name", NAME, r"found|told|told_anyway|said|made|what|asked|there|those|of_each|insists|patiently",
     "what the variable holds, such as `ranges`, `messages`, `artifact`", "a name that does not name its value"),
)]  # fmt: skip
ALLOWED = (
    ("workflow/qatlab/plots/", "figures", r"[Aa] figure", "Matplotlib's own term"),
    ("workflow/qatlab/tables/differences.py", "apart", r"apart", "the name of a column of tables"),
)
"""Exceptions: start of the path, name of the pattern, regular expression of the words, reason."""


class Piece(NamedTuple):
    """Text to check: the number of its first line, its words, and the kinds of pattern that apply to it."""

    line: int
    text: str
    kinds: tuple[str, ...]


def docstrings(tree: ast.Module, is_test: bool) -> Iterator[Piece]:
    """Yield the docstrings of modules, classes, functions and attributes."""
    for node in ast.walk(tree):
        is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        kinds = (OPENING, TEXT, FUNCTION) if is_function and not is_test else (OPENING, TEXT)
        for part in node.body if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) else []:
            match part:
                case ast.Expr(value=ast.Constant(value=str(text))):
                    yield Piece(part.lineno, text, kinds)


def messages(tree: ast.Module) -> Iterator[Piece]:
    """Yield the string constants and f-strings of three words or more that are not docstrings."""
    skipped = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    skipped |= {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        parts = node.values if isinstance(node, ast.JoinedStr) else [node]
        text = "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in parts)
        if id(node) not in skipped and len(text.split()) >= 3 and isinstance(node, ast.JoinedStr | ast.Constant):
            yield Piece(node.lineno, text, (TEXT,))


def names(tree: ast.Module) -> Iterator[Piece]:
    """Yield the variables, attributes, parameters and functions that a module defines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield Piece(node.lineno, node.id if isinstance(node, ast.Name) else node.attr, (NAME,))
        elif isinstance(node, ast.arg | ast.FunctionDef | ast.AsyncFunctionDef):
            yield Piece(node.lineno, node.arg if isinstance(node, ast.arg) else node.name, (NAME,))


def comments(lines: list[tuple[int, str, bool]]) -> Iterator[Piece]:
    """Yield comments, given as line number, text, and whether the line has no code; adjacent lines without code are joined."""
    block: list[tuple[int, str, bool]] = []
    for line in [*lines, (-1, "", False)]:
        if block and not (line[2] and block[-1][2] and line[0] == block[-1][0] + 1):
            yield Piece(block[0][0], "\n".join(text.lstrip("# ") for _, text, _ in block), (OPENING, TEXT))
            block = []
        block.append(line)


def python_pieces(path: Path, inside: str) -> Iterator[Piece]:
    """Yield the texts and names of a Python file, or the comments and strings of Snakemake rules, which `ast` cannot parse."""
    with tokenize.open(path) as file:
        tokens = list(tokenize.generate_tokens(file.readline))
    remarks = [token for token in tokens if token.type == tokenize.COMMENT]
    yield from comments([(token.start[0], token.string, token.line.lstrip()[0] == "#") for token in remarks])
    if path.suffix == ".py":
        tree = ast.parse(path.read_text(encoding="utf-8"))
        yield from docstrings(tree, inside.startswith("tests/"))
        yield from names(tree)
        yield from messages(tree) if inside.startswith("workflow/") else ()
        return
    strings = {tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}
    for token in (token for token in tokens if token.type in strings):
        kinds = (OPENING, TEXT, FUNCTION) if token.string.startswith('"""') else (TEXT,)
        if FUNCTION in kinds or len(token.string.split()) >= 3:
            yield Piece(token.start[0], token.string.strip("f\"'"), kinds)


def plain_pieces(text: str) -> Iterator[Piece]:
    """Yield the comments of a YAML file or Makefile, and its other lines one by one."""
    lines = [re.split(r"(?:^|\s)(?=#)", line, maxsplit=1) for line in text.splitlines()]
    yield from comments([(n, line[1], not line[0].strip()) for n, line in enumerate(lines, 1) if len(line) == 2])
    yield from (Piece(number, line[0], (TEXT,)) for number, line in enumerate(lines, 1) if line[0].strip())


def matches(piece: Piece) -> Iterator[tuple[int, str, Pattern]]:
    """Yield line, words and pattern of each violation in a piece."""
    text = re.sub(r"`[^`]*`", lambda code: re.sub(r"[^`\n]", "_", code[0]), re.sub(r"\n[ \t]+", "\n", piece.text))
    anchored = {NAME: r"\A_*(?:%s)\Z", TEXT: "%s", OPENING: r"\A\s*(?:%s)", FUNCTION: r"\A\s*(?:%s)"}
    for pattern in (pattern for pattern in PATTERNS if pattern.where in piece.kinds):
        for match in re.finditer(anchored[pattern.where] % pattern.regex.replace(" ", r"[ \n]"), text):
            yield piece.line + text.count("\n", 0, match.start()), " ".join(match[0].split()), pattern


def check(path: Path) -> list[tuple[int, str, str]]:
    """Return the line, the pattern's name and the message of each violation in a file, in the order of lines."""
    inside = path.relative_to(ROOT).as_posix()
    is_python = path.suffix in {".py", ".smk"} or path.name == "Snakefile"
    pieces = python_pieces(path, inside) if is_python else plain_pieces(path.read_text(encoding="utf-8"))
    violations = []
    for line, words, pattern in (match for piece in pieces for match in matches(piece)):
        if not any(inside.startswith(a[0]) and a[1] == pattern.name and re.fullmatch(a[2], words) for a in ALLOWED):
            violations.append(
                (line, pattern.name, f"{inside}:{line}: {words!r}: write {pattern.write} ({pattern.why})")
            )
    return sorted(violations)


def main(arguments: list[str]) -> int:
    """Check the files below the given paths, by default all of the project; return 1 where there are violations."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="*", default=PATHS)
    parser.add_argument("--counts", action="store_true", help="print the number of violations per folder and pattern")
    options = parser.parse_args(arguments)
    folders, patterns = Counter[str](), Counter[str]()
    for root in (ROOT / path for path in options.paths):
        for path in sorted(file for file in root.rglob("*") if file.suffix in SUFFIXES) if root.is_dir() else [root]:
            for _, name, message in check(path):
                patterns[name] += 1
                folders["/".join(path.relative_to(ROOT).parts[: 3 if ROOT / "workflow" in path.parents else 2])] += 1
                sys.stdout.write("" if options.counts else message + "\n")
    for counts in (folders, patterns) if options.counts else ():
        sys.stdout.writelines(f"{count:6} {name}\n" for name, count in counts.most_common())
        sys.stdout.write(f"{counts.total():6} in total\n\n")
    return int(bool(patterns))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
