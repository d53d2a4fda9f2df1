"""A study on a real Slurm cluster (one node, made on the spot): the same tables, byte for byte, as on this machine alone."""

import csv
import os
import shutil
import subprocess
import sys

import pytest

from conftest import PROJECT
from slurm_cluster import environment, slurm_cluster, why_not

STUDY = """
# @package _global_
defaults:
  - override /data: local
  - override /task: [beir]
  - override /deploy: [torch_fp32, onnx_int8]
study:
  name: tiny
  title: A tiny study
  matrix: {{method: [untrained, baseline], seed: [0]}}
model: {{name: "{model}", max_seq_length: 32}}
data: {{path: "{files}/pairs.jsonl"}}
task: {{beir: {{path: "{files}/task"}}}}
trainer: {{batch_size: 16, learning_rate: 1.0e-3, threads: 1}}
encode: {{threads: 1}}
"""
TIMINGS = ("cost", "search", "pareto")  # all other tables are the same from run to run


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    reason = why_not()
    if reason:
        pytest.skip(f"no Slurm cluster can be made here: {reason}")
    with slurm_cluster(tmp_path_factory.mktemp("slurm")) as made:
        yield made


@pytest.fixture
def checkout(tiny_model, tiny_files, tmp_path):
    def make(name):
        folder = tmp_path / name
        folder.mkdir()
        for part in ("Snakefile", "workflow", "conf", "envs", "profiles"):
            source = PROJECT / part
            (shutil.copytree if source.is_dir() else shutil.copyfile)(source, folder / part)
        (folder / "conf" / "study" / "tiny.yaml").write_text(STUDY.format(model=tiny_model, files=tiny_files))
        return folder

    return make


def snakemake(folder, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "snakemake", *arguments, "--config", "study=tiny"],
        cwd=folder,
        env={**environment(), "PYTHONPATH": os.environ.get("PYTHONPATH", ""), "HF_HUB_OFFLINE": "1"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=1200,
    )


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


def tables(folder):
    found = (folder / "results" / "studies" / "tiny" / "tables").iterdir()
    return {path.name: path.read_bytes() for path in found if not path.name.startswith(TIMINGS)}


def test_the_tables_are_those_of_a_run_on_one_machine(cluster, checkout):
    here, there = checkout("here"), checkout("there")
    result = snakemake(here, "--cores", "2")
    assert result.returncode == 0, result.stdout
    result = on_slurm(there)
    assert result.returncode == 0, result.stdout
    assert tables(there) == tables(here)
    with (there / "results" / "studies" / "tiny" / "runs.csv").open() as stream:
        assert {row["method"] for row in csv.DictReader(stream)} == {"untrained", "baseline"}
    assert cluster.ask("squeue", "--noheader") == ""
