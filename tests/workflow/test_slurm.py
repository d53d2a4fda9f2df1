"""A study on a real Slurm cluster, made on the spot: the same tables, byte for byte, as on this machine alone.

All tests of Slurm are in this file, whose tests run one after another: a machine has one Slurm.
"""

import csv
import os
import re
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pandas as pd
import psutil
import pytest

import checkouts
from checkouts import same_study, tables, tiny_study
from planted import files_with_secrets
from qatlab.artifact import read_json
from slurm_cluster import environment, slurm_cluster, why_not

pytestmark = pytest.mark.slow(150)

chaos = pytest.mark.skipif("QATLAB_KILLS" not in os.environ, reason="minutes of waiting for Slurm: make chaos")


@pytest.fixture(scope="module")
def cluster(request, tmp_path_factory):
    """A running Slurm cluster; the parameter is its number of nodes."""
    reason = why_not()
    if reason:
        pytest.skip(f"no Slurm cluster can be made here: {reason}")
    with slurm_cluster(tmp_path_factory.mktemp("slurm"), nodes=request.param) as started:
        yield started


@pytest.fixture(scope="module")
def undisturbed(tiny_model, tiny_files, tmp_path_factory):
    """The study without ONNX files, on this machine: each job on the cluster starts Snakemake and imports PyTorch."""
    folder = tiny_study(tmp_path_factory.mktemp("here"), tiny_model, tiny_files, deploy="[torch_fp32]")
    result = checkouts.snakemake(folder, "--cores", "2")
    assert result.returncode == 0, result.stdout
    return folder


one_node = pytest.mark.parametrize("cluster", [1], indirect=True, ids=["one node"])
two_nodes = pytest.mark.parametrize("cluster", [2], indirect=True, ids=["two nodes"])


def snakemake(folder, *arguments, **config):
    return checkouts.snakemake(folder, *arguments, more=environment(), **config)


QUICKLY = {
    "--slurm-init-seconds-before-status-checks": "2",
    "--seconds-between-status-checks": "1",
    "--latency-wait": "10",
}


def on_slurm(*arguments):
    options = [word for pair in QUICKLY.items() for word in pair]
    return ["--profile", "profiles/slurm", *options, *arguments]


def started(folder, *arguments):
    """The study on the cluster, in the background; what it prints goes to screen.txt."""
    with (folder / "screen.txt").open("w") as screen:
        return subprocess.Popen(
            checkouts.command(*on_slurm(*arguments)),
            cwd=folder,
            env=checkouts.environment(environment()),
            stdout=screen,
            stderr=subprocess.STDOUT,
        )


def running_training(cluster, workflow):
    """The Slurm job of a training, once its Python runs."""
    while workflow.poll() is None:
        for line in cluster.ask("squeue", "--noheader", "--states=RUNNING", "--format=%i %k").splitlines():
            number, _, comment = line.partition(" ")
            if comment.startswith("rule_train") and training_runs():
                return number
        time.sleep(0.1)
    raise AssertionError("no training began")


def steps():
    """What slurmd has started for jobs, with all that runs below it."""
    daemons = [p for p in psutil.process_iter(["name"]) if (p.info["name"] or "").startswith("slurmstepd")]
    for process in daemons:
        with suppress(psutil.NoSuchProcess):
            yield from [process, *process.children(recursive=True)]


def training_runs():
    for process in steps():
        with suppress(psutil.NoSuchProcess):
            if process.cmdline()[1:4] == ["-m", "qatlab", "train"]:
                return True
    return False


def lose_the_node(cluster, job):
    """As in a power cut: the daemon and all that it has started end at once, and come back later."""
    for process in [psutil.Process(cluster.processes["slurmd"].pid), *steps()]:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    cluster.processes["slurmd"].wait()
    while not cluster.node().startswith("down"):
        time.sleep(0.5)
    cluster.run("slurmd", "-D")


@one_node
def test_a_job_starved_and_cancelled_ends_in_the_tables_of_one_machine(cluster, undisturbed, tmp_path):
    """The training's first try has too little memory, its second is cancelled; all other jobs are as they would be."""
    folder = same_study(tmp_path, undisturbed)
    workflow = started(folder, "--set-resources", "train:mem_mb=100 if attempt == 1 else 6000")
    while "failed: train" not in (folder / "screen.txt").read_text():
        assert workflow.poll() is None, (folder / "screen.txt").read_text()
        time.sleep(0.2)
    cluster.ask("scancel", running_training(cluster, workflow))
    assert workflow.wait(900) == 0, (folder / "screen.txt").read_text()
    messages = [line for line in (folder / "screen.txt").read_text().splitlines() if line.startswith("failed: train")]
    starved, cancelled = (
        re.search(r": SLURM-job '\d+' failed, SLURM status is: '(\w+)' .*? (/\S+\.log)\)", line) for line in messages
    )
    # What the job ends as follows from which of its processes Slurm has measured first.
    assert starved[1] in ("OUT_OF_MEMORY", "FAILED")
    assert "exceeded memory limit" in Path(starved[2]).read_text()
    assert cancelled[1] == "CANCELLED"
    assert tables(folder) == tables(undisturbed)
    with (folder / "results" / "studies" / "tiny" / "runs.csv").open() as stream:
        assert {row["method"] for row in csv.DictReader(stream)} == {"untrained", "baseline"}
    assert cluster.ask("squeue", "--noheader") == ""
    assert not files_with_secrets(folder)


@one_node
@chaos
def test_what_a_node_had_running_is_made_again(cluster, undisturbed, tmp_path):
    folder = same_study(tmp_path, undisturbed)
    workflow = started(folder)
    lose_the_node(cluster, running_training(cluster, workflow))
    assert workflow.wait(900) == 0, (folder / "screen.txt").read_text()
    assert tables(folder) == tables(undisturbed)


@one_node
@chaos
def test_a_training_out_of_time_resumes_from_its_checkpoint(cluster, tiny_model, tiny_files, tmp_path):
    """Slurm ends it after a minute, with a signal first; the next try has half an hour."""
    epochs, steps_of_one = 1500, 5
    longer = f"trainer.num_train_epochs={epochs}"
    uninterrupted, interrupted = (tiny_study(tmp_path / name, tiny_model, tiny_files) for name in ("here", "there"))
    result = snakemake(uninterrupted, "--cores", "2", overrides=longer)
    assert result.returncode == 0, result.stdout
    result = snakemake(
        interrupted, *on_slurm("--set-resources", "train:runtime=1 if attempt == 1 else 30"), overrides=longer
    )
    assert result.returncode == 0, result.stdout
    assert "SLURM status is: 'TIMEOUT'" in result.stdout
    # Slurm's logs of what succeeded are gone.
    (first,) = (interrupted / "results" / "logs" / "slurm" / "rule_train").rglob("*.log")
    saved = re.search(
        r"stopped at step (\d+); the same command resumes from checkpoint-\1$", first.read_text(), re.MULTILINE
    )
    assert saved, first.read_text()
    (second,) = (interrupted / "results" / "logs" / "train").glob("*.log")
    assert second.read_text().count("'loss':") == epochs * steps_of_one - int(saved[1])
    assert tables(interrupted) == tables(uninterrupted)


@two_nodes
def test_a_training_runs_on_two_nodes(cluster, tiny_model, tiny_files, tmp_path):
    """Snakemake's plugin requests the nodes, and srun starts the command on each."""
    folder = tiny_study(tmp_path / "there", tiny_model, tiny_files)
    study = folder / "conf" / "study" / "tiny.yaml"
    study.write_text(study.read_text().replace("trainer: {", "trainer: {distributed: {nodes: 2}, "))
    result = snakemake(folder, *on_slurm("--retries", "0", "--until", "train"))
    assert result.returncode == 0, result.stdout
    (trained,) = (folder / "results" / "train").glob("*baseline*")
    cost = read_json(trained / "cost.json")
    assert (cost["nodes"], cost["processes"], cost["device"][:7]) == (2, 1, "2 × cpu")
    assert len(pd.read_csv(trained / "log.csv")) == cost["steps"]
    (second,) = (folder / "results" / "logs" / "train").glob("*.node-1.log")
    assert f"{trained.name}.node-1.log" == second.name
    assert cluster.ask("squeue", "--noheader") == ""
