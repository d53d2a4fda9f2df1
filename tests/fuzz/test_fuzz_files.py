"""Generated files of the user's own: each gives exactly the rows that were written, or one line that says what is wrong.

Files are written by other code (Python's csv and json, pandas) and then changed, by kinds of damage of which it is known whether
they leave the rows as they are. Bytes changed at random may give other rows: then they are those that pandas reads.
"""

import csv
import gzip
import io
import json
import string
from contextlib import suppress

import pandas as pd
import pytest
from datasets import Dataset
from effort import assert_one_line, fuzz
from hypothesis import given
from hypothesis import strategies as st

from qatlab.errors import UserError
from qatlab.registry import ParallelTexts
from qatlab.sources import parallel
from qatlab.sources.readers import read_columns
from qatlab.tasks import beir, pairs, withheld
from qatlab.tasks.withheld import WithheldTask

pytestmark = pytest.mark.slow(30)

COLUMNS = ["anchor", "positive"]
ODD = list("\u2028\u0085\x0b\x1c\u200b\ufeff\"',;\t|\\é漢🙂=#\x00\n")
CHARACTERS = st.one_of(st.sampled_from(ODD), st.sampled_from(string.ascii_letters), st.characters(codec="utf-8"))
LACKING = {"csv": "\x00\r", "tsv": "\t\n\r", "jsonl": ""}  # characters that a format cannot hold


@st.composite
def written(draw, suffix):
    """Rows of texts, and the bytes of a file of them."""
    kept = CHARACTERS.filter(lambda character: character not in LACKING[suffix])
    text = st.text(kept, min_size=1, max_size=8).filter(str.strip)
    rows = draw(st.lists(st.tuples(text, text), min_size=1, max_size=5))
    end = draw(st.sampled_from(["\n", "\r\n"]))
    if suffix == "csv":
        stream = io.StringIO(newline="")
        quoting = draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
        csv.writer(stream, lineterminator=end, quoting=quoting).writerows([COLUMNS, *rows])
        content = stream.getvalue()
    elif suffix == "tsv":
        content = "".join("\t".join(row) + end for row in [COLUMNS, *rows])
    else:
        escaped = draw(st.booleans())
        records = [dict(zip(COLUMNS, row, strict=True)) for row in rows]
        content = "".join(json.dumps(record, ensure_ascii=escaped) + end for record in records)
    return rows, content.encode()


FILES = st.sampled_from(list(LACKING)).flatmap(lambda suffix: st.tuples(st.just(suffix), written(suffix)))
HARMLESS = {
    "none": lambda data: data,
    "byte-order mark": lambda data: b"\xef\xbb\xbf" + data,
    "no end of the last line": lambda data: data.removesuffix(b"\n").removesuffix(b"\r"),
    "empty lines at the end": lambda data: data + b"\n\r\n",
}
HARMFUL = {
    "UTF-16": lambda data: data.decode().encode("utf-16"),
    "no UTF-8": lambda data: data[: len(data) // 2] + b"\xff" + data[len(data) // 2 :],
    "nothing": lambda data: b"",
    "compressed": lambda data: gzip.compress(data, mtime=0),
}


def rows_of(path):
    """The rows, or None where the file is refused in one line that names it."""
    try:
        return [tuple(row) for row in read_columns(path, COLUMNS).to_numpy()]
    except UserError as error:
        assert_one_line(error)
        assert str(path) in str(error)
        return None


def is_quoted(rows):
    """Return whether a field is quoted in the way that CSV writers quote, which the TSV reader refuses."""
    return any(text[0] == text[-1] == '"' and '""' in text[1:-1] for row in rows for text in row)


@fuzz(150)
@given(file=FILES, change=st.sampled_from(list(HARMLESS)), compressed=st.booleans())
def test_every_row_is_read_whatever_does_not_change_it(file, change, compressed, tmp_path_factory):
    suffix, (rows, data) = file
    data = HARMLESS[change](data)
    path = tmp_path_factory.mktemp("f") / f"a.{suffix}{'.gz' * compressed}"
    path.write_bytes(gzip.compress(data, mtime=0) if compressed else data)
    if suffix == "tsv" and is_quoted(rows):
        assert rows_of(path) in (rows, None)
    else:
        assert rows_of(path) == rows


@fuzz(60)
@given(file=FILES, change=st.sampled_from(list(HARMFUL)))
def test_what_is_no_such_file_is_refused(file, change, tmp_path_factory):
    suffix, (_, data) = file
    path = tmp_path_factory.mktemp("f") / f"a.{suffix}"
    path.write_bytes(HARMFUL[change](data))
    assert rows_of(path) is None


@fuzz(8)
@given(file=written("jsonl"))
def test_the_datasets_library_reads_the_same_rows(file, tmp_path_factory):
    rows, data = file
    folder = tmp_path_factory.mktemp("f")
    (folder / "a.jsonl").write_bytes(data)
    table = Dataset.from_json(str(folder / "a.jsonl"), cache_dir=str(folder / "cache"))
    assert [tuple(row[column] for column in COLUMNS) for row in table] == rows == rows_of(folder / "a.jsonl")


@st.composite
def fields_changed(draw):
    """A file of one row with a field too many or too few, the line it begins in, and its format."""
    suffix = draw(st.sampled_from(["csv", "tsv"]))
    text = st.text(string.ascii_letters, min_size=1, max_size=8)
    table = [COLUMNS, *draw(st.lists(st.tuples(text, text), min_size=1, max_size=6))]
    at = draw(st.integers(1, len(table) - 1))
    table[at] = (*table[at], draw(text)) if draw(st.booleans()) else table[at][:1]
    separator = {"csv": ",", "tsv": "\t"}[suffix]
    return suffix, "".join(separator.join(row) + "\n" for row in table), at + 1


@fuzz(60)
@given(file=fields_changed())
def test_a_row_of_more_or_fewer_fields_is_refused_with_its_line(file, tmp_path_factory):
    suffix, content, line = file
    path = tmp_path_factory.mktemp("f") / f"a.{suffix}"
    path.write_text(content)
    try:
        read_columns(path, COLUMNS)
    except UserError as error:
        assert_one_line(error)
        assert f"{path}, line {line}: " in str(error)
    else:
        raise AssertionError(content)


@fuzz(120)
@given(file=FILES, data=st.data())
def test_damaged_bytes_give_what_pandas_reads_or_one_line(file, data, tmp_path_factory):
    suffix, (_, content) = file
    damaged = bytearray(content)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        operation = data.draw(st.sampled_from(["change", "insert", "delete"]))
        byte = data.draw(st.sampled_from(list(b"\"',;\t\n\r{}[]:\\ \x00\xffa1")))
        damaged[at : at + (operation != "insert")] = b"" if operation == "delete" else bytes([byte])
        damaged = damaged or bytearray(b"a")
    path = tmp_path_factory.mktemp("f") / f"a.{suffix}"
    path.write_bytes(damaged)
    rows = rows_of(path)
    if rows is not None:
        assert rows == by_pandas(path, suffix)


def by_pandas(path, suffix):
    """Read the same rows with an independent reader that keeps every row and every text."""
    if suffix == "jsonl":
        lines = path.read_bytes().decode("utf-8-sig").split("\n")
        records = [json.loads(line) for line in lines if line.strip()]
        return [tuple(record[column] for column in COLUMNS) for record in records]
    if suffix == "tsv":  # pandas takes other characters for ends of lines, and has no reader without quotes of any kind
        lines = path.read_bytes().decode("utf-8-sig").split("\n")
        header, *rows = [line.removesuffix("\r").split("\t") for line in lines if line.removesuffix("\r")]
    else:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, header=None, encoding="utf-8-sig", engine="python")
        header, *rows = table.to_numpy().tolist()
    places = [header.index(column) for column in COLUMNS]
    return [tuple(row[place] for place in places) for row in rows]


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 10**30),
    st.floats(),
    st.sampled_from(["", " ", "a", "d1", "q1", "0", "é🙂", "x" * 3000]),
    st.lists(st.sampled_from(["a", "", 1, None]), max_size=2),
    st.dictionaries(st.sampled_from(["text", "a"]), st.sampled_from(["a", 1]), max_size=2),
)
# A line of a JSON Lines file as programs write them: with half characters, NaN, numbers for texts, keys missing.
KEYS = st.sampled_from(["_id", "id", "title", "text", "query", "positive", "negative", "anchor"])
RECORDS = st.lists(st.dictionaries(KEYS, VALUES, max_size=5), max_size=4)
LINES = st.one_of(
    RECORDS.map(lambda records: "".join(json.dumps(record) + "\n" for record in records)),
    st.sampled_from(
        ['{"text": "\\ud83d"}\n', "[]\n", "null\n", '{"a": 1, "a": 2}\n', "{" * 5000, "[" * 100_000, "\n\n", '"x"\n']
    ),
)
JUDGED = st.lists(
    st.lists(
        st.sampled_from(["q1", "d1", "q2", "1", "-1", "2.0", "1.5", "nan", "inf", "", "0", '"', "Q0", "1e400"]),
        max_size=5,
    ),
    max_size=4,
)


def survives(read):
    """Check that a reader either returns or raises a UserError with a message of one line."""
    try:
        read()
    except UserError as error:
        assert_one_line(error)


@fuzz(120)
@given(corpus=LINES, queries=LINES, judged=JUDGED, separator=st.sampled_from(["\t", " ", ","]))
def test_retrieval_tasks_are_tasks_or_one_line(corpus, queries, judged, separator, tmp_path_factory):
    folder = tmp_path_factory.mktemp("f")
    (folder / "qrels").mkdir()
    (folder / "corpus.jsonl").write_text(corpus)
    (folder / "queries.jsonl").write_text(queries)
    (folder / "qrels" / "test.tsv").write_text("".join(separator.join(row) + "\n" for row in judged))
    survives(lambda: beir.check(folder, "test"))
    with suppress(UserError):
        documents, queries_read, judgements = beir.load(folder, "test")
        for table in (documents, queries_read):
            assert table["text"].map(lambda text: isinstance(text, str)).all()
            assert table["id"].map(lambda name: isinstance(name, str) and name != "").all()
        assert judgements["relevance"].dtype.kind in "iO"


@fuzz(80)
@given(lines=LINES, columns=st.sampled_from([["text", "title", "_id"], ["anchor", "positive", "query"]]))
def test_records_and_scored_pairs_are_read_or_one_line(lines, columns, tmp_path_factory):
    path = tmp_path_factory.mktemp("f") / "a.jsonl"
    path.write_text(lines)
    config = WithheldTask(source="withheld", path=str(path), query="query", positive="positive", negatives="negative")
    survives(lambda: withheld.load(path, config, config.mined.mines, "mine"))
    survives(lambda: pairs.load(path, columns, "mine"))
    survives(lambda: read_columns(path, columns))


@fuzz(60)
@given(
    sides=st.tuples(*[st.lists(st.text(CHARACTERS, max_size=5), max_size=5) for _ in range(2)]),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_parallel_texts_stay_beside_one_another(sides, end, tmp_path_factory):
    folder = tmp_path_factory.mktemp("f")
    sides = [[text.translate({10: None, 13: None}) for text in side] for side in sides]
    paths = [folder / "a.en", folder / "a.fr"]
    for path, side in zip(paths, sides, strict=True):
        path.write_bytes("".join(text + end for text in side).encode())
    try:
        table = parallel.load(ParallelTexts(paths=[str(path) for path in paths]), "data")
    except UserError as error:
        assert_one_line(error)
        both = [bool(a.strip()) for a in sides[0]], [bool(b.strip()) for b in sides[1]]
        assert both[0] != both[1] or not any(both[0])
    else:
        kept = [(a, b) for a, b in zip(*sides, strict=True) if a.strip()]
        assert [tuple(row) for row in table.to_numpy()] == kept
