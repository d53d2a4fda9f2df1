"""Summary tables are made from the long tables, with the deviation over seeds."""

import pandas as pd
import pytest

from conftest import AS_IT_IS
from qatlab.tables import wide
from qatlab.tables.labels import output_labels


@pytest.fixture
def scores():
    rows = [
        {
            "method": method,
            "seed": seed,
            "deploy": "torch_fp32",
            "task": task,
            "query_precision": precision,
            "doc_precision": precision,
            "rotation": "none",
            **AS_IT_IS,
            "metric": "ndcg@10",
            "value": value,
            "integer_kernel": None,
        }
        for method, seed, offset in (("untrained", None, 0.0), ("ste", 0, 0.1), ("ste", 1, 0.2))
        for task, base in (("a", 0.3), ("b", 0.5))
        for precision, value in (("float32", base + offset), ("binary", base + offset - 0.1))
    ]
    table = pd.DataFrame(rows)
    return table.assign(seed=table["seed"].astype("Int64"))


def test_cells_are_means_over_seeds_with_their_deviation(scores):
    table = wide.scores_by_precision(scores, "ndcg@10").set_index("method")
    assert table.loc["untrained", "a · float32"] == "0.3000"
    assert table.loc["ste", "a · float32"] == "0.4500 ± 0.0707"
    assert table.loc["ste", "mean of tasks · binary"] == "0.4500 ± 0.0707"
    assert list(table.columns) == [
        "deploy",
        *(f"{t} · {p}" for t in ("a", "b", wide.MEAN) for p in ("float32", "binary")),
    ]


def test_matrix_keys_are_key_columns(scores):
    twice = pd.concat([scores.assign(**{"matrix.trainer.batch_size": size}) for size in (16, 32)])
    table = wide.scores_by_precision(twice, "ndcg@10")
    assert list(table["matrix.trainer.batch_size"]) == [16, 16, 32, 32]


def test_all_three_formats_are_written(scores, tmp_path):
    wide.write_all_forms(wide.all_metrics(scores), tmp_path, "all", "All metrics of a_study")
    assert (tmp_path / "all.md").read_text().startswith("**All metrics of a_study**\n\n| method")
    latex = (tmp_path / "all.tex").read_text()
    assert r"\toprule" in latex
    assert r"a\_study" in latex
    assert r"$\pm$" in latex
    assert pd.read_csv(tmp_path / "all.csv").shape == (4, 4)


def test_sides_are_columns_and_rotations_rows_of_their_own(scores):
    pair = scores.assign(query_precision="float32", doc_precision="binary")
    turned = scores.assign(rotation="itq", value=scores["value"] + 0.01)
    table = wide.scores_by_precision(pd.concat([scores, pair, turned]), "ndcg@10")
    assert {"a · float32 × binary", "a · float32"} <= set(table.columns)
    by_rotation = table[table["method"] == "untrained"].set_index("rotation")["a · float32"]
    assert by_rotation.to_dict() == {"none": "0.3000", "itq": "0.3100"}
    assert "rotation" not in wide.scores_by_precision(scores, "ndcg@10").columns


def test_labels_of_plots_name_rotations(scores):
    labels = output_labels(pd.concat([scores, scores.assign(rotation="itq")]))
    assert set(labels) == {"float32", "binary", "itq:\nfloat32", "itq:\nbinary"}
