"""Correlations as means over pairs, compared with SciPy, and in the stage `score`."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from qatlab.evaluation.axes import unit_length
from qatlab.evaluation.outputs import read_scores, standard_error
from qatlab.evaluation.task_metrics import by_pair
from qatlab.job import JobDescription
from qatlab.quantization import MinMaxRange, fake_quantize
from qatlab.stages import score


@given(st.integers(0, 2**32 - 1), st.booleans())
@settings(deadline=None, max_examples=40)
def test_leaving_pairs_out_equals_scipy(seed, ranked):
    generator = np.random.default_rng(seed)
    count = int(generator.integers(5, 40))
    gold = generator.integers(0, 4, size=count).astype(float)
    scores = np.round(gold + generator.normal(size=count) * 2, int(generator.integers(0, 3)))
    correlation = stats.spearmanr if ranked else stats.pearsonr
    keep = ~np.eye(count, dtype=bool)
    if np.ptp(scores) == 0 or any(np.ptp(scores[row]) == 0 or np.ptp(gold[row]) == 0 for row in keep):
        return
    whole = correlation(scores, gold).statistic
    pseudo = [count * whole - (count - 1) * correlation(scores[row], gold[row]).statistic for row in keep]
    sides = (stats.rankdata(scores), stats.rankdata(gold)) if ranked else (scores, gold)
    values = by_pair(*sides, ranked=ranked)
    assert values.mean() == pytest.approx(whole, abs=1e-9)
    assert values == pytest.approx(np.array(pseudo) - np.mean(pseudo) + whole, abs=1e-7)


def test_the_standard_error_is_that_of_repeated_samples():
    generator = np.random.default_rng(0)
    errors, estimates = [], []
    for _ in range(300):
        gold = generator.normal(size=120)
        like = gold + generator.normal(size=120)
        values = by_pair(stats.rankdata(like), stats.rankdata(gold), ranked=True)
        errors.append(standard_error(values))
        estimates.append(values.mean())
    assert np.mean(errors) == pytest.approx(np.std(estimates), rel=0.12)


def test_constant_similarities_have_a_correlation_of_zero():
    assert by_pair(np.full(6, 3.5), np.arange(6.0), ranked=True).tolist() == [0.0] * 6


@pytest.fixture
def inputs(tmp_path):
    generator = np.random.default_rng(1)
    first = generator.normal(size=(70, 12)).astype(np.float32)
    noise = generator.uniform(0, 3, size=(70, 1)).astype(np.float32)
    second = first + noise * generator.normal(size=(70, 12)).astype(np.float32)
    for folder in ("encode", "task"):
        (tmp_path / folder).mkdir()
    np.save(tmp_path / "encode/queries.npy", first)
    (tmp_path / "encode/similarity.json").write_text(json.dumps({"similarity": "cosine"}))
    np.save(tmp_path / "encode/documents.npy", second)
    ids = [f"pair-{number:02}" for number in range(70)]
    for name in ("queries", "documents"):
        pd.DataFrame({"id": ids}).to_parquet(tmp_path / f"task/{name}.parquet")
    gold = np.round(5 - noise[:, 0], 1).astype(float)
    pd.DataFrame({"query_id": ids, "doc_id": ids, "relevance": gold}).to_parquet(tmp_path / "task/qrels.parquet")
    (tmp_path / "task/manifest.json").write_text(json.dumps({"kind": "similarity"}))
    return {"encode": tmp_path / "encode", "task": tmp_path / "task"}, first, second, gold


def test_every_precision_from_one_encoding(inputs, tmp_path):
    folders, first, second, gold = inputs
    output = tmp_path / "out"
    output.mkdir()
    config = {
        "metrics": ["ndcg@10"],
        "precisions": ["float32", "int8", "binary"],
        "scoring": ["dequantized", "codes", "rabitq", "sentence_transformers_compat"],
        "rescoring": ["none", "float32"],
    }
    score.run(JobDescription(label="tried", config=config), folders, output, 1)
    rows = pd.DataFrame(read_scores(output))
    correlations = rows[rows["metric"] == "spearman"].set_index(["query_precision", "scoring"])["value"]
    assert set(correlations.index) == {
        ("float32", "dot"), ("int8", "dequantized"), ("binary", "hamming"), ("int8", "codes"),
        ("float32", "sentence_transformers_compat"), ("int8", "sentence_transformers_compat"),
        ("binary", "sentence_transformers_compat"),
    }  # fmt: skip
    assert set(rows["queries"]) == {70}
    sides = [unit_length(side) for side in (first, second)]
    plain = (sides[0] * sides[1]).sum(axis=1)
    assert correlations["float32", "dot"] == pytest.approx(stats.spearmanr(plain, gold).statistic, abs=1e-9)
    distance = ((sides[0] > 0) != (sides[1] > 0)).sum(axis=1)
    assert correlations["binary", "hamming"] == pytest.approx(stats.spearmanr(-distance, gold).statistic, abs=1e-9)
    stored = [unit_length(fake_quantize(side, "int8", MinMaxRange().fit(sides[1]))) for side in sides]
    expected = stats.spearmanr((stored[0] * stored[1]).sum(axis=1), gold).statistic
    assert correlations["int8", "dequantized"] == pytest.approx(expected, abs=1e-9)
    pearson = rows[(rows["metric"] == "pearson") & (rows["scoring"] == "dot")]["value"].item()
    assert pearson == pytest.approx(stats.pearsonr(plain, gold).statistic, abs=1e-6)
    of_pairs = pd.read_parquet(output / "per_query.parquet")
    assert of_pairs["none/float32/dot/spearman"].mean() == pytest.approx(correlations["float32", "dot"])
