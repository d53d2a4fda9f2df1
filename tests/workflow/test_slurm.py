"""A study on a real Slurm cluster (one node, made on the spot): the same tables, byte for byte, as on this machine alone."""

import csv

import pytest

import checkouts
from checkouts import tables, tiny_study
from slurm_cluster import environment, slurm_cluster, why_not


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    reason = why_not()
    if reason:
        pytest.skip(f"no Slurm cluster can be made here: {reason}")
    with slurm_cluster(tmp_path_factory.mktemp("slurm")) as made:
        yield made


def snakemake(folder, *arguments):
    return checkouts.snakemake(folder, *arguments, more=environment())


def on_slurm(folder, *arguments):
    quickly = (
        "--slurm-init-seconds-before-status-checks",
        "2",
        "--seconds-between-status-checks",
        "1",
        "--latency-wait",
        "10",
    )
    return snakemake(folder, "--profile", "profiles/slurm", "--slurm-status-command", "squeue", *quickly, *arguments)


def test_the_tables_are_those_of_a_run_on_one_machine(cluster, tiny_model, tiny_files, tmp_path):
    here, there = (tiny_study(tmp_path / name, tiny_model, tiny_files) for name in ("here", "there"))
    result = snakemake(here, "--cores", "2")
    assert result.returncode == 0, result.stdout
    result = on_slurm(there)
    assert result.returncode == 0, result.stdout
    assert tables(there) == tables(here)
    with (there / "results" / "studies" / "tiny" / "runs.csv").open() as stream:
        assert {row["method"] for row in csv.DictReader(stream)} == {"untrained", "baseline"}
    assert cluster.ask("squeue", "--noheader") == ""
