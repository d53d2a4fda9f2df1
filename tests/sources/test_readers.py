"""Local files: every file format gives the same table, every row of the file is read, and texts keep their odd characters."""

import csv
import gzip
import json

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qatlab.errors import UserError
from qatlab.sources.readers import read_columns, read_records, read_table

ROWS = [{"anchor": "line\u2028separator", "positive": "next\u0085line"}, {"anchor": "NA", "positive": "null"}]
BYTE_ORDER_MARK = "\ufeff"
COLUMNS = ["anchor", "positive"]


def test_every_file_format_gives_the_same_texts(tmp_path):
    table = pd.DataFrame(ROWS)
    table.to_csv(tmp_path / "a.csv", index=False)
    table.to_csv(tmp_path / "a.tsv", index=False, sep="\t")
    table.to_parquet(tmp_path / "a.parquet")
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
    (tmp_path / "a.jsonl").write_text(lines, encoding="utf-8", newline="")
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    for name in ("a.csv", "a.tsv", "a.parquet", "a.jsonl", "a.jsonl.gz"):
        assert read_columns(tmp_path / name, COLUMNS).to_dict("records") == ROWS, name


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", BYTE_ORDER_MARK])
def test_byte_order_marks_and_line_ends_of_windows_are_no_text(tmp_path, mark, end):
    forms = {
        "a.csv": ["anchor,positive", 'one,"two, and\nmore"'],
        "a.tsv": ["anchor\tpositive", "one\ttwo, and more"],
        "a.jsonl": ['{"anchor": "one", "positive": "two, and more"}'],
    }
    for name, lines in forms.items():
        (tmp_path / name).write_text(mark + "".join(line + end for line in lines), encoding="utf-8", newline="")
        (row,) = read_columns(tmp_path / name, COLUMNS).to_dict("records")
        assert (row["anchor"], row["positive"].replace("\n", " ")) == ("one", "two, and more"), name


def texts(excluded):
    kept = st.characters(exclude_categories=["Cs"], exclude_characters=excluded)
    return st.text(kept, min_size=1, max_size=20).filter(str.strip)


@settings(deadline=None)
@given(rows=st.lists(st.tuples(texts("\r"), texts("\r")), min_size=1, max_size=8))
def test_csv_is_read_as_python_writes_it(rows, tmp_path_factory):
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([COLUMNS, *rows])
    assert [tuple(row) for row in read_columns(path, COLUMNS).to_numpy()] == rows


@settings(deadline=None)
@given(rows=st.lists(st.tuples(texts("\r\n\t"), texts("\r\n\t")), min_size=1, max_size=8))
def test_tsv_has_no_quotes(rows, tmp_path_factory):
    path = tmp_path_factory.mktemp("tsv") / "a.tsv"
    lines = ["\t".join(COLUMNS), *(f'"{anchor}\t{positive}"' for anchor, positive in rows)]
    path.write_text("\n".join(lines), encoding="utf-8", newline="")
    assert [tuple(row) for row in read_columns(path, COLUMNS).to_numpy()] == [(f'"{a}', f'{p}"') for a, p in rows]


@settings(deadline=None)
@given(
    records=st.lists(st.fixed_dictionaries({"anchor": texts(""), "positive": texts("")}), min_size=1, max_size=8),
    escaped=st.booleans(),
)
def test_json_lines_are_read_as_python_writes_them(records, escaped, tmp_path_factory):
    path = tmp_path_factory.mktemp("jsonl") / "a.jsonl"
    lines = [json.dumps(record, ensure_ascii=escaped) for record in records]
    path.write_text("\n\n".join(lines), encoding="utf-8", newline="")
    assert read_records(path) == records
    assert read_columns(path, COLUMNS).index.to_list() == list(range(1, 2 * len(records), 2))


# What a person brings, and what a line says of it.
REFUSED = {
    "more": ("a.csv", "anchor,positive\none,two\none,two,three\n", "line 3: 3 fields, where the header has 2"),
    "comma at the end": ("a.csv", "anchor,positive\none,two,\n", "line 2: 3 fields, where the header has 2"),
    "fewer": ("a.csv", 'anchor,positive\n"one\n1",two\none\n', "line 4: 1 field, where the header has 2"),
    "semicolons": (
        "a.csv",
        "anchor;positive\none;two\n",
        "no column 'anchor'; the file has: anchor;positive (set data.columns to the columns to use); fields of a .csv are separated by "
        "commas, and its header has semicolons",
    ),
    "semicolons and a comma": (
        "a.csv",
        "anchor;positive\none, and more;two\n",
        "line 2: 2 fields, where the header has 1; fields of a .csv are separated by commas, and its header has semicolons",
    ),
    "commas": (
        "a.tsv",
        "anchor,positive\none,two\n",
        "fields of a .tsv are separated by tabs, and its header has commas",
    ),
    "a break in TSV": (
        "a.tsv",
        "anchor\tpositive\none\ntwo\tthree\n",
        "line 2: 1 field, where the header has 2; a text with a line break cannot be in a tab-separated file: save it as .csv or .jsonl",
    ),
    "quotes in TSV": ("a.tsv", 'anchor\tpositive\none\t"so ""quoted"""\n', "line 2: a field in quotes"),
    "quotes": ("a.csv", 'anchor,positive\none,"two\n', "line 2: quotation marks do not match"),
    "text behind quotes": ("a.csv", 'anchor,positive\nx,y\none,"two" three\n', "line 3: quotation marks do not match"),
    "a column is listed twice": ("a.csv", "anchor,positive,anchor\n1,2,3\n", "two columns are called 'anchor'"),
    "no rows": ("a.csv", "anchor,positive\n", "no rows"),
    "nothing": ("a.csv", "", "no rows"),
    "an empty cell": ("a.csv", "anchor,positive\none,two\none,\n", "column 'positive' has no text in line 3 (1 such rows)"),
    "Latin-1": ("a.csv", "anchor,positive\nMünchen,two\n".encode("latin-1"), "line 2: not UTF-8; save the file as UTF-8"),
    "UTF-16": ("a.csv", "anchor,positive\none,two\n".encode("utf-16"), "line 1: not UTF-8"),
    "a cut gzip": ("a.csv.gz", gzip.compress(b"anchor,positive\n" * 99)[:-9], "cannot be read"),
    "half a character": (
        "a.jsonl",
        '{"anchor": "one", "positive": ["x", {"y": "half \\ud83d"}]}\n',
        "line 1: \\ud83d is half of a character (an unpaired surrogate), which is not text",
    ),
    "NaN": ("a.jsonl", '\n{"anchor": "one", "positive": NaN}\n', "line 2: NaN is not a JSON value; use null"),
    "a key twice": ("a.jsonl", '{"anchor": "one", "anchor": "two"}\n', "line 1: the key 'anchor' occurs twice"),
    "a huge number": ("a.jsonl", '{"anchor": ' + "1" * 5000 + "}\n", "line 1: Exceeds the limit"),
    "null": (
        "a.jsonl",
        '{"anchor": "one", "positive": "two"}\n\n{"anchor": "one", "positive": null}\n{"anchor": "one"}\n',
        "column 'positive' has no text in line 3 (2 such rows)",
    ),
    "an array": ("a.jsonl", '[{"anchor": "one"}]\n', "line 1: expected a JSON object, found list"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_an_invalid_file_is_refused_with_its_line(tmp_path, case):
    name, content, message = REFUSED[case]
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError) as refused:
        read_columns(tmp_path / name, COLUMNS)
    assert str(refused.value).startswith(f"{tmp_path / name}")
    assert message in str(refused.value)


def test_a_pair_of_surrogates_is_a_character(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"anchor": "\\ud83d\\ude00"}\n')
    assert read_records(tmp_path / "a.jsonl") == [{"anchor": "😀"}]


def test_a_row_of_parquet_is_named_by_its_number(tmp_path):
    pd.DataFrame({"anchor": ["one", None]}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(UserError, match="column 'anchor' has no text in row 2"):
        read_columns(tmp_path / "a.parquet", ["anchor"])


def test_a_field_may_be_a_whole_document(tmp_path):
    (tmp_path / "a.csv").write_text(f"anchor\n{'word ' * 200_000}\n")
    assert len(read_table(tmp_path / "a.csv")["anchor"].iloc[0]) == 1_000_000
