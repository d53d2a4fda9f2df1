"""Failed cells are marked in every view: never blank, never a mean over fewer seeds without a note, never tested."""

import numpy as np
import pandas as pd
import pytest

from conftest import AS_IT_IS
from qatlab.plots import scores as waterfall
from qatlab.study.record import AnswerConfig, IncompleteRun
from qatlab.tables import wide
from qatlab.tables.answers import answers
from qatlab.tables.decomposition import Chain, Level, decomposition, parity
from qatlab.tables.differences import against_baseline, qat_minus_ptq
from qatlab.tables.drift import drift_and_loss
from qatlab.tables.gathered import Figures, Form
from qatlab.tables.missing import FAILED, NOT_RUN, OK, Missing, MissingArtifact, cell, in_words, incomplete_runs, note
from qatlab.tables.published import figures, published
from qatlab.tables.wide import cost_of_training
from records import a_run

RNG = np.random.default_rng(0)
QUERIES = RNG.uniform(size=100)


def test_what_a_cell_lacks_is_counted_by_status():
    assert note([OK, OK]) == ""
    assert note([OK, FAILED, OK]) == "1 of 3 seeds failed"
    assert note([FAILED, NOT_RUN, OK, NOT_RUN]) == "1 of 4 seeds failed, 2 not run"
    assert note([NOT_RUN]) == "1 of 1 seed not run"
    assert cell("0.5000", [OK, FAILED]) == "0.5000 (1 of 2 seeds failed)"
    assert cell("nan", [FAILED, NOT_RUN]) == FAILED
    assert cell("nan", [NOT_RUN]) == NOT_RUN


def test_runs_are_named_with_the_first_cause():
    missing = Missing(
        {
            "train/b": MissingArtifact(status=FAILED, reason="diverged"),
            "score/c": MissingArtifact(status=NOT_RUN),
        }
    )
    runs = [
        a_run(
            name=name,
            trained=f"train/{name}",
            deployed={},
            parts=[],
            evaluations=[{"deploy": "d", "task": "t", "encode": f"encode/{name}", "score": f"score/{name}"}],
        )
        for name in "abc"
    ]
    incomplete = incomplete_runs(runs, missing)
    assert incomplete == [
        IncompleteRun(run="b", status=FAILED, failure="diverged"), IncompleteRun(run="c", status=NOT_RUN),
    ]  # fmt: skip
    assert in_words(incomplete) == "failed: b; not run: c"
    assert in_words([IncompleteRun(run=f"r{i}", status=FAILED) for i in range(5)]) == "failed: r0, r1, r2 and 2 more"


def scores(status):
    """Two tasks, two seeds; `status` contains those that are missing, by (method, seed, task)."""
    rows = [
        {"run": f"{method}-{seed}", "method": method, "seed": seed, "deploy": "d", "task": task, "query_precision": "float32",
         "doc_precision": "float32", "rotation": "none", **AS_IT_IS, "metric": "ndcg@10", "integer_kernel": None,
         "value": np.nan if (method, seed, task) in status else 0.1 * seed + {"a": 0.2, "b": 0.4}[task],
         "status": status.get((method, seed, task), OK)}
        for method in ("baseline", "ste") for seed in (0, 1) for task in "ab"
    ]  # fmt: skip
    table = pd.DataFrame(rows)
    return table.assign(seed=table["seed"].astype("Int64"))


def test_failed_scores_are_marked_in_the_cell_and_in_every_mean_over_it():
    whole = wide.scores_by_precision(scores({}), "ndcg@10").set_index("method")
    lacking = {("ste", 1, "b"): FAILED, ("baseline", 0, "a"): NOT_RUN, ("baseline", 1, "a"): NOT_RUN}
    table = wide.scores_by_precision(scores(lacking), "ndcg@10").set_index("method")
    assert table.loc["ste", "a · float32"] == whole.loc["ste", "a · float32"] == "0.2500 ± 0.0707"
    assert table.loc["ste", "b · float32"] == "0.4000 (1 of 2 seeds failed)"
    assert (
        table.loc["ste", f"{wide.MEAN} · float32"] == "0.3000 (1 of 2 seeds failed)"
    )  # the mean of both tasks of seed 0
    assert table.loc["baseline", ["a · float32", f"{wide.MEAN} · float32"]].tolist() == [NOT_RUN, NOT_RUN]
    assert table.loc["baseline", "b · float32"] == whole.loc["baseline", "b · float32"]
    metrics = wide.all_metrics(scores(lacking)).set_index("method")["ndcg@10"].to_dict()
    assert metrics == {"baseline": NOT_RUN, "ste": "0.3000 (1 of 2 seeds failed)"}


def drift(status, reference="torch_fp32", deploys=("d", "e")):
    rows = [
        {"run": f"{method}-{seed}", "method": method, "seed": seed, "reference": reference, "deploy": deploy, "task": task,
         "integer_kernel": None, "n": 5, "status": status.get((method, seed, task), OK),
         **dict.fromkeys(("min", "max", "mean", "mean_distance", "top10_overlap", "rank_flips", "margin_change", "kendall_tau"),
                         np.nan if (method, seed, task) in status else 0.9 + 0.01 * seed)}
        for method in ("baseline", "ste") for seed in (0, 1) for deploy in deploys for task in "ab"
    ]  # fmt: skip
    return pd.DataFrame(rows).astype({"n": "Int64"})


def test_drift_leaves_out_seeds_that_lack_a_task_and_counts_them():
    lacking = {("ste", 1, "b"): FAILED, **{("baseline", seed, "a"): FAILED for seed in (0, 1)}}
    table = wide.drift_summary(drift(lacking)).set_index(["method", "deploy"])
    assert set(table.loc[("baseline", "d")].drop("missing")) == {FAILED}
    assert table.loc[("ste", "d"), ["min", "n", "missing"]].tolist() == ["0.900000", 10, "1 of 2 seeds failed"]
    assert "missing" not in wide.drift_summary(drift({})).columns
    simulated = parity(
        drift(lacking, "simulated:int8"),
        [a_run(name=f"{m}-{s}", scheme="int8") for m in ("baseline", "ste") for s in (0, 1)],
    )
    cells = simulated.set_index("method")["e"].to_dict()
    assert cells == {"baseline": FAILED, "ste": "0.900000 (0.900000) (1 of 2 seeds failed)"}


def test_drift_and_loss_correlates_nothing_without_all_cells():
    references = [
        a_run(name=f"{m}-{s}", references={"torch_fp32": (f"{m}-{s}", "d")})
        for m in ("baseline", "ste")
        for s in (0, 1)
    ]
    lacking = {("ste", 1, "b"): NOT_RUN}
    both = pd.concat([scores(lacking), scores(lacking).assign(deploy="e")], ignore_index=True)
    table = drift_and_loss(drift(lacking, deploys=("e",)), both, references, "ndcg@10")
    assert set(table["cells"]) == {"7 (1 missing)"}
    assert set(table["p"]) == {NOT_RUN}


def cost(status):
    """`status`: missing trainings and deployments, by (method, seed, "train" or "deploy")."""
    rows = []
    for method in ("untrained", "baseline", "qat"):
        for seed in (0, 1) if method != "untrained" else (None,):
            trained, deployed = ((method, seed, stage) not in status for stage in ("train", "deploy"))
            rows.append(
                {"run": f"{method}-{seed}", "method": method, "seed": seed, "deploy": "d", "scheme": "none", "tuning": "full",
                 **dict.fromkeys(("seconds_per_step", "examples_per_second", "peak_memory_bytes", "trained_parameters"),
                                 (2.0 if method == "qat" else 1.0) if trained and seed is not None else None),
                 "bytes_on_disk": 1e6 if trained and deployed else None, "texts_per_second": 10.0 if trained and deployed else None,
                 "quantized_weights": None, "linear_weights": None, "status": OK if trained and deployed else FAILED}
            )  # fmt: skip
    types = {"quantized_weights": "Int64", "linear_weights": "Int64"}
    return pd.DataFrame(rows).astype({"seed": "Int64", "seconds_per_step": float, "bytes_on_disk": float, **types})


COST = AnswerConfig(method="qat", figure="peak_memory_bytes")
RUNS = [a_run(method="qat", counterpart="baseline"), a_run(method="baseline", counterpart=None)]


def test_what_a_training_took_is_known_though_its_deployment_failed():
    table = wide.cost_summary(cost({("qat", 0, "deploy"): 1, ("qat", 1, "deploy"): 1})).set_index("method")
    assert table.loc["qat", ["s/step", "on disk (MB)", "texts/s", "missing"]].tolist() == [
        "2.00", FAILED, FAILED, "2 of 2 seeds failed",
    ]  # fmt: skip
    assert pd.isna(table.loc["untrained", "s/step"])
    assert cost_of_training(cost({("qat", 0, "deploy"): 1}), RUNS).equals(cost_of_training(cost({}), RUNS))
    whole = answers([COST], {}, cost({}), [], "x")
    assert answers([COST], {}, cost({("qat", 0, "deploy"): 1}), [], "x").equals(whole)


def test_costs_of_a_training_that_failed_are_no_ratio_of_the_others():
    one = cost({("qat", 1, "train"): 1})
    table = cost_of_training(one, RUNS).set_index("method")
    assert table.loc["qat", ["s/step", "memory / without", "missing"]].tolist() == [
        "2.000",
        FAILED,
        "1 of 2 seeds failed",
    ]
    assert table.loc["baseline", ["s/step", "missing"]].tolist() == ["1.000", ""]
    (row,) = answers([COST], {}, one, [], "x").to_dict("records")
    assert (row["reference"], row["value"]) == ("1e-06", "2e-06 (1 of 2 seeds failed)")
    assert {row[column] for column in ("difference or ratio", "95 % interval", "verdict")} == {FAILED}
    all_gone = cost({("qat", 0, "train"): 1, ("qat", 1, "train"): 1})
    assert set(cost_of_training(all_gone, RUNS).set_index("method").loc["qat", ["s/step", "peak memory (MB)"]]) == {
        FAILED
    }
    assert answers([COST], {}, all_gone, [], "x")["value"].tolist() == [FAILED]


def form(method, output="float32"):
    return Form(method, (), "d", "", "none", output)


@pytest.fixture
def compared():
    """Three methods of two seeds; one seed of `qat` has failed, and all of `other` were not run."""
    scored = Figures()
    for method, shift in (("baseline", 0.0), ("qat", 0.0), ("ste", 0.05), ("other", 0.0)):
        for seed in (0, 1):
            if method == "other" or (method, seed) == ("qat", 1):
                scored.put_gap(form(method), seed, "a", FAILED if method == "qat" else NOT_RUN)
            else:
                scored.put(form(method), seed, "a", QUERIES + shift + RNG.normal(0, 0.02, size=100))
    scored.close()
    return scored


def test_a_difference_that_lacks_a_seed_is_not_judged_by_the_others(compared):
    table = against_baseline(compared, "baseline", []).set_index("method")
    assert table["verdict"].to_dict() == {"qat": FAILED, "ste": "better", "other": NOT_RUN}
    assert table.loc["qat", "value"].endswith(" (1 of 2 seeds failed)")
    assert table.loc["other", "value"] == NOT_RUN
    for column in ("difference", "95 % interval", "p (Holm)"):
        assert table[column].drop("ste").tolist() == [FAILED, NOT_RUN]
    assert table["to tell them apart"].to_dict() == {
        "qat": "qat: 1 of 2 seeds failed", "ste": "", "other": "other: 2 of 2 seeds not run",
    }  # fmt: skip


def test_missing_scores_are_nan_in_the_shape_of_the_others(compared):
    assert compared[form("other")][0]["a"].shape == (100,)
    assert np.isnan(compared[form("qat")][1]["a"]).all()


def test_counterparts_and_answers_that_lack_a_seed(compared):
    runs = [a_run(method="qat", matched={"d": "int8"}, counterpart="baseline")]
    (row,) = qat_minus_ptq(compared, runs, []).to_dict("records")
    assert row["QAT"].endswith("(1 of 2 seeds failed)")
    assert {row[column] for column in ("QAT − PTQ", "seeds", "verdict", "95 % interval")} == {FAILED}
    comparison = AnswerConfig(method="qat", deploy="d")
    rows = answers([comparison, comparison.model_copy(update={"method": "ste"})], compared, cost({}), [], "nDCG@10")
    assert rows["verdict"].tolist() == [FAILED, "better"]
    assert rows["difference or ratio"][0] == FAILED


def test_a_chain_that_lacks_a_level_has_no_step_to_it_and_is_not_drawn():
    levels = [Level("baseline", (), "d", "", component, "o") for component in ("float", "weights", "export")]
    scored = Figures()
    for at, level in enumerate(levels):
        for seed in (0, 1):
            if (at, seed) == (1, 1):
                scored.put_gap(level, seed, "a", FAILED)
            else:
                scored.put(level, seed, "a", QUERIES - 0.1 * at)
    scored.close()
    table = decomposition(scored, [Chain("int8", levels), Chain("binary", [levels[0], levels[2]])], [])
    of_int8 = table[table["output precision"] == "int8"]
    assert of_int8["difference"].tolist()[1:] == [FAILED, FAILED, "-0.2000"]
    assert of_int8["value"].tolist()[1] == FAILED
    text = table.astype(object).where(table.notna(), "–").astype(str)
    assert set(waterfall.complete_chains(text)["output precision"]) == {"binary"}
    assert waterfall.complete_chains(text[text["output precision"] == "int8"]).empty


def test_a_published_result_is_shown_beside_failed():
    lacking = {("ste", 1, "b"): FAILED, ("baseline", 0, "a"): FAILED, ("baseline", 1, "a"): FAILED}
    ours = figures([], None, scores(lacking), drift({}), cost({}).assign(steps=1, train_seconds=1.0))
    names = {"task": {"a": "a", "b": "b"}, "texts": {}, "deploy": {"d": "d"}}
    columns = ["table", "method", "deploy", "task", "precision", "metric", "value", "source"]
    rows = [
        ("scores", method, "d", task, "float32", "ndcg@10", "0.5", "x")
        for method in ("baseline", "ste")
        for task in ("a", "b", "mean")
    ]
    table = published(pd.DataFrame(rows, columns=columns), ours, names)
    assert table["ours"].tolist() == [
        FAILED, "0.4500 ± 0.0707", FAILED, "0.2500 ± 0.0707", "0.4000 (1 of 2 seeds failed)", "0.3000 (1 of 2 seeds failed)",
    ]  # fmt: skip
    assert table["ours − published"].tolist() == [FAILED, "-0.0500", FAILED, "-0.2500", FAILED, FAILED]
