"""Plan of a study: its runs and their artifacts, determined before any job starts."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from qatlab.bundle import Bundle, Gathering
from qatlab.config.precision import RotationConfig
from qatlab.errors import UserError
from qatlab.plan.artifacts import Artifact, Planner
from qatlab.plan.bit_changes import plan_bit_changes
from qatlab.plan.compose import FULL_SCALE
from qatlab.plan.decomposition import check_decomposition, plan_decomposition
from qatlab.plan.describe import counterparts, float_deployment, run_record
from qatlab.plan.hardware import check_hardware
from qatlab.plan.origin import check_trackers
from qatlab.plan.published import Published
from qatlab.plan.runs import Run, plan_drift, plan_run
from qatlab.plots.plot import plots_of
from qatlab.study.config import RunConfig
from qatlab.study.record import AnswerConfig, Axes, StudyRecord
from qatlab.tables.labels import main_metrics
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

    def record(self) -> StudyRecord:
        """Return the record of the study, which its stages read."""
        first = self.runs[0]  # all runs have the same deployments and evaluation
        metric, beside = first.config.evaluate.metrics[0], counterparts(self.runs, self.baseline)
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
            tables=tuple(first.config.study.tables),
            plots=tuple(first.config.study.plots),
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
