"""Benchmark of planning a study of many runs and starting one of its jobs on a cluster, over Snakemake on as many trivial jobs."""

import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from qatlab.__main__ import STAGES
from qatlab.bench.run import Row, medians
from qatlab.plan.plan import load_study
from qatlab.plan.workflow import outline, write_outlines
from qatlab.stage_code import stage_code

PROJECT = Path(__file__).resolve().parents[3]
RUNS, PAIRS = (10, 100, 1000), 3
PARSING_SECONDS_ALLOWED = 1.5
# Nine jobs per run, of which eight depend on the first, as deployments, encodings, scores and drift depend on a training.
TRIVIAL = """
rule all:
    input: [f"results/last/{i}" for i in range(8 * int(config["runs"]))]
rule first:
    output: "results/first/{i}"
    shell: "touch {output}"
rule last:
    input: lambda wildcards: f"results/first/{int(wildcards.i) // 8}"
    output: "results/last/{i}"
    shell: "touch {output}"
"""
STUDY = """# @package _global_
defaults:
  - override /deploy: [torch_fp32, onnx_int8]
  - override /task: [networkx]
study:
  name: many
  title: Many runs
  matrix: {{method: [baseline], seed: {seeds}}}
"""


def measure_workflow(runs: tuple[int, ...] = RUNS, pairs: int = PAIRS) -> Iterator[Row]:
    """Measure CPU seconds of dry runs by the number of runs, of one additional run, and of starting a job.

    Args:
        runs: the numbers of runs.
        pairs: number of measurements, of which the median is taken.
    """
    with tempfile.TemporaryDirectory() as scratch:
        project, trivial = Path(scratch) / "project", Path(scratch) / "trivial"
        _copy(project)
        trivial.mkdir()
        (trivial / "Snakefile").write_text(TRIVIAL)
        seconds_of = {}
        for count in (1, *runs):
            _write(project, count)
            seconds_of[count] = medians(
                partial(_dry_run, project, "study=many"), partial(_dry_run, trivial, f"runs={count}"), pairs
            )
            bound = 1.5 if count == max(runs) else None  # With few runs, starting dominates the time.
            yield Row(f"dry_run_of_{count}_runs", *seconds_of[count], bound, "s", "Snakemake on as many trivial jobs")
        for count in runs:
            ours, reference = ((seconds_of[count][side] - seconds_of[1][side]) / (count - 1) for side in (0, 1))
            yield Row(f"one_of_{count}_runs", ours, reference, None, "s", "nine of them")
        trivial_job = _job_of_a_cluster(trivial, "runs=1", "first:i=0")
        for count in (1, max(runs)):
            _write(project, count)
            job = _job_of_a_cluster(project, "study=many", f"train:id={_planned_training(project)}")
            seconds = medians(job, trivial_job, pairs)
            yield Row(f"job_of_{count}_runs", *seconds, None, "s", "a trivial job of Snakemake")
        total, startup = medians(job, partial(_cpu_seconds, trivial, "--version"), pairs)
        yield Row("parsing_for_a_job", total - startup, PARSING_SECONDS_ALLOWED, 1.0, "s", "the 1.5 s allowed")


def _copy(folder: Path) -> None:
    folder.mkdir()
    shutil.copyfile(PROJECT / "Snakefile", folder / "Snakefile")
    for name in ("workflow", "conf", "envs"):
        shutil.copytree(PROJECT / name, folder / name)


def _write(project: Path, runs: int) -> None:
    (project / "conf" / "study" / "many.yaml").write_text(STUDY.format(seeds=list(range(runs))))


def _cpu_seconds(folder: Path, *arguments: str) -> float:
    """Return the CPU seconds of Snakemake from its start to its end."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-m", "snakemake", *arguments],
        cwd=folder,
        check=True,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": ""},
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _dry_run(folder: Path, config: str, *arguments: str) -> float:
    """Return the CPU seconds of a dry run."""
    options = ("-n", "--quiet", "all", "--cores", "2", *arguments, "--config", config)
    return _cpu_seconds(folder, *options)


def _planned_training(project: Path) -> str:
    """Return the name of one training of the latest study, after writing the plan that a job on another machine reads."""
    plan = load_study(project / "conf", "many")
    code = {stage: stage_code(stage, project / "envs" / "requirements.txt") for stage in STAGES}
    write_outlines([outline(plan)], code, project / "results" / "plan", "many")
    trained = next(path for path, artifact in plan.artifacts.items() if artifact.kind == "train")
    for path in plan.artifacts[trained].inputs.values():
        (project / "results" / path).mkdir(parents=True, exist_ok=True)
    return trained.partition("/")[2]


def _job_of_a_cluster(folder: Path, config: str, job: str) -> Callable[[], float]:
    """Return a function that measures the CPU seconds of one job, `rule:wildcard=value`, as executors for clusters start it."""
    as_a_job = ("--mode", "remote", "--nolock", "--no-hooks", "--target-jobs", job)
    return partial(_dry_run, folder, config, *as_a_job, "--allowed-rules", job.partition(":")[0])
