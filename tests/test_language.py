"""The checker of language: each pattern matches its bad example and not its good example, wherever texts stand."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

PROJECT = Path(__file__).resolve().parents[1]
EXAMPLES = {  # name of the pattern → (a violation, text that the pattern must leave alone)
    "not imperative": [
        ("Whether the ratio exceeds its bound.", "Return whether the ratio exceeds its bound."),
        ("The value of a JSON file.", "Theorem 1 of the paper, in NumPy."),
    ],
    "starts with Of": [
        ("Of a plan.", "Of the 2⁴ ways to flip four equal differences, two are as extreme."),
        ("of the environment: the folder", "Offsets of the rows."),
        ("Of plain values, of which `given` may have some.", "of 12"),
    ],
    "starts with The same": [
        ("The same of one subset.", "The same rotation serves queries and documents."),
        ("The same,\nof a parsed override.", "Load the same rows of one subset."),
    ],
    "starts with Those": [("Those that are written.", "Columns of those files that are written.")],
    "distributive": [
        ("Write a row a run and deployment.", "Write one row per run and deployment."),
        ("Nine jobs a run, of which eight depend on the first.", "Nine jobs per run."),
        ("a line\na job", "Give a row a name."),
        ("8 bits a dimension", "one step for each dimension"),
    ],
    "told": [
        ("Each process is told which node it is.", "Each process receives the number of its node."),
        ("The launcher said why.", "The similarity follows from what people said of the texts."),
    ],
    "say so": [("The row says so.", "The column `status` says which runs failed.")],
    "asked": [
        ("Ranges are computed when asked for.", "Ranges are computed on demand."),
        ("A loopback server asks for terms.", "top_k: documents that a user asks to see."),
        ("Answer what a study asks.", "Answer the question of the study, as the user asked."),
    ],
    "speaks for": [("The first process speaks for both.", "The server speaks OSV's protocol.")],
    "knows": [("A task that mteb knows.", "A task of mteb with a known split, as users know it.")],
    "wants": [
        ("The trainer wants float32.", "The trainer requires float32."),
        ("It insists on a column.", "It inserts a column."),
    ],
    "goes on": [("Training goes on from the checkpoint.", "Training resumes; it goes only once over the data.")],
    "is no": [
        ("The loss is no number.", "There is no number in the file."),
        ("The folder is no bundle.", "It is no longer a bundle, and is no larger than before."),
        ("Raises UserError for an id that is none.", "The tokenizer is None where there is none."),
    ],
    "is there": [
        ("Artifacts that are not there.", "Where there is a file, it is read."),
        ("Its training is there, though a score is missing.", "Is there a score?"),
        ("The weights must be\nthere.", "If it is, there is a second file."),
    ],
    "processor": [("Encode on the processor.", "Encode on the CPU, by multiprocessing.")],
    "turned": [
        ("Documents are turned and quantized.", "Texts are turned into embeddings; shuffling is turned off."),
    ],
    "laid over": [
        ("What the grid is laid over.", "The range of the grid, laid out in rows."),
        ("It lays int8 over a moving average.", "It overlays the curves."),
    ],
    "figures": [
        ("Figures of the study.", "Metrics of the study, reconfigured."),
        ("One figure stands for each task.", "Return the figure of Matplotlib."),
    ],
    "twins": [("The method's twin.", "The method's PTQ counterpart, between two others.")],
    "forms": [
        ("Which forms are compared.", "Form batches; the grid has a closed form of its own."),
        ("Each form is compared.", "Each form of a verb; the platforms that are tested."),
    ],
    "whole": [
        ("Resume from the newest whole checkpoint.", "Resume from the latest complete checkpoint."),
        ("The weights of an unbroken training.", "The weights of an uninterrupted training."),
    ],
    "so many": [("The first so many are kept.", "The rows are so many that they do not fit in memory.")],
    "harmless": [("Cells made harmless for a spreadsheet.", "Cells escaped for a spreadsheet; harmless warnings.")],
    "withheld": [("Scores of withheld records.", "Scores of held-out triplets (`task: withheld`).")],
    "apart": [("Queries and documents apart.", "Embeddings drift apart; scores are far apart, apart from rounding.")],
    "idiom": [("This goes without saying.", "It goes without a network.")],
    "vague name": [("found", "ranges_found"), ("_told", "untold"), ("what", "whatever")],
}


@pytest.fixture
def language(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The checker, which is a script outside the package."""
    monkeypatch.chdir(PROJECT)
    spec = importlib.util.spec_from_file_location("language", PROJECT / ".ci" / "language.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def lines_found(language: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable:
    """Lines and patterns of the violations in a file of the given path and text."""

    def check(path: str, text: str) -> list[tuple[int, str]]:
        monkeypatch.setattr(language, "ROOT", tmp_path)
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return [(line, name) for line, name, _ in language.check(file)]

    return check


def test_every_pattern_has_examples(language: ModuleType) -> None:
    assert [pattern.name for pattern in language.PATTERNS] == [*EXAMPLES]
    assert all(pattern.write and pattern.why for pattern in language.PATTERNS)


@pytest.mark.parametrize(("name", "bad", "good"), [(name, *pair) for name, pairs in EXAMPLES.items() for pair in pairs])
def test_a_pattern_matches_the_bad_example_alone(language: ModuleType, name: str, bad: str, good: str) -> None:
    [pattern] = [pattern for pattern in language.PATTERNS if pattern.name == name]
    for text, expected in ((bad, True), (good, False)):
        matches = language.matches(language.Piece(1, text, (pattern.where,)))
        assert (name in {match[2].name for match in matches}) is expected, text


def test_places_in_python(lines_found: Callable) -> None:
    text = '''\
"""Of a module."""
KEY = "told"  # of the environment
MESSAGE = f"it was {KEY} told"
# A comment whose words are
# told on its second line, and `told` in backticks.


class Model:
    """A class.

    Attributes:
        key: a row
            a run.
    """

    key: str
    """What it is told."""

    def found(self, what):
        """The value."""
        self.said, there = 1, [asked for asked in what]
'''
    everywhere = [
        (1, "starts with Of"),
        (2, "starts with Of"),
        (5, "told"),
        (12, "distributive"),
        (17, "told"),
        (19, "vague name"),
        (19, "vague name"),
        (21, "vague name"),
        (21, "vague name"),
        (21, "vague name"),
    ]
    assert lines_found("workflow/qatlab/model.py", text) == sorted(
        [*everywhere, (3, "told"), (20, "not imperative")],
    )
    assert lines_found("tests/test_model.py", text) == everywhere  # their strings are data, their docstrings statements


def test_places_in_rules_and_yaml(lines_found: Callable) -> None:
    rules = 'rule train:  # of a study\n    message: f"it is {1} told twice"\n\n\ndef seeds():\n    """The seeds."""\n'
    assert lines_found("workflow/rules/train.smk", rules) == [
        (1, "starts with Of"),
        (2, "told"),
        (6, "not imperative"),
    ]
    yaml = "# What a study\n# asks.\nquestion: 'figures # of a study'\nkey: value  # of a row\n"
    assert lines_found("conf/study/own.yaml", yaml) == [
        (1, "asked"),
        (3, "figures"),
        (3, "starts with Of"),
        (4, "starts with Of"),
    ]


def test_exceptions_are_for_a_path_and_words(lines_found: Callable) -> None:
    assert lines_found("workflow/qatlab/plots/plot.py", '"""A figure."""\n') == []
    assert lines_found("workflow/qatlab/plots/plot.py", '"""Figures."""\n') == [(1, "figures")]
    assert lines_found("workflow/qatlab/tables/table.py", '"""A figure."""\n') == [(1, "figures")]


def test_the_command(language: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(language, "ROOT", tmp_path)
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "own.yaml").write_text("key: 1  # it is told\n")
    assert language.main(["conf"]) == 1
    assert capsys.readouterr().out.startswith("conf/own.yaml:1: 'told': write 'receives', ")
    assert language.main(["conf", "--counts"]) == 1
    assert capsys.readouterr().out.splitlines()[0].split() == ["1", "conf/own.yaml"]
    (tmp_path / "conf" / "own.yaml").write_text("key: 1  # it receives a number\n")
    assert language.main(["conf"]) == 0
    assert capsys.readouterr().out == ""
