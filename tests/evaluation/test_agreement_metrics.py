"""Agreement of a search with the float search, compared with SciPy and with rankings by hand."""

import numpy as np
import pytest
from scipy.stats import kendalltau

from qatlab import ranked
from qatlab.config.evaluate import EvaluateConfig
from qatlab.config.precision import RotationConfig
from qatlab.evaluation.axes import on_axes, unit_length
from qatlab.evaluation.outputs import outputs, planned_scores
from qatlab.evaluation.ranking import SideRanges, side_ranges
from qatlab.evaluation.task import Task
from qatlab.evaluation.task_metrics import AgreementMetrics
from stored_task import stored_task

CONFIG = EvaluateConfig(
    precisions=["float32", "int8", "int2_quantile", "binary"], dimensions=[None, 8], similarity="cosine"
)


def all_metrics(queries, documents, task):
    """Return the metrics by output, computed by one object as in a job."""
    metrics, results = AgreementMetrics(), {}
    for dimensions in CONFIG.dimensions:
        sides = on_axes(queries, documents, RotationConfig(), dimensions, "cosine")
        planned = [output for output in outputs(CONFIG, "agreement") if output.dimensions == dimensions]
        ranges = side_ranges(planned, *sides, CONFIG, {})
        for output in planned:
            results[output.document, dimensions] = metrics(
                *sides, task, output, ranges.get(output.ranges, SideRanges()), CONFIG
            )
    return results


@pytest.fixture(scope="module")
def drawn():
    """Return embeddings and a task whose queries are every fifth document."""
    _, documents, other = stored_task()
    documents = documents + np.random.default_rng(1).normal(scale=1e-3, size=documents.shape).astype(np.float32)
    names = other.document_ids
    queries = list(range(0, len(names), 5))
    return documents[queries], documents, Task("agreement", [names[at] for at in queries], names, {}, True)


def test_float_embeddings_agree_with_themselves(drawn):
    exact = all_metrics(*drawn)["float32", None]
    assert (exact["overlap@10"] == 1).all()
    assert exact["kendall@100"] == pytest.approx(np.ones(len(drawn[0])))


@pytest.mark.parametrize(("precision", "dimensions"), [("binary", None), ("binary", 8), ("float32", 8)])
def test_equal_to_rankings_by_hand_and_scipy(drawn, precision, dimensions):
    queries, documents, task = drawn
    results = all_metrics(*drawn)[precision, dimensions]
    exact = unit_length(queries).astype(float) @ unit_length(documents).astype(float).T
    sides = [unit_length(side[:, :dimensions]).astype(float) for side in (queries, documents)]
    if precision == "binary":
        sides = [np.where(side > 0, 1.0, -1.0) for side in sides]
    stored = sides[0] @ sides[1].T
    for row, name in enumerate(task.query_ids):
        others = np.array([at for at, document in enumerate(task.document_ids) if document != name])
        by_float, by_stored = (others[np.argsort(-side[row, others], kind="stable")] for side in (exact, stored))
        assert results["overlap@10"][row] == len(set(by_float[:10]) & set(by_stored[:10])) / 10
        expected = kendalltau(exact[row, by_float[:100]], stored[row, by_float[:100]]).statistic
        assert results["kendall@100"][row] == pytest.approx(expected, abs=1e-9)
    assert 0 < results["overlap@10"].mean() < 1


def test_a_querys_own_document_counts_if_it_is_not_left_out(drawn):
    queries, documents, task = drawn
    kept = Task("agreement", task.query_ids, task.document_ids, {})
    without, with_itself = (all_metrics(queries, documents, one)["binary", None]["overlap@10"] for one in (task, kept))
    assert with_itself.mean() > without.mean()  # the query itself is among the best of both searches


def test_fewer_documents_than_ranks(drawn):
    _, documents, task = drawn
    few = Task(
        "agreement",
        [name for name in task.query_ids if name in task.document_ids[:12]],
        task.document_ids[:12],
        {},
        True,
    )
    rows = [task.document_ids.index(name) for name in few.query_ids]
    results = all_metrics(documents[rows], documents[:12], few)["int8", None]
    assert (results["overlap@10"] >= 9 / 10).all()  # ten of eleven others
    assert np.isfinite(results["kendall@100"]).all()


def test_kendall_tau_equals_scipy_with_ties_and_in_blocks(monkeypatch):
    generator = np.random.default_rng(0)
    first, second = generator.normal(size=(9, 30)), generator.integers(0, 5, size=(9, 30)).astype(float)
    expected = [kendalltau(one, other).statistic for one, other in zip(first, second, strict=True)]
    assert ranked.kendall_tau(first, second) == pytest.approx(expected)
    monkeypatch.setattr(ranked, "PAIRS_AT_ONCE", 1000)
    assert ranked.kendall_tau(first, second) == pytest.approx(expected)
    assert ranked.kendall_tau(first, np.ones_like(first)).tolist() == [0.0] * 9


def test_ranks_without_documents_do_not_overlap():
    first, second = np.array([[3, 1, -1], [2, -1, -1]]), np.array([[1, 0, -1], [-1, -1, -1]])
    assert ranked.overlap(first, second, -1).tolist() == [0.5, 0.0]
    assert ranked.overlap(np.array([[-1]]), np.array([[-1]]), -1).tolist() == [0.0]


def test_only_outputs_that_score_pairs_are_planned():
    config = EvaluateConfig(
        precisions=["float32", "float32_x_binary"],
        scoring=["dequantized", "rabitq", "sentence_transformers_compat"],
        index=["flat", "hnsw"],
        rescoring=["none", "float32"],
    )
    rows = planned_scores(config, "agreement")
    assert {row["metric"] for row in rows} == {"overlap@10", "kendall@100"}
    assert {(row["doc_precision"], row["scoring"], row["index"]) for row in rows} == {
        ("float32", "dot", "flat"),
        ("binary", "dequantized", "flat"),
    }
