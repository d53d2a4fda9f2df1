"""Results in mteb's format: read by mteb's own loader, with the scores that scores.json has."""

import json

import mteb
import pytest

from qatlab.evaluation.outputs import SCHEMA, write_scores
from qatlab.job import JobDescription
from qatlab.stages import mteb_results
from records import a_run, a_study

METRICS = {"ndcg@10": "ndcg_at_10", "accuracy@1": "hit_rate_at_1"}


def row(metric, value, precision="float32", scoring="dot", **more):
    usual = {"ranges": "none", "rotation": "none", "rescoring": "none", "dimensions": None, "index": "flat"}
    sides = {"query_precision": precision, "doc_precision": precision}
    return {"metric": metric, "value": value, "scoring": scoring, **sides, **usual, **more}


@pytest.fixture
def results(tmp_path):
    """A run with two tasks that mteb contains, one of NanoBEIR's and one of STS, and one that it does not."""
    nano = {"source": "hub", "name": "zeta-alpha-ai/NanoSciFact", "split": "train", "mteb_name": "NanoSciFactRetrieval"}
    sts = {"source": "mteb", "name": "STSBenchmark"}
    known = {"name": "STSBenchmark", "revision": "b0f", "split": "test", "subset": "default"}
    tasks = {
        "nano": (nano, {"kind": "retrieval", "commit": "309f"}),
        "sts": (sts, {"kind": "similarity", "mteb": known}),
        "own": ({"source": "local"}, {"kind": "retrieval"}),
    }
    rows = {
        "nano": [
            *(row(metric, 0.1 * n) for n, metric in enumerate(METRICS, 5)),
            *(row(metric, 0.2, "int8", "mteb_compat", ranges="per_call") for metric in METRICS),
            *(row(metric, 0.3, "int8", "dequantized", ranges="corpus") for metric in METRICS),
        ],
        "sts": [row("spearman", 0.8), row("pearson", 0.75)],
        "own": [row("ndcg@10", 0.9)],
    }
    for name, (config, manifest) in tasks.items():
        for kind in ("task", "encode", "score"):
            (tmp_path / kind / name).mkdir(parents=True)
        write = {
            f"task/{name}/config.json": {"config": config},
            f"task/{name}/manifest.json": manifest,
            f"encode/{name}/config.json": {"inputs": {"task": f"task/{name}"}},
            f"encode/{name}/cost.json": {"seconds": 12.5},
            f"score/{name}/scores.json": {"schema": SCHEMA, "scores": rows[name]},
        }
        for path, value in write.items():
            (tmp_path / path).write_text(json.dumps(value))
    return tmp_path


def described(*tasks):
    run = a_run(
        name="baseline-seed=0",
        model="sentence-transformers/all-MiniLM-L6-v2",
        deployed={"onnx_int8": "deploy/baseline-seed-0-onnx_int8-0123456789ab"},
        evaluations=[
            {"deploy": "onnx_int8", "task": name, "encode": f"encode/{name}", "score": f"score/{name}"}
            for name in tasks
        ],
    )
    return JobDescription(config=a_study(runs=[run]).model_dump(mode="json"))


def test_mteb_reads_them(results, tmp_path):
    output = tmp_path / "study"
    output.mkdir()
    mteb_results.run(described("nano", "sts", "own"), {"results": results}, output, 1)
    model = "qatlab__all-MiniLM-L6-v2-baseline-seed-0-onnx_int8"
    files = {path.relative_to(output / "mteb/results").as_posix() for path in output.rglob("*.json")}
    assert {file for file in files if not file.endswith("model_meta.json")} == {
        f"{model}/0123456789ab/NanoSciFactRetrieval.json",
        f"{model}/0123456789ab/STSBenchmark.json",
        f"{model}/0123456789ab/experiments/output_dtypes_int8/NanoSciFactRetrieval.json",
        f"{model}/0123456789ab/experiments/output_dtypes_int8__ranges_corpus__scoring_dequantized/NanoSciFactRetrieval.json",
    }
    loaded = mteb.ResultCache(output / "mteb").load_results(load_experiments="match_name")
    assert len(loaded.model_results) == 3
    by_experiment = {result.model_name: [] for result in loaded.model_results}
    for result in loaded.model_results:
        by_experiment[result.model_name] += [(task.task_name, task.get_score()) for task in result.task_results]
    ((_, scores),) = by_experiment.items()
    assert sorted(scores) == [
        ("NanoSciFactRetrieval", 0.2), ("NanoSciFactRetrieval", 0.3), ("NanoSciFactRetrieval", 0.5), ("STSBenchmark", 0.8),
    ]  # fmt: skip
    nano = mteb.TaskResult.from_disk(output / f"mteb/results/{model}/0123456789ab/NanoSciFactRetrieval.json")
    assert (nano.dataset_revision, nano.evaluation_time) == ("309f", 12.5)
    (part,) = nano.scores["train"]
    assert {part[name] for name in METRICS.values()} == {0.5, 0.6}
    assert part["main_score"] == part["ndcg_at_10"]
    sts = mteb.TaskResult.from_disk(output / f"mteb/results/{model}/0123456789ab/STSBenchmark.json")
    assert sts.scores["test"][0]["cosine_pearson"] == 0.75


def test_without_its_main_score_there_is_no_result(results, tmp_path, capsys):
    write_scores(results / "score/nano", [row("accuracy@1", 0.4)])
    output = tmp_path / "study"
    output.mkdir()
    mteb_results.run(described("nano"), {"results": results}, output, 1)
    assert not list(output.rglob("NanoSciFactRetrieval.json"))
    assert "main score of NanoSciFactRetrieval is ndcg_at_10" in "".join(capsys.readouterr())
