"""Benchmarks: what they measure is what they say, in a size that a test can afford."""

import time

import numpy as np
import pandas as pd
import pytest

from qatlab.bench import engines, evaluation, kernels, run, study
from qatlab.bench.run import Row, in_turns
from qatlab.config.evaluate import EvaluateConfig
from qatlab.errors import UserError
from qatlab.evaluation.outputs import read_scores
from qatlab.quantization import quantize_embeddings

# The mark of tests that measure wall time, which other processes would disturb; the others measure memory, CPU time or nothing.
alone = pytest.mark.alone


@alone
def test_in_turns_takes_medians_of_interleaved_calls():
    calls = []

    def ours():
        calls.append("ours")
        time.sleep(0.02)

    def reference():
        calls.append("reference")
        time.sleep(0.01)

    ratio = Row("sleep", *in_turns(ours, reference, 4), 3.0, "s", "half as long").ratio
    assert calls[2:] == ["ours", "reference", "reference", "ours"] * 2
    assert 1.5 < ratio < 2.5


def test_quantizing_needs_little_memory_beyond_its_codes():
    rows = {row.name: row for row in kernels.measure_quantize(rows=60_000, pairs=1)}
    assert set(rows) == {
        f"quantize_{p}_{measurement}" for p in ("int8", "binary") for measurement in ("time", "memory")
    }
    assert rows["quantize_int8_memory"].ours < 60_000 * 384 / 2**20 + 8
    assert rows["quantize_binary_memory"].ours < 60_000 * 48 / 2**20 + 8


def test_the_file_has_the_documented_columns_and_bounds_decide_the_exit_code(tmp_path, monkeypatch, capsys):
    rows = [Row("a", 1.0, 2.0, 1.0, "s", "something"), Row("b", 3.0, 2.0, 1.2, "s", "something else")]
    monkeypatch.setattr(kernels, "measure_quantize", lambda: iter(rows))
    assert run.main(["quantize", "--output", str(tmp_path / "bench.csv")]) == 1
    table = pd.read_csv(tmp_path / "bench.csv")
    assert list(table.columns) == ["name", "ours", "reference", "ratio", "bound", "unit", "reference_is"]
    assert table["ratio"].tolist() == [0.5, 1.5]
    assert "ABOVE the bound 1.2" in capsys.readouterr().out
    monkeypatch.setattr(kernels, "measure_quantize", lambda: iter(rows[:1]))
    assert run.main(["quantize", "--output", str(tmp_path / "bench.csv")]) == 0


def test_a_row_without_a_bound_is_shown_and_never_fails(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(kernels, "measure_quantize", lambda: iter([Row("a", 9.0, 1.0, None, "s", "something")]))
    assert run.main(["quantize", "--output", str(tmp_path / "bench.csv")]) == 0
    assert pd.read_csv(tmp_path / "bench.csv")["bound"].isna().all()
    assert "= 9.000  no bound" in capsys.readouterr().out


def test_an_unknown_benchmark_is_one_line():
    with pytest.raises(UserError, match=r"unknown benchmark 'quantise' \(did you mean 'quantize'"):
        run.main(["quantise"])


def test_the_percentile_of_a_small_weight_is_torchs():
    rows = {row.name: row for row in kernels.measure_clip(size=256, pairs=1)}
    assert set(rows) == {"percentile_clip_time", "percentile_clip_difference"}
    assert rows["percentile_clip_difference"].ratio <= 1


def test_one_encoding_is_compared_with_evaluations_that_find_the_same(tiny_model, tmp_path, monkeypatch):
    """The benchmark of the default grid runs, and the evaluator's metric in float32 equals that of the stage."""
    # Imported here because the tests that run alone do not need it.
    from sentence_transformers import SentenceTransformer

    defaults = EvaluateConfig()
    assert (defaults.metrics, defaults.precisions) == (evaluation.BENCH_METRICS, evaluation.PRECISIONS)
    monkeypatch.setattr(evaluation, "PACKAGES", ("networkx",))
    rows = {row.name: row for row in evaluation.measure_evaluation(60, 20, 1, str(tiny_model))}
    assert rows["evaluation_grid_time"].bound == 1.10
    assert rows["evaluation_grid_time_each"].bound is None
    assert min(row.reference for row in rows.values()) > 0

    task = evaluation._task(60, 20)
    deployed = evaluation._deploy(tmp_path / "deploy", str(tiny_model))
    evaluation._encode_and_score(deployed, evaluation._write_task(task, tmp_path / "task"), tmp_path / "out")
    scores = pd.DataFrame(read_scores(tmp_path / "out" / "score"))
    ours = scores[scores["metric"] == "ndcg@10"].set_index("query_precision")["value"]
    model = SentenceTransformer(str(deployed / "model"), device="cpu")
    assert ours["float32"] == pytest.approx(evaluation.evaluate(model, task)["cosine_ndcg@10"], abs=1e-6)
    theirs = {precision: evaluation.evaluate(model, task, precision) for precision in ("int8", "binary")}
    least, most = of_bits(model, *task)
    assert most - least < 0.5
    for value in (theirs["binary"]["cosine_ndcg@10"], ours["binary"]):  # which order ties in different ways
        assert least - 1e-6 <= value <= most + 1e-6
    assert theirs["int8"] != theirs["binary"]


def of_bits(model, documents, queries):
    """The least and the largest nDCG@10 of a model's bits, over all orders of documents with equal scores."""
    bits = [
        np.where(encoded > 0, 1, -1)
        for encoded in (model.encode(list(texts.values())) for texts in (queries, documents))
    ]
    scores = bits[0] @ bits[1].T
    relevant = scores[np.arange(len(queries)), [list(documents).index(identifier) for identifier in queries]][:, None]
    before, tied = (scores > relevant).sum(axis=1), (scores == relevant).sum(axis=1) - 1
    gains = [np.where(rank < 10, 1 / np.log2(rank + 2), 0).mean() for rank in (before + tied, before)]
    return gains[0], gains[1]


def best(queries, documents):
    return (queries.astype(np.float64) @ documents.astype(np.float64).T).argmax(axis=1).tolist()


def test_searches_of_a_library_are_at_the_precision_that_their_rows_name():
    queries, documents = sides = kernels.embeddings(3000, 20)
    ranges = np.stack([documents.min(axis=0), documents.max(axis=0)])
    codes = [quantize_embeddings(side, "uint8", ranges) for side in sides]
    signs = [np.where(side > 0, 1, -1) for side in sides]
    for precision, expected in (("int8", codes), ("binary", signs)):
        theirs, from_documents = kernels.their_search(*sides, precision)
        for results in (theirs(rescore=False)[0], from_documents()[0]):
            assert [hits[0]["corpus_id"] for hits in results] == best(*expected)
    # Rescored by float queries, and the bits that have been searched.
    assert [hits[0]["corpus_id"] for hits in theirs(rescore=True)[0]] == best(queries, signs[1])


def test_every_search_has_its_rows():
    rows = {row.name: row for row in kernels.measure_search(documents=3000, queries=20, pairs=1)}
    assert {name for name in rows if name.endswith("over_float32")} == {
        f"search_{precision}_over_float32" for precision in ("float32", "int8", "binary")
    }
    for precision in ("int8", "binary"):
        assert {f"search_{precision}{variant}" for variant in ("", "_rescored", "_with_indexing")} < set(rows)
    assert all(row.bound is None and row.ours > 0 for row in rows.values())


@pytest.mark.slow(20)
def test_memory_is_that_of_a_process_which_scores(tmp_path):
    (row,) = evaluation.measure_score_memory(documents=2000, grids=("default",))
    assert row.name == "score_memory_default_grid"
    assert 0.05 < row.ours < 1
    config, _ = evaluation.GRIDS["wide"]
    evaluation.write_inputs(tmp_path, 500, 5, {"metrics": evaluation.FEW_METRICS, **config})
    evaluation._score(tmp_path)
    scores = pd.DataFrame(read_scores(tmp_path / "score"))
    assert scores["rotation"].nunique() == 3
    assert set(scores["scoring"]) == {"dot", "dequantized", "hamming", "rabitq"}


@alone
def test_the_score_stage_starts_without_torch():
    (row,) = evaluation.measure_score_startup(starts=1)
    assert 0 < row.ours < 10


@alone
def test_intervals_of_a_table_are_timed():
    (row,) = kernels.measure_bootstrap(tasks=2, queries=5)
    assert row.bound == 1
    assert 0 < row.ours < 10


@pytest.mark.slow(30)
def test_planning_many_runs_is_measured_against_trivial_jobs(monkeypatch):
    # Each call is made once: a call that is not counted would double the time of this test, and CPU seconds need none.
    monkeypatch.setattr(study, "medians", lambda ours, reference, pairs: (ours(), reference()))
    rows = {row.name: row for row in study.measure_workflow(runs=(2, 4), pairs=1)}
    assert set(rows) == {
        *(f"dry_run_of_{n}_runs" for n in (1, 2, 4)),
        "one_of_2_runs",
        "one_of_4_runs",
        "job_of_1_runs",
        "job_of_4_runs",
        "parsing_for_a_job",
    }
    assert [name for name, row in rows.items() if row.bound] == ["dry_run_of_4_runs", "parsing_for_a_job"]
    assert min(min(row.ours, row.reference) for name, row in rows.items() if name.startswith(("dry", "job"))) > 0.3
    assert rows["parsing_for_a_job"].ours < 0.8 * rows["job_of_4_runs"].ours  # without Snakemake's own start


def test_seconds_of_jobs_that_run_side_by_side_are_divided():
    jobs = {("train", 1.0, 5.0), ("encode", 3.0, 6.0), ("score", 6.0, 6.5), ("deploy", 8.0, 9.0)}
    seconds = study.seconds_by_step(jobs, 10.0)
    assert seconds == {"training": 3.0, "encoding": 2.0, "exporting": 1.0, "rest": 4.0}


@pytest.mark.slow(90)
def test_a_study_is_compared_with_a_script_that_finds_the_same(tiny_model, tmp_path, monkeypatch):
    small = " ".join(
        [
            f"model.name={tiny_model} model.max_seq_length=24 data.rows=32 data.packages=[networkx] data.held_out=[stdlib]",
            "task=[networkx] task.networkx.queries=15 task.networkx.documents=30 trainer.batch_size=8",
            "study.matrix.method=[untrained,ste,baseline:int8] encode.threads=null trainer.threads=null",
        ]
    )
    ours, total = study.run_workflow(tmp_path / "project", small, "quickstart")
    theirs, stock_total = study.run_stock(tmp_path / "project", tmp_path / "stock", small, "quickstart")
    for seconds, whole in ((ours, total), (theirs, stock_total)):
        assert sum(seconds.values()) == pytest.approx(whole)
        assert min(seconds.values()) > 0
    stock = pd.read_csv(tmp_path / "stock" / study.SCORES)
    assert len(stock) == 3 * 2 * 3  # runs, deployments, precisions
    tables = tmp_path / "project" / "results" / "studies" / "quickstart" / "tables"
    scores = pd.read_csv(tables / "scores.csv")
    chosen = 'run == "untrained" and deploy == "torch_fp32" and doc_precision == "float32" and metric == "ndcg@10"'
    value = scores.query(chosen)["value"].iloc[0]
    untrained = stock[(stock["run"] == "untrained") & (stock["precision"] == "float32")].set_index("deploy")["value"]
    assert untrained["torch_fp32"] == pytest.approx(value, abs=1e-6)
    assert {path.name for path in (tmp_path / "stock").glob("*-int8.onnx")} == {
        f"{name}-int8.onnx" for name in stock["run"]
    }


def test_the_documents_for_engines_have_relevant_ones_that_an_exact_search_does_not_all_find_first(tmp_path):
    inputs = engines.write_embeddings(tmp_path, 20_000, 48, 100)
    documents, queries = np.load(inputs.documents), np.load(inputs.queries)
    assert np.allclose(np.linalg.norm(documents, axis=1), 1, atol=1e-5)
    assert np.array_equal(np.unique(inputs.sources, return_counts=True)[1], [19_500, *[engines.COPIES] * 100])
    nearest = np.argsort(-(queries @ documents.T), axis=1)[:, : engines.COPIES]
    assert 0.5 < (inputs.sources[nearest] == np.arange(100)[:, None]).mean() < 0.95
    with pytest.raises(ValueError, match="do not hold 5 copies for each of 100 queries"):
        engines.write_embeddings(tmp_path, 499, 48, 100)


@pytest.mark.slow(30)
def test_engines_are_compared_at_the_candidates_that_reach_the_exact_search():
    pytest.importorskip("usearch")
    rows = {row.name: row for row in engines.measure_engines(3000, 32, 50, engines=("usearch", "faiss"))}
    measurements = ("queries_per_second", "build", "build_memory", "memory", "disk")
    assert set(rows) == {f"engine_{name}_{measured}" for name in ("usearch", "faiss") for measured in measurements}
    for name in ("usearch", "faiss"):
        share = float(rows[f"engine_{name}_queries_per_second"].reference_is.split("reach ")[1].split("%")[0])
        assert 99 <= share < 101
        assert rows[f"engine_{name}_disk"].ratio > 1  # a graph beside the embeddings
    assert all(row.bound is None and row.reference > 0 and row.ours >= 0 for row in rows.values())


def test_engines_are_measured_only_by_name(monkeypatch, tmp_path, capsys):
    measured = []
    for name, (module, _) in run.BENCHMARKS.items():
        monkeypatch.setattr(f"{module}.measure_{name}", lambda name=name: measured.append(name) or iter(()))
    run.main(["--output", str(tmp_path / "bench.csv")])
    assert measured == [name for name in run.BENCHMARKS if name != "engines"]
    run.main(["engines", "--output", str(tmp_path / "bench.csv")])
    assert measured[-1] == "engines"
