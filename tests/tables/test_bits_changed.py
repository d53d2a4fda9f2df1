"""Shares of bits by method, beside those of two seeds of the baseline: means over tasks, then over seeds or pairs."""

import json

import numpy as np
import pandas as pd
import pytest

from qatlab.tables.bits import BETWEEN_SEEDS, CHANGED, bits_changed, compared_deployment
from qatlab.tables.long import runs_table
from qatlab.tables.missing import FAILED, NOT_RUN, Missing, MissingArtifact, incomplete_runs
from records import a_run

SHARES = {  # by method, seed and task
    ("ste", 0): (0.010, 0.030),
    ("ste", 1): (0.020, 0.060),
    ("plain", 0): (0.001, 0.002),
    ("plain", 1): (0.001, 0.002),
}
PAIRS = {(0, 1): (0.05, 0.07), (0, 2): (0.06, 0.08), (1, 2): (0.10, 0.12)}


def run(results, method, seed, comparisons, varied):
    """A run's description, with artifacts of its comparisons by the name of the other run."""
    name = f"{method}-{seed}" if seed is not None else method
    entries = []
    for at, task in enumerate("ab"):
        paths = {}
        for other, shares in comparisons.items():
            paths[other] = f"bit_changes/{'-'.join(map(str, [name, other, task, *varied.values()]))}"
            (results / paths[other]).mkdir(parents=True)
            figures = {"documents": shares[at], "queries": 0.9, "bits": 8}
            (results / paths[other] / "bit_changes.json").write_text(json.dumps(figures))
        encode = f"encode/{name}-{task}"
        entries.append({"deploy": "torch_fp32", "task": task, "encode": encode, "bit_changes": paths})
    return a_run(
        name=name,
        method=method,
        seed=seed,
        varied=varied,
        evaluations=entries,
        parts=[],
        trained=f"train/{name}",
        deployed={"torch_fp32": f"deploy/{name}"},
    )


def study(results, seeds=(0, 1, 2), varied=None):
    varied = varied or {}
    runs = [run(results, "untrained", None, {}, varied)]
    for seed in seeds:
        pairs = {f"baseline-{b}": shares for (a, b), shares in PAIRS.items() if a == seed and b in seeds}
        runs.append(run(results, "baseline", seed, pairs, varied))
    runs += [run(results, m, s, {f"baseline-{s}": shares}, varied) for (m, s), shares in SHARES.items() if s in seeds]
    return [*runs, *(run(results, "rotated", seed, {}, varied) for seed in seeds)]


def test_means_are_over_tasks_then_seeds_and_pairs(tmp_path):
    table = bits_changed(study(tmp_path), tmp_path, "baseline").set_index("method")
    assert list(table.index) == ["ste", "plain", "rotated"]
    assert table.loc["ste", CHANGED] == f"3.00 ± {np.std([2, 4], ddof=1):.2f}"
    assert table.loc["plain", CHANGED] == "0.15 ± 0.00"
    assert pd.isna(table.loc["rotated", CHANGED])
    assert set(table[BETWEEN_SEEDS]) == {"8.00"}  # of 6, 7 and 11


def test_one_seed_has_no_deviation_and_no_pair(tmp_path):
    table = bits_changed(study(tmp_path, (0,)), tmp_path, "baseline").set_index("method")
    assert table.loc["ste", CHANGED] == "2.00"
    assert table[BETWEEN_SEEDS].isna().all()


def test_what_else_the_matrix_varies_is_a_row_of_its_own(tmp_path):
    """Also where a value is null."""
    runs = []
    for model, layers in (("long", None), ("short", 1)):
        runs += study(tmp_path, varied={"matrix.model": model, "matrix.model.num_hidden_layers": layers})
    table = bits_changed(runs, tmp_path, "baseline")
    assert list(table.columns) == ["method", "matrix.model", "matrix.model.num_hidden_layers", CHANGED, BETWEEN_SEEDS]
    assert table["matrix.model"].tolist() == ["long"] * 3 + ["short"] * 3
    assert table[BETWEEN_SEEDS].tolist() == ["8.00"] * 6


def test_what_is_missing_is_counted(tmp_path):
    runs = study(tmp_path)
    paths = [e.bit_changes for r in runs for e in r.evaluations if e.task == "a"]
    gone = {
        path: FAILED
        for of_run in paths
        for path in of_run.values()
        if "ste-1" in path or "baseline-0-baseline-1" in path
    }
    gone |= {path: NOT_RUN for of_run in paths for path in of_run.values() if path.startswith("bit_changes/plain")}
    missing = Missing({path: MissingArtifact(status=status) for path, status in gone.items()})
    table = bits_changed(runs, tmp_path, "baseline", missing).set_index("method")
    assert table.loc["ste", CHANGED] == "2.00 (1 of 2 seeds failed)"
    assert table.loc["plain", CHANGED] == NOT_RUN
    assert set(table[BETWEEN_SEEDS]) == {"9.00 (1 of 3 pairs failed)"}
    assert {lacking.run for lacking in incomplete_runs(runs, missing)} == {"baseline-0", "ste-1", "plain-0", "plain-1"}
    everything = Missing(
        {p: MissingArtifact(status=FAILED) for r in runs for e in r.evaluations for p in e.bit_changes.values()}
    )
    table = bits_changed(runs, tmp_path, "baseline", everything).set_index("method")
    assert set(table[BETWEEN_SEEDS]) == {FAILED}
    assert table.loc["ste", CHANGED] == FAILED


def test_the_runs_name_their_comparisons(tmp_path):
    runs = study(tmp_path)
    table = runs_table(runs).set_index(["run", "task"])
    assert table.loc[("baseline-0", "a"), "bit_changes"].split() == [
        "bit_changes/baseline-0-baseline-1-a", "bit_changes/baseline-0-baseline-2-a",
    ]  # fmt: skip
    assert pd.isna(table.loc[("untrained", "a"), "bit_changes"])
    assert compared_deployment(runs) == "torch_fp32"


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
def test_an_untrained_baseline_has_no_pairs(tmp_path, seeds):
    runs = [run(tmp_path, "ste", seed, {"untrained": (0.1, 0.3)}, {}) for seed in seeds]
    table = bits_changed([run(tmp_path, "untrained", None, {}, {}), *runs], tmp_path, "untrained")
    assert table["method"].tolist() == ["ste"]
    assert table[CHANGED].tolist() == ["20.00 ± 0.00" if len(seeds) > 1 else "20.00"]
    assert table[BETWEEN_SEEDS].isna().all()


def test_a_run_is_not_blamed_for_what_its_baseline_lacks(tmp_path):
    runs = study(tmp_path)
    gone = {"train/baseline-0": FAILED}
    gone |= {p: FAILED for r in runs for e in r.evaluations for n, p in e.bit_changes.items() if n == "baseline-0"}
    missing = Missing({path: MissingArtifact(status=status, reason="diverged") for path, status in gone.items()})
    assert (
        bits_changed(runs, tmp_path, "baseline", missing).set_index("method").loc["ste", CHANGED]
        == "4.00 (1 of 2 seeds failed)"
    )
    assert [lacking.run for lacking in incomplete_runs(runs, missing)] == ["baseline-0"]
    table = runs_table(runs, missing)
    assert set(table.loc[table["status"] == FAILED, "run"]) == {"baseline-0"}
