"""A study on a real Slurm cluster (one node, made on the spot): the same tables, byte for byte, as on this machine alone."""

import csv
import re
import subprocess
import time
from contextlib import suppress

import psutil
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


QUICKLY = {
    "--slurm-init-seconds-before-status-checks": "2",
    "--seconds-between-status-checks": "1",
    "--latency-wait": "10",
}


def on_slurm(*arguments):
    options = [word for pair in QUICKLY.items() for word in pair]
    return ["--profile", "profiles/slurm", *options, *arguments]


def test_the_tables_are_those_of_a_run_on_one_machine(cluster, undisturbed, tiny_model, tiny_files, tmp_path):
    there = tiny_study(tmp_path, tiny_model, tiny_files)
    result = snakemake(there, *on_slurm())
    assert result.returncode == 0, result.stdout
    assert tables(there) == tables(undisturbed)
    with (there / "results" / "studies" / "tiny" / "runs.csv").open() as stream:
        assert {row["method"] for row in csv.DictReader(stream)} == {"untrained", "baseline"}
    assert cluster.ask("squeue", "--noheader") == ""


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


def cancel(cluster, job):
    cluster.ask("scancel", job)


def lose_the_node(cluster, job):
    """As in a power cut: the daemon and all that it has started end at once, and come back later."""
    for process in [psutil.Process(cluster.processes["slurmd"].pid), *steps()]:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    cluster.processes["slurmd"].wait()
    while not cluster.node().startswith("down"):
        time.sleep(0.5)
    cluster.run("slurmd", "-D")


@pytest.mark.parametrize("fault", [cancel, lose_the_node])
def test_a_job_that_is_lost_is_made_again(cluster, undisturbed, tiny_model, tiny_files, tmp_path, fault):
    folder = tiny_study(tmp_path, tiny_model, tiny_files)
    workflow = started(folder)
    fault(cluster, running_training(cluster, workflow))
    assert workflow.wait(600) == 0, (folder / "screen.txt").read_text()
    assert tables(folder) == tables(undisturbed)


def test_a_job_that_needs_more_memory_gets_it(cluster, undisturbed, tiny_model, tiny_files, tmp_path):
    folder = tiny_study(tmp_path, tiny_model, tiny_files)
    result = snakemake(folder, *on_slurm("--set-resources", "train:mem_mb=100 if attempt == 1 else 6000"))
    assert result.returncode == 0, result.stdout
    assert "failed: train" in result.stdout
    assert tables(folder) == tables(undisturbed)


def test_a_job_that_fails_for_good_says_why(cluster, tiny_model, tiny_files, tmp_path):
    folder = tiny_study(tmp_path, tiny_model, tiny_files)
    result = snakemake(folder, *on_slurm("--retries", "0", "--set-resources", "train:mem_mb=100"))
    assert result.returncode != 0
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("failed: train")]
    assert re.search(r": SLURM-job '\d+' failed, SLURM status is: 'OUT_OF_MEMORY' \(log: .*results/logs/slurm/", line)
