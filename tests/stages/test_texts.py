"""texts: the first texts of a file or package, in their order."""

import pandas as pd
import pytest

from qatlab.errors import UserError
from qatlab.job import JobDescription
from qatlab.stages import texts


def convert(tmp_path, **config):
    output = tmp_path / "output"
    output.mkdir()
    texts.run(JobDescription(config={"texts": "reviews", **config}, origin="here"), {}, output, 1)
    return pd.read_parquet(output / "documents.parquet")


def test_the_first_rows_of_a_file_stay_in_order(tmp_path):
    (tmp_path / "reviews.csv").write_text('text,label\n"first\u2028line",0\nsecond,1\nthird,0\n')
    table = convert(tmp_path, source="local", path=str(tmp_path / "reviews.csv"), rows=2)
    assert table["text"].tolist() == ["first\u2028line", "second"]
    assert table["id"].tolist() == ["0", "1"]


def test_functions_of_a_package(tmp_path):
    table = convert(tmp_path, source="docstrings", package="networkx", rows=5)
    assert len(table) == 5
    assert table["text"].str.startswith(("def ", "@", "async ")).all()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"column": "review"}, r"no column 'review'; the file has: text, label \(set texts.reviews.column to"),
        ({"rows": 9}, "texts 'reviews' are 3, fewer than texts.reviews.rows=9"),
    ],
)
def test_a_missing_file_or_column_is_named(tmp_path, config, message):
    (tmp_path / "reviews.csv").write_text("text,label\na,0\nb,1\nc,0\n")
    with pytest.raises(UserError, match=message):
        convert(tmp_path, source="local", path=str(tmp_path / "reviews.csv"), **config)
