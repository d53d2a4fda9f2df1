"""A training on two nodes of a real Slurm cluster, made on the spot: Snakemake's plugin asks for them, srun starts the command on each."""

import pandas as pd
import pytest

import checkouts
from checkouts import tiny_study
from qatlab.artifact import read_json
from slurm_cluster import environment, slurm_cluster, why_not


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    reason = why_not()
    if reason:
        pytest.skip(f"no Slurm cluster can be made here: {reason}")
    with slurm_cluster(tmp_path_factory.mktemp("slurm"), nodes=2) as made:
        yield made


def test_a_training_runs_on_two_nodes(cluster, tiny_model, tiny_files, tmp_path):
    folder = tiny_study(tmp_path / "there", tiny_model, tiny_files)
    study = folder / "conf" / "study" / "tiny.yaml"
    study.write_text(study.read_text().replace("trainer: {", "trainer: {distributed: {nodes: 2}, "))
    quickly = ("--slurm-init-seconds-before-status-checks", "2", "--seconds-between-status-checks", "1")
    options = (
        "--profile",
        "profiles/slurm",
        "--slurm-status-command",
        "squeue",
        "--latency-wait",
        "10",
        "--retries",
        "0",
    )
    result = checkouts.snakemake(folder, *options, *quickly, "--until", "train", more=environment())
    assert result.returncode == 0, result.stdout
    (trained,) = (folder / "results" / "train").glob("*baseline*")
    cost = read_json(trained / "cost.json")
    assert (cost["nodes"], cost["processes"], cost["device"][:7]) == (2, 1, "2 × cpu")
    assert len(pd.read_csv(trained / "log.csv")) == cost["steps"]
    (second,) = (folder / "results" / "logs" / "train").glob("*.node-1.log")
    assert f"{trained.name}.node-1.log" == second.name
    assert cluster.ask("squeue", "--noheader") == ""
