"""Local files: every form gives the same table; texts keep their odd characters."""

import gzip
import json

import pandas as pd
import pytest

from qatlab.data.beir import load
from qatlab.data.local import read_columns
from qatlab.errors import UserError

ROWS = [{"anchor": "line\u2028separator", "positive": "next\u0085line"}, {"anchor": "NA", "positive": "null"}]


def test_every_form_gives_the_same_texts(tmp_path):
    table = pd.DataFrame(ROWS)
    table.to_csv(tmp_path / "a.csv", index=False)
    table.to_csv(tmp_path / "a.tsv", index=False, sep="\t")
    table.to_parquet(tmp_path / "a.parquet")
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
    (tmp_path / "a.jsonl").write_text(lines, encoding="utf-8", newline="")
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    for name in ("a.csv", "a.tsv", "a.parquet", "a.jsonl", "a.jsonl.gz"):
        assert read_columns(tmp_path / name, ["anchor", "positive"]).to_dict("records") == ROWS, name


def test_beir_layout(tiny_files):
    documents, queries, qrels = load(tiny_files / "task", "test")
    assert (len(documents), len(queries), len(qrels)) == (40, 40, 40)
    assert qrels["relevance"].eq(1).all()


def test_a_split_that_is_not_there(tiny_files):
    with pytest.raises(UserError, match=r"has no qrels/dev\.tsv"):
        load(tiny_files / "task", "dev")
