"""The plan of a study: from its name to its runs and artifacts, how much it trains, and what a workflow left unfinished."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from qatlab.artifact import write_json
from qatlab.bundle import Bundle, Gathering, in_use
from qatlab.config.evaluate import EvaluateConfig
from qatlab.config.precision import RotationConfig
from qatlab.errors import UserError
from qatlab.evaluation.outputs import ScoreRow, planned_scores
from qatlab.evaluation.task import SEARCHED, Kind
from qatlab.plan.artifacts import Artifact, Planner, check_trackers
from qatlab.plan.comparisons import (
    Published,
    check_decomposition,
    check_published,
    plan_bit_changes,
    plan_decomposition,
    planned_answers,
)
from qatlab.plan.compose import FULL_SCALE, compose_runs, scale_of_file, stands_for
from qatlab.plan.runs import Run, counterparts, float_deployment, plan_drift, plan_run, run_name, run_record
from qatlab.plan.safe_files import check_files
from qatlab.plan.schemes import check_hardware
from qatlab.plots.plot import plots_of
from qatlab.progress import read_mark
from qatlab.study.config import RunConfig
from qatlab.study.record import AnswerConfig, Axes, StudyRecord
from qatlab.tables.labels import OF_KIND, main_metrics
from qatlab.tables.missing import ARTIFACTS, FAILED, NOT_RUN, SHOWN, Missing, MissingArtifact, incomplete_runs
from qatlab.tables.table import tables_of


@dataclass
class Plan:
    """Runs of a study at one of its scales, and all their artifacts by path."""

    study: str
    title: str
    baseline: str
    runs: list[Run]
    artifacts: dict[str, Artifact]
    scale: str = FULL_SCALE
    published: Published | None = None
    question: str | None = None
    answers: list[AnswerConfig] = field(default_factory=list)
    overrides: tuple[str, ...] = ()

    def plot_names(self) -> list[str]:
        """Return the names of the plots that the study has data for."""
        return list(plots_of(self.record()))

    def view_names(self) -> list[str]:
        """Return the names of the wide tables that the study has data for."""
        return list(self.record().views)

    def has_mteb_results(self) -> bool:
        """Return whether at least one task of the study is a task of mteb."""
        return any(task.in_mteb(run.kinds[name]) for run in self.runs for name, task in run.config.task.items())

    def trained_runs(self) -> list[Run]:
        """Return the runs that train a model."""
        return [run for run in self.runs if run.config.method.train]

    def _axes(self) -> tuple[tuple[Axes, ...], tuple[str, ...]]:
        """Return all axes of the study in order, and the labels of those that `evaluate.rotations` lists."""
        evaluate = self.runs[0].config.evaluate
        if not self.runs[0].family.has_embeddings:
            return (), (RotationConfig().label,)
        words = {axes.label: axes.in_words for axes in (*evaluate.rotations, *evaluate.bit_axes)}
        axes = tuple(Axes(label=label, words=words[label]) for label in words)
        return axes, tuple(axes.label for axes in evaluate.rotations)

    def _search_metric(self) -> str:
        """Return the main metric of retrieval, or that of agreement where no task is judged."""
        kinds = set(self.runs[0].kinds.values())
        if kinds & set(SEARCHED) == {"agreement"}:
            return OF_KIND["agreement"]
        return self.runs[0].config.evaluate.metrics[0]

    def record(self) -> StudyRecord:
        """Return the record of the study, which its stages read."""
        first = self.runs[0]  # all runs have the same deployments and evaluation
        metric, beside = self._search_metric(), counterparts(self.runs, self.baseline)
        axes, chosen = self._axes()
        record = StudyRecord(
            name=self.study,
            title=self.title,
            baseline=self.baseline,
            primary_metric=metric,
            main_metrics=main_metrics(first.kinds, metric),
            kinds=first.kinds,
            scale=self.scale,
            question=self.question,
            answers=tuple(self.answers),
            axes=axes,
            chosen_axes=chosen,
            stands_for=self.published.stands_for if self.published is not None else None,
            float_deployment=float_deployment(first),
            deployments=tuple(first.config.deploy),
            quantized=tuple(name for name, config in first.config.deploy.items() if config.quantized),
            budget=first.config.study.budget,
            tables=tuple(first.config.study.tables),
            plots=tuple(first.config.study.plots),
            overrides=self.overrides,
            evaluate=first.config.evaluate if first.family.has_embeddings else None,
            runs=tuple(run_record(run, beside) for run in self.runs),
        )
        return record.model_copy(update={"views": tuple(tables_of(record))})

    def study_description(self) -> dict[str, object]:
        """Return the content of the study's description file: its record, as builtin values."""
        record = self.record().model_dump(mode="json")
        return {"kind": "study", "name": self.study, "label": self.study, "config": record}


def make_plan(cells: list[tuple[dict[str, object], RunConfig]], bundle: Bundle | Gathering | None = None) -> Plan:
    """Return the plan of composed runs.

    Args:
        cells: matrix cell and configuration of each run.
        bundle: bundle from which external files are read, or in which they are gathered.

    Raises:
        UserError: for local files, packages or checksums that do not match the configuration.
    """
    check_trackers(cells[0][1].trainer)
    check_hardware([config for _, config in cells])
    planner = Planner(bundle)
    runs: dict[str, Run] = {}
    for cell, config in cells:
        run = plan_run(planner, cell, config)
        runs.setdefault(run.trained, run)  # an untrained model is the same for every seed: one run
    study = cells[0][1].study
    _check_names(runs.values())
    _check_kinds(list(runs.values()))
    check_decomposition(list(runs.values()))
    for run in runs.values():
        if run.family.has_embeddings:
            plan_drift(planner, run, list(runs.values()))
            plan_decomposition(planner, run)
    if all(run.family.has_embeddings for run in runs.values()):
        plan_bit_changes(planner, list(runs.values()), study.baseline)
    if bundle is not None:
        bundle.check(planner.artifacts.values())
    return Plan(study.name, study.title, study.baseline, list(runs.values()), planner.artifacts)


def _check_kinds(runs: list[Run]) -> None:
    if len({run.config.model.kind for run in runs}) > 1:
        raise UserError("the study has models of both kinds, embedding and causal_lm; put each into a study of its own")
    kinds = dict.fromkeys(runs[0].kinds.values())
    if not runs[0].family.has_embeddings and len(kinds) > 1:
        raise UserError(
            f"the study's tasks are of {' and '.join(kinds)}, whose scores cannot be averaged; put each into a study of its own"
        )


def _check_names(runs: Iterable[Run]) -> None:
    names = [run.name for run in runs]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise UserError(
            f"two runs of the study are called '{twice.pop()}'; give the methods or matrix values distinct names"
        )


ALL = "all"


def load_study(
    conf: Path,
    study: str,
    scale: str | None = None,
    overrides: Iterable[str] = (),
    gathering: Gathering | None = None,
) -> Plan:
    """Return the validated plan of a study.

    Args:
        conf: folder of the configuration files.
        study: name of the study.
        scale: name of one of its scales; None for the study's file itself, which is its full scale unless it lists a scale `full`.
        overrides: user's overrides, in Hydra's override grammar.
        gathering: bundle to be made of the study; without one, external files come from the bundle in use, if any.

    Raises:
        UserError: before anything is written, for an error that a user can correct.
    """
    given = tuple(overrides)
    cells = compose_runs(conf, study, scale, given)
    plan = make_plan(cells, gathering or in_use())
    settings = cells[0][1].study
    plan.scale, plan.question, plan.overrides = scale or scale_of_file(settings.scales), settings.question, given
    if settings.published is None and not settings.answers:
        return plan
    names = stands_for(conf, study, scale)
    plan.answers = planned_answers(settings.answers, plan.runs, names)
    if settings.published is not None:
        plan.published = Published(check_published(conf, settings.published, list(settings.matrix)), names)
    return plan


def load_studies(conf: Path, names: str, scale: str | None = None, overrides: Iterable[str] = ()) -> list[Plan]:
    """Return the plans of studies.

    Args:
        conf: folder of the configuration files.
        names: names of one or several studies (NAME,NAME), or `all` for those that show published results.
        scale: name of one of their scales; None for the studies' files themselves.
        overrides: user's overrides, in Hydra's override grammar.

    Raises:
        UserError: for an error that a user can correct.
    """
    given = list(overrides)
    studies = published_studies(conf) if names == ALL else names.split(",")
    return [load_study(conf, study, scale, given) for study in studies]


def published_studies(conf: Path) -> list[str]:
    """Return the names of the studies that show a file of published results of other work."""
    check_files(conf)
    files = sorted((conf / "study").glob("*.yaml"))
    return [file.stem for file in files if (yaml.safe_load(file.read_text()).get("study") or {}).get("published")]


def write_descriptions(plan: Plan, folder: Path) -> None:
    """Write <folder>/<kind>/<artifact>.json for each artifact, and <folder>/study/<study>.json."""
    descriptions = {f"{artifact.path}.json": artifact.description for artifact in plan.artifacts.values()}
    descriptions[f"study/{plan.study}.json"] = plan.study_description()
    for relative, description in descriptions.items():
        path = folder / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path.with_suffix(".new"), description)
        path.with_suffix(".new").replace(path)


def steps_of(config: RunConfig) -> int | None:
    """Return the optimizer steps of a run; None if its length is a time, or depends on an unknown number of rows or blocks."""
    if config.steps is None:
        return None
    return config.trainer.steps(config.training_data.rows or 0, config.method.extra_steps)


def trainings(runs: list[Run]) -> list[str]:
    """Return one line per size of training, such as "16 trainings of 1,407 steps: 90,000 rows, batches of 64".

    A training from which others start is counted once, also if no run of the study is its own.
    """
    by_name = {run.name: run.config for run in runs if run.config.method.train}
    for run in runs:
        first = run.config.first
        while first is not None:
            by_name.setdefault(run_name(run.cell, first), first)
            first = first.first
    configs = by_name.values()
    return [
        f"{count} training{'s' if count > 1 else ''} of {size}" for size, count in Counter(map(_size, configs)).items()
    ]


def _size(config: RunConfig) -> str:
    head = config.method.head
    if head is not None:
        return f"a head: up to {head.steps:,} steps on cached embeddings"
    steps, rows, trainer = steps_of(config), config.training_data.rows, config.trainer
    budgeted = trainer.max_steps or trainer.max_examples or trainer.max_seconds
    epochs = f"{trainer.num_train_epochs:g} epochs of " if trainer.num_train_epochs != 1 and not budgeted else ""
    accumulated = trainer.gradient_accumulation_steps
    length = (
        f"{trainer.max_seconds:g} seconds" if trainer.max_seconds else f"{f'{steps:,}' if steps else 'as many'} steps"
    )
    extra = config.method.extra_steps
    return (
        f"{length}: {epochs}{f'{rows:,}' if rows else 'all'} rows, batches of "
        f"{trainer.batch_size}{f' × {accumulated}' if accumulated > 1 else ''}{f', {100 * extra:g} % more steps' if extra else ''}"
    )


REASONS = 8  # maximum number of printed reasons
UNKNOWN_REASON = "its job ended without an error message (killed, or out of memory?)"


def missing_artifacts(
    plan: Plan, results: Path, unfinished: Collection[str], failed: Collection[str]
) -> dict[str, MissingArtifact]:
    """Return the status, the reason and, for scores, the missing rows of each missing artifact, by path.

    An artifact that is made from a failed one has also failed, for the same reason, even if an earlier workflow left a result.

    Args:
        plan: plan of the study.
        results: folder of artifacts, in which failed jobs have recorded the reason.
        unfinished: paths of the artifacts that the workflow should have made but did not.
        failed: paths of the artifacts whose jobs failed.
    """
    missing: dict[str, MissingArtifact] = {}
    kinds = {path: run.kinds[task] for run in plan.runs for (_, task), path in run.scored.items()}
    for path, artifact in plan.artifacts.items():  # inputs come before the artifacts that are made from them
        if path not in unfinished:
            continue
        causes = [missing[source] for source in artifact.inputs.values() if source in missing]
        cause = next((cause for cause in causes if cause.status == FAILED), None)
        own = read_mark(results / path) if path in failed else None
        reason = (
            f"{artifact.kind} {artifact.label}: {own.reason if own else UNKNOWN_REASON}" if path in failed else None
        )
        missing[path] = MissingArtifact(
            status=FAILED if cause or path in failed else NOT_RUN,
            reason=reason or (cause.reason if cause else None),
            kind=kinds.get(path),
            figures=tuple(_planned(artifact, kinds[path])) if path in kinds else (),
        )
    return missing


def _planned(artifact: Artifact, kind: Kind) -> list[ScoreRow]:
    """Return the rows that a score artifact would have."""
    return planned_scores(artifact.config if isinstance(artifact.config, EvaluateConfig) else None, kind)


def show(plan: Plan, results: Path, missing: dict[str, MissingArtifact], stages: list[str]) -> Iterator[str]:
    """Write a study's tables, plots and page or the page of studies with the stages' commands, and yield messages for the terminal.

    Args:
        plan: plan of the study.
        results: folder of artifacts.
        missing: result of `missing_artifacts`.
        stages: "tables", "plots", "page" and "index", or some of them, in this order.
    """
    folder, lacks = results / "studies" / plan.study, results / "plan" / "missing" / f"{plan.study}.json"
    lacks.parent.mkdir(parents=True, exist_ok=True)
    write_json(lacks, ARTIFACTS.dump_python(missing, mode="json", exclude_defaults=True))
    given = {
        "tables": [
            f"results={results}",
            *([f"published={os.path.relpath(plan.published.file)}"] if plan.published else []),
        ],
        "plots": [f"results={results}", f"tables={folder / 'tables'}"],
        "page": [f"results={results}", f"study={folder}"],
        "index": [f"studies={results / 'studies'}"],
    }
    for stage in stages:
        inputs = [*given[stage], *([f"missing={lacks}"] if stage != "index" else [])]
        log = results / "logs" / (f"{stage}.log" if stage == "index" else f"{stage}/{plan.study}.log")
        command = [sys.executable, "-m", "qatlab", stage, "--config", f"{results / 'plan' / 'study' / plan.study}.json"]
        command += [part for pair in inputs for part in ("--input", pair)]
        command += ["--output", str(folder.parent if stage == "index" else folder), "--log", str(log)]
        if subprocess.run(command, check=False).returncode != 0:
            yield f"{plan.study}: {stage} of the existing results could not be made; those in {folder} are from an earlier workflow"
            return
    yield from summary(plan, missing)


def summary(plan: Plan, missing: dict[str, MissingArtifact]) -> Iterator[str]:
    """Yield a line such as 'tiny: tables show 1 of 12 runs as failed (ste-seed=1); …', and one line per cause."""
    runs = plan.record().runs
    incomplete = incomplete_runs(runs, Missing(missing))
    counts = []
    for status in (FAILED, NOT_RUN):
        names = [run.run for run in incomplete if run.status == status]
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        if names:
            counts.append(f"{len(names)} of {len(runs)} runs as {status} ({', '.join(names[:SHOWN])}{more})")
    yield f"{plan.study}: tables show {', '.join(counts)}; correct the causes, and run the same command again to complete them"
    reasons = list(dict.fromkeys(lack.reason for lack in missing.values() if lack.status == FAILED and lack.reason))
    for reason in reasons[:REASONS]:
        yield f"{plan.study}: {reason}"
    if len(reasons) > REASONS:
        yield f"{plan.study}: {len(reasons) - REASONS} more reasons in its runs.csv"
