"""A study's plan: its runs and their artifacts, decided before anything is done."""

from dataclasses import dataclass, field
from typing import Any

from qatlab.bundle import Bundle, Gathering
from qatlab.config.evaluate import COMPAT
from qatlab.config.precision import RotationConfig
from qatlab.config.study import RunConfig
from qatlab.errors import UserError
from qatlab.evaluation.outputs import has_few_bits, outputs
from qatlab.plan.artifacts import Artifact, Planner
from qatlab.plan.bit_changes import plan_bit_changes
from qatlab.plan.compose import FULL_SCALE
from qatlab.plan.decomposition import check_decomposition, plan_decomposition
from qatlab.plan.describe import budgets, float_deployment, matched, run_description, twins
from qatlab.plan.hardware import check_hardware
from qatlab.plan.origin import check_trackers
from qatlab.plan.published import Published
from qatlab.plan.runs import Run, plan_drift, plan_run
from qatlab.tables.main_score import main_metrics
from qatlab.tables.names import WIDE, is_simulation


@dataclass
class Plan:
    """A study's runs at one of its scales, and every artifact of theirs by path."""

    study: str
    title: str
    baseline: str
    runs: list[Run]
    artifacts: dict[str, Artifact]
    scale: str = FULL_SCALE
    published: Published | None = None
    question: str | None = None
    answers: list[dict[str, Any]] = field(default_factory=list)

    def plot_names(self) -> list[str]:
        """The plots that the study has figures for."""
        names = {
            "published": self.published is not None,
            "scores": True,
            "training_loss": any(a.kind == "train" for a in self.artifacts.values()),
            "gradient": any(run.config.method.embedding_quantization is not None for run in self.runs),
            "drift": self._compares(),
            "waterfall": any(run.chains for run in self.runs),
            "pareto": self._stored_otherwise(),
        }
        return [name for name, drawn in names.items() if drawn]

    def view_names(self) -> list[str]:
        """The wide tables that the study has figures for."""
        twin_of = twins(self.runs, self.baseline)
        methods = {run.config.method.name for run in self.runs}
        there = {
            "answers": bool(self.answers),
            "published": self.published is not None,
            "pareto": self._stored_otherwise(),
            "against_baseline": self.baseline in methods and len(methods) > 1,
            "against_float": any(self._shipped_otherwise(run) for run in self.runs),
            "bits": self._stores_bits(),
            "bits_changed": self._changes_bits(),
            "decomposition": any(run.chains for run in self.runs),
            "withheld": "reranking" in self.runs[0].kinds.values(),
            "drift_summary": self._compares(),
            "drift_and_loss": self._compares(),
            "drift_budget": any(budgets(r) for r in self.runs),
            "cost_of_training": any(r.config.method.train for r in self.runs),
            "parity": any(is_simulation(reference) for r in self.runs for reference, _, _ in r.drifted),
            "qat_minus_ptq": any(matched(r) and twin_of[r.config.method.name] for r in self.runs),
        }
        return [name for name in WIDE if there.get(name, True)]

    def has_mteb_results(self) -> bool:
        """Whether mteb knows a task of the study, and how it is scored."""
        return any(task.in_mteb(run.kinds[name]) for run in self.runs for name, task in run.config.task.items())

    def trained_runs(self) -> list[Run]:
        """The runs with a model of their own."""
        return [run for run in self.runs if run.config.method.train]

    def _compares(self) -> bool:
        """Whether deployments are compared with one another, besides with what training saw."""
        return any(not is_simulation(reference) for r in self.runs for reference, _, _ in r.drifted)

    def _changes_bits(self) -> bool:
        """Whether a method's bits are compared with the baseline's."""
        return any(run.bit_changes for run in self.runs if run.config.method.name != self.baseline)

    def _stored_otherwise(self) -> bool:
        """Whether embeddings are searched at more than one output."""
        run = self.runs[0]  # all are evaluated alike
        searched = [output for output in outputs(run.config.evaluate) if output.scoring not in COMPAT]
        return len(searched) > 1 and "retrieval" in run.kinds.values()

    def _stores_bits(self) -> bool:
        """Whether an output takes so few bits a dimension that its axes matter."""
        run = self.runs[0]  # all are evaluated alike
        scored = (made for kind in run.kinds.values() for made in outputs(run.config.evaluate, kind))
        return run.family.has_embeddings and any(has_few_bits(made.described(1)) for made in scored)

    def _axes(self) -> dict[str, Any]:
        """The labels and words of the study's axes, in order; and the labels of those that `evaluate.rotations` lists."""
        evaluate = self.runs[0].config.evaluate
        if not self.runs[0].family.has_embeddings:
            return {"axes": [], "chosen_axes": [RotationConfig().label]}
        words = {axes.label: axes.in_words for axes in (*evaluate.rotations, *evaluate.bit_axes)}
        axes = [{"label": label, "words": words[label]} for label in words]
        return {"axes": axes, "chosen_axes": [axes.label for axes in evaluate.rotations]}

    def _shipped_otherwise(self, run: Run) -> bool:
        """Whether a run's float32 embeddings are scored, and something else is."""
        if not run.family.has_embeddings:
            return len(run.config.deploy) > 1
        scored = outputs(run.config.evaluate)
        return len(run.config.deploy) * len(scored) > 1 and any(output.plain for output in scored)

    def study_description(self) -> dict[str, Any]:
        """What the tables and plots stages read: each run's names in tables and the paths of its artifacts."""
        metric, twin_of = self.runs[0].config.evaluate.metrics[0], twins(self.runs, self.baseline)
        config: dict[str, Any] = {
            "study": self.study,
            "title": self.title,
            "baseline": self.baseline,
            "primary_metric": metric,
            "main_metrics": main_metrics(self.runs[0].kinds, metric),
            "kinds": self.runs[0].kinds,
            "scale": self.scale,
            "question": self.question,
            "answers": self.answers,
            **self._axes(),
        }
        if self.published is not None:
            config |= {"stands_for": self.published.stands_for}
        config |= {"float": float_deployment(self.runs[0]), "views": self.view_names()}
        return {
            "kind": "study",
            "name": self.study,
            "label": self.study,
            "config": {**config, "runs": [run_description(run, twin_of) for run in self.runs]},
        }


def make_plan(cells: list[tuple[dict[str, Any], RunConfig]], bundle: Bundle | Gathering | None = None) -> Plan:
    """The plan of composed runs. Raises UserError for local files, packages or checksums that are not as configured.

    Args:
        bundle: where things from outside are taken from, or gathered.
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
        raise UserError("the study's models are of both kinds, embedding and causal_lm; give each a study of its own")
    kinds = dict.fromkeys(runs[0].kinds.values())
    if not runs[0].family.has_embeddings and len(kinds) > 1:
        raise UserError(
            f"the study's tasks are of {' and '.join(kinds)}, whose figures have no mean; give each a study of its own"
        )


def _check_names(runs: Any) -> None:
    names = [run.name for run in runs]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise UserError(
            f"two runs of the study are called '{twice.pop()}'; give the methods or matrix values distinct names"
        )
