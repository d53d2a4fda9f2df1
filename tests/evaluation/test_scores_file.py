"""scores.json contains its schema version."""

import json

import pytest

from qatlab.errors import UserError
from qatlab.evaluation.outputs import SCHEMA, read_scores, write_scores


def test_written_rows_can_be_read(tmp_path):
    rows = [{"metric": "ndcg@10", "value": 0.5}]
    write_scores(tmp_path, rows)
    assert read_scores(tmp_path) == rows


@pytest.mark.parametrize(
    ("content", "version"), [([], 1), ({"schema": SCHEMA + 1, "scores": []}, SCHEMA + 1), ({"scores": []}, None)]
)
def test_another_schema_version_raises_a_one_line_error(tmp_path, content, version):
    (tmp_path / "scores.json").write_text(json.dumps(content))
    with pytest.raises(
        UserError, match=f"has schema version {version}, but this version of qatlab reads {SCHEMA}; remove "
    ):
        read_scores(tmp_path)
