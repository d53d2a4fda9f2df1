"""A study whose tasks are of every kind, from a hub on loopback and from files, through real Snakemake."""

import json

import mteb
import pandas as pd
import pytest

from checkouts import Checkout
from failing import check_nothing_is_blank, read, shown_without
from hub_server import Hub, card, nano, serve
from qatlab.plan.plan import load_study
from qatlab.tasks.mteb import look_up

pytestmark = pytest.mark.slow(60)

STUDY = """
# @package _global_
defaults:
  - override /data: local
  - override /deploy: [torch_fp32]
  - override /task: [nano_scifact, stsbenchmark, withheld, sentence_pairs]
study:
  name: kinds
  title: Tasks of every kind
  matrix: {{method: [untrained]}}
model: {{name: "{model}", max_seq_length: 32}}
data: {{path: "{files}/pairs.jsonl"}}
task:
  withheld: {{path: "{folder}/records.jsonl", mined: {{bm25: 2, model: 1, searcher: {{name: "{model}", max_seq_length: 32}}}}}}
  sentence_pairs: {{path: "{folder}/pairs.csv"}}
evaluate:
  ranges: [corpus, training]
  bit_axes: [centred, {{center: median, fitted_on: training}}]
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory, tiny_model, tiny_files, pairs):
    folder = tmp_path_factory.mktemp("kinds")
    sts = look_up("STSBenchmark")
    scored = [{"sentence1": a, "sentence2": pairs[i % 7][0], "score": i % 5} for i, (a, _) in enumerate(pairs[:30])]
    (folder / "sts").mkdir()
    (folder / "sts/test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in scored))
    (folder / "sts/README.md").write_text(card(default=("test", "test.jsonl")))
    pd.DataFrame(scored[:20]).to_csv(folder / "pairs.csv", index=False)
    records = [{"query": summary, "positive": code} for summary, code in pairs[40:60]]
    (folder / "records.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    revision = "309f1d1ae3ae2e092444a8a0c25bed59b82318bc"
    datasets = {
        "zeta-alpha-ai/NanoSciFact": {revision: nano(folder / "nano", [code for _, code in pairs[:25]])},
        sts.dataset: {sts.revision: folder / "sts"},
    }
    project = Checkout(folder, STUDY.format(model=tiny_model, files=tiny_files, folder=folder), "kinds")
    with serve(Hub(datasets=datasets)) as hub:
        network = {"HF_ENDPOINT": hub.address, "HF_HOME": str(folder / "cache"), "HF_HUB_OFFLINE": "0"}
        project.result = project.snakemake(environment=network)
    return project


@pytest.fixture(scope="module")
def study(checkout):
    assert checkout.result.returncode == 0, checkout.result.stdout
    return checkout.folder / "results/studies/kinds"


def test_each_kind_has_its_metrics(study):
    scores = pd.read_csv(study / "tables/scores.csv")
    metrics = scores.groupby("task")["metric"].unique().map(set)
    assert metrics["stsbenchmark"] == metrics["sentence_pairs"] == {"spearman", "pearson"}
    assert metrics["withheld"] == {"accuracy@1", "mrr", "rank", "positive_similarity", "margin"}
    assert "ndcg@10" in metrics["nano_scifact"]
    assert dict(scores.groupby("task")["queries"].first()) == {
        "nano_scifact": 3, "sentence_pairs": 20, "stsbenchmark": 30, "withheld": 20,
    }  # fmt: skip
    assert set(scores.loc[scores["doc_precision"] == "int8", "ranges"]) == {"corpus", "training"}
    title = (study / "tables/scores_by_precision.md").read_text().splitlines()[0]
    assert "main score (Spearman's ρ; " in title
    (row,) = pd.read_csv(study / "tables/scores_by_precision.csv").to_dict("records")
    plain = scores[(scores["scoring"] == "dot") & (scores["metric"].isin(["spearman", "ndcg@10", "accuracy@1"]))]
    plain = plain[~((plain["task"] == "nano_scifact") & (plain["metric"] == "accuracy@1"))]
    assert float(row["mean of tasks · float32"]) == pytest.approx(plain["value"].mean(), abs=1e-4)


def test_bits_of_every_kind_are_scored_on_axes_that_need_no_training(study):
    """Fitted on each task's documents, or on training documents, which are encoded once for all tasks."""
    scores = pd.read_csv(study / "tables/scores.csv").query("doc_precision == 'binary'")
    fitted = {"none": "none", "centred": "corpus", "median_training": "training"}
    assert dict(zip(scores["rotation"], scores["fitted_on"], strict=True)) == fitted
    assert set(scores.groupby("task")["rotation"].nunique()) == {3}
    runs = pd.read_csv(study / "runs.csv")
    assert (len(runs), runs["training"].nunique()) == (4, 1)
    table = pd.read_csv(study / "tables/bits.csv", keep_default_na=False)
    assert table["axes"].tolist() == ["signs at 0", "centred", "median"]
    assert table["fitted on"].tolist() == list(fitted.values())
    assert table["compared with"].tolist() == ["–", "its own signs at 0", "its own signs at 0"]
    main = {
        "nano_scifact": "ndcg@10",
        "withheld": "accuracy@1",
        "stsbenchmark": "spearman",
        "sentence_pairs": "spearman",
    }
    of_centred = scores[(scores["rotation"] == "centred") & (scores["metric"] == scores["task"].map(main))]
    assert float(table["value"][1]) == pytest.approx(of_centred["value"].mean(), abs=1e-4)
    assert set(table["bytes per document"]) == {4}
    assert set(pd.read_csv(study / "tables/pareto.csv")["fitted on"]) == set(fitted.values())
    for name in ("scores_by_precision", "all_metrics", "withheld", "against_float"):
        assert "rotation" not in pd.read_csv(study / f"tables/{name}.csv").columns


def test_withheld_records_have_a_table_and_a_rate(study):
    table = pd.read_csv(study / "tables/withheld.csv")
    assert table["output precision"].tolist() == ["float32", "int8", "int8, training's ranges", "binary"]
    assert set(table["records"]) == {20}
    cost = pd.read_csv(study / "tables/cost.csv")
    assert cost["records_per_second"].item() == pytest.approx(20 / cost["records_seconds"].item(), rel=1e-4)


@pytest.mark.parametrize("failed", ["task/withheld", "score/untrained-torch_fp32-withheld", "task/stsbenchmark"])
def test_whatever_fails_no_table_is_blank(checkout, study, tmp_path, failed):
    plan = load_study(checkout.folder / "conf", "kinds")
    path = next(path for path in plan.artifacts if path.startswith(failed))
    shown = shown_without(plan, checkout.folder / "results", path, tmp_path / "shown")
    check_nothing_is_blank(shown, read(study))
    (row,) = shown["scores_by_precision"].to_dict("records")
    task = failed.rpartition("/")[2].rpartition("-")[2]
    assert row[f"{task} · float32"] == row["mean of tasks · float32"] == "failed"
    (whole,) = read(study)["scores_by_precision"].to_dict("records")
    assert row["sentence_pairs · float32"] == whole["sentence_pairs · float32"]
    if task == "withheld":
        assert set(shown["withheld"]["MRR"]) == set(shown["withheld"]["records"]) == {"failed"}


def test_mteb_reads_results_of_its_tasks(study):
    results = mteb.ResultCache(study / "mteb").load_results(load_experiments="match_name")
    scores = pd.read_csv(study / "tables/scores.csv").query("scoring == 'dot'").set_index(["task", "metric"])["value"]
    plain = {task.task_name: task.get_score() for result in results.model_results for task in result.task_results
             if not result.experiment_name}  # fmt: skip
    assert plain == pytest.approx(
        {"NanoSciFactRetrieval": scores["nano_scifact", "ndcg@10"], "STSBenchmark": scores["stsbenchmark", "spearman"]},
        abs=2e-6,
    )
    assert len(results.model_results) == 6  # int8 over two ranges, binary on three axes


def test_an_unknown_task_is_one_line_before_anything_starts(checkout):
    result = checkout.snakemake(study="quickstart", overrides="task=[mteb] task.mteb.name=SciFakt")
    assert result.returncode != 0
    assert "mteb has no task 'SciFakt'; did you mean 'SciFact'?" in result.stdout
