"""Texts in tables are shown, never obeyed: by spreadsheets, browsers, LaTeX or terminals. Numbers stay numbers."""

import csv
from html.parser import HTMLParser

import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from html_elements import Elements
from qatlab.job import JobDescription
from qatlab.stages import index
from qatlab.tables.labels import in_csv, in_latex, in_markdown, write_csv
from qatlab.tables.wide import write_all_forms

FORMULAS = [
    '=HYPERLINK("http://evil.example","click")', "=1+1", "+1+cmd|' /C calc'!A0", "-2+3+cmd|' /C calc'!A0", "@SUM(1,1)",
    "\t=1+1", "\r=1+1", " =1+1", "-A1", "+", "-0.5;=1+1", "-0.5\n=1+1",
]  # fmt: skip
NUMBERS = [
    "-0.5",
    "+0.0434",
    "-0.0309 to +0.0566",
    "-0.8184 ± 0.0044",
    "+1e-05",
    "-3.2 %",
    "-12",
    "+nan",
    "-inf",
    "-.5",
]
WORDS = ["ste_warmup", "nDCG@10", "× 1.03", "–", "int8 codes, ranges per call", "rank 2–3", "baseline/onnx_int8", "é"]
MARKUP = [
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "a | b", "[click](javascript:alert(1))",
    "![x](http://evil.example/x.png)", "`code`", "a\\| b", "<!-- comment", "&lt;b&gt;", "a\nb", "[ref]", "\\[x](y)",
]  # fmt: skip
ANSI = ["\x1b[31mred\x1b[0m", "\x1b]0;title\x07", "\u202egnp.exe", "\x9b31m", "a\x00b", "a\u2028b"]
CONTROL = {chr(code) for code in [*range(32), *range(127, 160), 0x202E, 0x2028]} - {"\n"}


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)


def rendered(markdown):
    """The tags of Markdown as a browser has them, where raw HTML is let through."""
    tags = Tags()
    tags.feed(MarkdownIt("commonmark", {"html": True}).enable("table").render(markdown))
    return tags.tags


@pytest.mark.parametrize("text", FORMULAS)
def test_formulas_are_texts(text):
    assert in_csv(text).startswith("'")
    assert not set(in_csv(text)) & CONTROL


@pytest.mark.parametrize("text", NUMBERS + WORDS)
def test_numbers_and_names_stay_unchanged(text):
    assert in_csv(text) == text
    assert in_markdown(text) == text


@given(st.floats(), st.floats())
@example(-0.5, 1.0)
def test_numbers_stay_numbers(first, second):
    assert in_csv(first) is first
    for text in (f"{first:+.4f}", f"{first:.6g}", f"{first:+.4f} to {second:+.4f}", f"{first:.4f} ± {abs(second):.4f}"):
        assert in_csv(text) == text


@given(st.text())
def test_no_text_begins_as_a_formula_or_holds_control_characters(text):
    cell = in_csv(text)
    assert cell[:1] not in ("=", "@", "\t", "\r")
    assert not set(cell) & (CONTROL | {"\n"})
    assert not set(in_markdown(text)) & (CONTROL | {"\n"})


@given(st.text(st.sampled_from("ab<>|[]()!`\\/:\"'= *_&;#-\n\x1b")))
def test_no_text_makes_tags_of_its_own_in_a_table(text):
    from qatlab.tables.labels import markdown_table

    plain = rendered(markdown_table(pd.DataFrame({"a": ["x", "y"], "b": ["x", "y"]})))
    tags = rendered(markdown_table(pd.DataFrame({"a": [text, "y"], "b": ["x", "y"]})))
    emphasis = ("em", "strong")  # which names with stars and underscores may well have
    assert [tag for tag in tags if tag not in emphasis] == plain


@pytest.fixture
def hostile():
    texts = [*FORMULAS, *MARKUP, *ANSI, r"\input{/etc/passwd}", "$x$ & 100 % #1 ~^{}"]
    table = pd.DataFrame({"name": texts, "value": -0.5, "seed": pd.Series(range(len(texts)), dtype="Int64")})
    return table.rename(columns={"name": "=name\x1b[31m<b>"})


def test_every_format_of_a_view_is_escaped(hostile, tmp_path):
    title = "<script>x</script> $\\input{x}$ [a](b) =1"
    write_all_forms(hostile, tmp_path, "view", title)
    with (tmp_path / "view.csv").open(newline="") as stream:
        header, *rows = list(csv.reader(stream))
    assert header == ["'=name\\x1b[31m<b>", "value", "seed"]
    assert len(rows) == len(hostile)
    assert {row[1] for row in rows} == {"-0.5"}
    assert not [row[0] for row in rows if row[0][:1] in tuple("=+-@\t\r")]
    markdown = (tmp_path / "view.md").read_text()
    assert set(rendered(markdown)) <= {"p", "strong", "em", "table", "thead", "tbody", "tr", "th", "td"}
    assert len(rendered(markdown)) == len(["p", "strong", "table", "thead", "tbody"]) + (1 + 3) * (len(hostile) + 1)
    latex = (tmp_path / "view.tex").read_text()
    assert r"\input" not in latex
    assert r"\textbackslash{}input\{x\}" in latex
    for text in (markdown, latex, (tmp_path / "view.csv").read_text()):
        assert not set(text) & CONTROL


def test_long_tables_are_escaped(hostile, tmp_path):
    write_csv(hostile, tmp_path / "long.csv", "%.6f")
    read = pd.read_csv(tmp_path / "long.csv")
    assert read["value"].eq(-0.5).all()
    assert not read.iloc[:, 0].str.startswith(tuple("=+-@")).any()


def test_the_page_of_studies_is_escaped(tmp_path):
    import json

    (tmp_path / "one" / "tables").mkdir(parents=True)
    (tmp_path / "out").mkdir()
    about = {"study": "one", "title": MARKUP[0], "scale": "full", "question": MARKUP[3] + ANSI[0], "runs": 1}
    (tmp_path / "one" / "study.json").write_text(json.dumps(about))
    pd.DataFrame({"comparison": MARKUP}).to_csv(tmp_path / "one" / "tables" / "answers.csv", index=False)
    index.run(JobDescription(config={}), {"studies": tmp_path}, tmp_path / "out", None)
    text = (tmp_path / "out" / "index.html").read_text()
    page = Elements(text)
    assert not {"img", "a"} & set(page.tags)
    assert page.tags.count("script") == 1  # its own, which sorts tables
    assert not [name for _, values in page.elements for name in values if name.startswith("on")]
    assert all(markup.replace("\n", "\\n") in page.words() for markup in MARKUP)  # as text
    assert "\x1b" not in text


def test_latex_titles_are_texts():
    assert in_latex(r"100 % of $x_1$ & \input{a}") == r"100 \% of \$x\_1\$ \& \textbackslash{}input\{a\}"
