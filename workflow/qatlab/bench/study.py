"""Benchmarks of whole studies: one run from nothing over stock libraries, and the planning of many runs over Snakemake alone.

`python -m qatlab.bench.study FOLDER` is the script of stock libraries: it trains, evaluates, exports and quantizes with Sentence
Transformers' trainer and evaluator, PyTorch's exporter and ONNX Runtime, one step after another. Losses and fake quantizers of
weights are those of qatlab, because they are what is studied. It reads `stock.json` in the folder, and writes `seconds.json`
(seconds by step) and `scores.csv`.
"""

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from qatlab.artifact import read_json, write_json
from qatlab.bench.evaluation import evaluate
from qatlab.bench.run import Row, medians

PROJECT = Path(__file__).resolve().parents[3]
BOUND = 0.45
STEPS = ("training", "encoding", "exporting", "rest")
STEP_OF_RULE = {"train": "training", "encode": "encoding", "deploy": "exporting"}
SETTINGS, SECONDS, SCORES = "stock.json", "seconds.json", "scores.csv"


def measure_study(overrides: str = "", study: str = "quickstart") -> Iterator[Row]:
    """Measure the seconds of a study by the workflow and by stock libraries, in total and by step.

    The texts and the base model, which the workflow has to write first, are given to the script, and their time is not counted there.
    Encoding includes the stock evaluator's own search; the workflow's searches are in its rest. Seconds in which several jobs of the
    workflow run are divided equally among their steps.

    Args:
        overrides: the user's overrides of the study.
        study: name of the study.
    """
    with tempfile.TemporaryDirectory() as scratch:
        project, stock = Path(scratch) / "project", Path(scratch) / "stock"
        ours, total = run_workflow(project, overrides, study)
        theirs, stock_total = run_stock(project, stock, overrides, study)
    reference = "the same models, texts, steps and scores by stock libraries, one after another"
    yield Row("study_time", total, stock_total, BOUND, "s", reference)
    for step in STEPS:
        if theirs[step] > 0:
            yield Row(f"study_{step}", ours[step], theirs[step], None, "s", f"{step} of the script")


def run_workflow(project: Path, overrides: str, study: str) -> tuple[dict[str, float], float]:
    """Run a study in a copy of the project; return its seconds by step, and in total."""
    project.mkdir()
    shutil.copyfile(PROJECT / "Snakefile", project / "Snakefile")
    for name in ("workflow", "conf", "envs"):
        shutil.copytree(PROJECT / name, project / name)
    settings = [f"study={study}", *([f"overrides={overrides}"] if overrides else [])]
    command = [sys.executable, "-m", "snakemake", "--cores", "all", "--quiet", "all", "--config", *settings]
    total = _seconds_of(command, project)
    return seconds_by_step(_jobs(project / ".snakemake" / "metadata"), total), total


def _jobs(metadata: Path) -> set[tuple[str, float, float]]:
    """Return the rule, start and end of each job that Snakemake has recorded; a job with several outputs has as many records."""
    records = [read_json(file) for file in metadata.rglob("*") if file.is_file()]
    return {(record["rule"], record["starttime"], record["endtime"]) for record in records}


def seconds_by_step(jobs: set[tuple[str, float, float]], total: float) -> dict[str, float]:
    """Return the seconds of each step; those in which several jobs run are divided equally, and those without a job are the rest.

    Args:
        jobs: rule, start and end of each job.
        total: seconds of the whole study.
    """
    seconds = dict.fromkeys(STEPS, 0.0)
    moments = sorted({moment for _, start, end in jobs for moment in (start, end)})
    for start, end in pairwise(moments):
        running = [rule for rule, began, ended in jobs if began <= start and ended >= end]
        for rule in running:
            seconds[STEP_OF_RULE.get(rule, "rest")] += (end - start) / len(running)
    seconds["rest"] += total - sum(seconds.values())
    return seconds


def run_stock(project: Path, folder: Path, overrides: str, study: str) -> tuple[dict[str, float], float]:
    """Run the script on the models and texts of a finished study; return its seconds by step, and in total."""
    from qatlab.plan.plan import load_study
    from qatlab.plan.safe_files import split_overrides

    plan = load_study(project / "conf", study, overrides=split_overrides(overrides))
    results = project / "results"
    first = plan.runs[0].config
    runs = [
        {
            "name": run.name,
            "model": str(results / plan.artifacts[run.trained].inputs.get("model", run.trained) / "model"),
            "data": str(results / plan.artifacts[run.trained].inputs.get("data", "")),
            "training": plan.artifacts[run.trained].description["config"] if run.config.method.train else None,
        }
        for run in plan.runs
    ]
    tasks = {path: artifact.called for path, artifact in plan.artifacts.items() if artifact.kind == "task"}
    folder.mkdir()
    write_json(
        folder / SETTINGS,
        {
            "runs": runs,
            "tasks": {name: str(results / path) for path, name in tasks.items()},
            "precisions": first.evaluate.precisions,
            "quantized": "onnx_int8" in first.deploy,
        },
    )
    total = _seconds_of([sys.executable, "-m", "qatlab.bench.study", str(folder)], folder)
    seconds = dict.fromkeys(STEPS, 0.0) | read_json(folder / SECONDS)
    return {**seconds, "rest": total - sum(seconds.values())}, total


def _seconds_of(command: list[str], folder: Path) -> float:
    began = time.monotonic()
    result = subprocess.run(
        command,
        cwd=folder,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": str(PROJECT / "workflow"), "HF_HUB_OFFLINE": "1"},
    )
    if result.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{result.stdout[-3000:]}")
    return time.monotonic() - began


def _model(folder: str) -> Any:
    """Load a model in PyTorch from safetensors, without running code of its own."""
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(folder, device="cpu", trust_remote_code=False, model_kwargs={"use_safetensors": True})


class Stock:
    """The study by stock libraries, in one process.

    Args:
        folder: folder with `stock.json`, which gets the trained models and the results.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.settings = folder, read_json(folder / SETTINGS)
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.scores = ["run,deploy,task,precision,metric,value"]
        self.tasks = {name: _texts(Path(path)) for name, path in self.settings["tasks"].items()}

    def run(self) -> None:
        """Train, evaluate, export, quantize and evaluate each model in turn."""
        for run in self.settings["runs"]:
            source = run["model"]
            if run["training"] is not None:
                with self._timed("training"):
                    source = self._train(run)
            model = _model(source)
            self._evaluate(run["name"], "torch_fp32", model)
            if self.settings["quantized"]:
                with self._timed("exporting"):
                    file = self._export(run["name"], source)
                _serve(model, file)
                self._evaluate(run["name"], "onnx_int8", model)
        write_json(self.folder / SECONDS, dict(self.seconds))
        (self.folder / SCORES).write_text("\n".join(self.scores) + "\n", encoding="utf-8")

    @contextmanager
    def _timed(self, step: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.seconds[step] += time.monotonic() - began

    def _train(self, run: dict[str, Any]) -> str:
        """Train a model with Sentence Transformers' trainer, and return its folder."""
        import pyarrow.parquet as pq
        from datasets import Dataset
        from sentence_transformers import (
            SentenceTransformerTrainer,
            SentenceTransformerTrainingArguments,
        )
        from transformers import set_seed

        from qatlab.config.method import TrainingConfig
        from qatlab.config.weights import WeightStartConfig
        from qatlab.families.embedding.train import build_loss
        from qatlab.losses import QuantizationAwareCallback, QuantizationAwareLoss
        from qatlab.training.training import training_arguments
        from qatlab.weights.prepare import WeightQuantizationCallback, prepare, strip

        config = TrainingConfig.model_validate(run["training"])
        set_seed(config.seed)
        model = _model(run["model"])
        callbacks: list[Any] = []
        if config.method.weights is not None:
            prepare(model, config.method.weights)
            callbacks.append(WeightQuantizationCallback(config.method.weights_start or WeightStartConfig()))
        loss = build_loss(model, config.method)
        if isinstance(loss, QuantizationAwareLoss):
            callbacks.append(QuantizationAwareCallback(loss))
        rows = Dataset.from_pandas(pq.read_table(Path(run["data"]) / "train.parquet").to_pandas())
        arguments = training_arguments(
            config.trainer, config.learning_rate, config.seed, self.folder, run["name"], len(rows)
        )
        trainer = SentenceTransformerTrainer(
            model=model,
            args=SentenceTransformerTrainingArguments(batch_sampler="no_duplicates", **arguments),
            train_dataset=rows,
            loss=loss,
            callbacks=callbacks,
        )
        trainer.train()
        if config.method.weights is not None:
            strip(model)
        target = str(self.folder / run["name"])
        model.save_pretrained(target)
        return target

    def _evaluate(self, run: str, deployment: str, model: Any) -> None:
        """Evaluate a model on each task, once per precision, and store the scores."""
        for task, texts in self.tasks.items():
            for precision in self.settings["precisions"]:
                with self._timed("encoding"):
                    metrics = evaluate(model, texts, precision)
                value = metrics["cosine_ndcg@10"]
                self.scores.append(f"{run},{deployment},{task},{precision},ndcg@10,{value!r}")

    def _export(self, run: str, source: str) -> Path:
        """Export a model to ONNX, quantize the file dynamically, and return the path of the quantized file."""
        from onnxruntime.quantization import QuantType, quantize_dynamic

        from qatlab.deployments.backends.onnx_export import export_graph

        plain, quantized = self.folder / f"{run}.onnx", self.folder / f"{run}-int8.onnx"
        export_graph(_model(source), plain, 20, run, reuse=False)
        quantize_dynamic(plain, quantized, per_channel=True, weight_type=QuantType.QInt8)
        return quantized


def _texts(folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Return the documents of a task by id, and its queries by the id of their relevant document."""
    import pandas as pd

    documents, queries, qrels = (
        pd.read_parquet(folder / f"{table}.parquet") for table in ("documents", "queries", "qrels")
    )
    answers = qrels.set_index("query_id")["doc_id"]
    return (
        dict(zip(documents["id"], documents["text"], strict=True)),
        {answers[identifier]: text for identifier, text in zip(queries["id"], queries["text"], strict=True)},
    )


def _serve(model: Any, file: Path) -> None:
    """Make a model compute its embeddings by an ONNX file."""
    import onnxruntime
    import torch

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]

    def forward(features: dict[str, torch.Tensor], **options: object) -> dict[str, torch.Tensor]:
        (embeddings,) = session.run(["sentence_embedding"], {name: features[name].numpy() for name in names})
        return {**features, "sentence_embedding": torch.from_numpy(embeddings)}

    model.forward = forward


RUNS, PAIRS = (10, 100, 1000), 3
PARSING_SECONDS_ALLOWED = 1.5
# All jobs of a run but the first depend on the first, as deployments, encodings, scores and drift depend on a training.
TRIVIAL = """
LAST = int(config["jobs"]) - 1
rule all:
    input: [f"results/last/{i}" for i in range(LAST * int(config["runs"]))]
rule first:
    output: "results/first/{i}"
    shell: "touch {output}"
rule last:
    input: lambda wildcards: f"results/first/{int(wildcards.i) // LAST}"
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
        jobs = _jobs_per_run(project)
        seconds_of = {}
        for count in (1, *runs):
            _write(project, count)
            seconds_of[count] = medians(
                partial(_dry_run, project, "study=many"), partial(_dry_run, trivial, f"runs={count} jobs={jobs}"), pairs
            )
            bound = 1.5 if count == max(runs) else None  # With few runs, starting dominates the time.
            yield Row(f"dry_run_of_{count}_runs", *seconds_of[count], bound, "s", "Snakemake on as many trivial jobs")
        for count in runs:
            ours, reference = ((seconds_of[count][side] - seconds_of[1][side]) / (count - 1) for side in (0, 1))
            yield Row(f"one_of_{count}_runs", ours, reference, None, "s", f"{jobs} of them")
        trivial_job = _job_of_a_cluster(trivial, f"runs=1 jobs={jobs}", "first:i=0")
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


def _jobs_per_run(project: Path) -> int:
    """Return the number of jobs by which a study grows with one further run."""
    from qatlab.plan.plan import load_study

    jobs = []
    for runs in (1, 2):
        _write(project, runs)
        jobs.append(len(load_study(project / "conf", "many").artifacts))
    return jobs[1] - jobs[0]


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
    options = ("-n", "--quiet", "all", "--cores", "2", *arguments, "--config", *config.split())
    return _cpu_seconds(folder, *options)


def _planned_training(project: Path) -> str:
    """Return the name of one training of the latest study, after writing the plan that a job on another machine reads."""
    # These are imported here, so that the script of stock libraries, which is measured, does not import them.
    from qatlab.__main__ import STAGES
    from qatlab.plan.plan import load_study
    from qatlab.plan.workflow import outline, write_outlines
    from qatlab.stage_code import stage_code

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


if __name__ == "__main__":
    Stock(Path(sys.argv[1])).run()
