"""Variants of a study that can be shipped: what each costs, how much it loses, and the rule that chooses the smallest within a bound.

Every variant that can be deployed is compared with the best float result, paired by query and seed. The intervals of all comparisons
cover at once (`statistics.simultaneous_intervals`), because the rule chooses by their upper ends. The best float result is the best of
all methods', so losses are rather too large than too small.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from qatlab.config.evaluate import COMPAT
from qatlab.evaluation.outputs import OutputColumns
from qatlab.quantization.precisions import RANGED
from qatlab.statistics import simultaneous_intervals
from qatlab.study.record import RunRecord
from qatlab.tables.differences import is_float
from qatlab.tables.gathered import BySeed, Form, paired, seed_means
from qatlab.tables.labels import precision_labels
from qatlab.tables.missing import OK, STATUS, with_status
from qatlab.tables.pareto import SAME_SPEED

if TYPE_CHECKING:
    from qatlab.tables.gathered import Gathered

# Models of at most this multiple of another's bytes count as equally large, because their settings differ in length.
SAME_SIZE = 1.01


@dataclass(frozen=True)
class Variant:
    """One variant that can be shipped, with what it costs.

    Attributes:
        differences: by task, its results less those of the best float result, (seeds, queries) float64.
        value: mean over tasks and seeds of the main metric.
        doc_bytes: bytes per document, with copies for rescoring; 0 for a causal language model.
        model_bytes: median over seeds; None where unknown.
        texts_per_second: median over the runs of all methods in this deployment, because weights of other values are as fast, and a
            single measurement is noisy; None where unknown.
        loss, low, high: how much worse than the best float result, and the ends of its simultaneous interval, which may be NaN.
    """

    form: Form
    differences: list[np.ndarray]
    value: float
    doc_bytes: int
    model_bytes: int | None
    texts_per_second: float | None
    loss: float = 0.0
    low: float = 0.0
    high: float = 0.0


def choose(variants: Sequence[Variant], most: float, lower_is_better: bool = False) -> Variant | None:
    """Return the variant with the fewest bytes among those that lose at most `most` at the upper end of their interval.

    Of equally many bytes per document, the smallest model counts (sizes within SAME_SIZE are equal), then the fastest (speeds from
    SAME_SPEED on are equal), then the best result, then the first of the list.

    Args:
        variants: the variants.
        most: largest loss, in units of the metric.
        lower_is_better: whether lower values of the metric are better.
    """
    within = [variant for variant in variants if variant.high <= most]  # NaN is within no bound
    if not within:
        return None
    fewest = min(variant.doc_bytes for variant in within)
    within = [variant for variant in within if variant.doc_bytes == fewest]
    smallest = min(model_size(variant) for variant in within)
    within = [variant for variant in within if model_size(variant) <= SAME_SIZE * smallest]
    fastest = max(variant.texts_per_second or 0.0 for variant in within)
    within = [variant for variant in within if (variant.texts_per_second or 0.0) >= SAME_SPEED * fastest]
    return min(within, key=lambda variant: variant.value if lower_is_better else -variant.value)


def model_size(variant: Variant) -> float:
    """Return the bytes of the model; infinity if they are unknown."""
    return np.inf if variant.model_bytes is None else variant.model_bytes


def best_float(gathered: "Gathered") -> Form | None:
    """Return the variant with the best float result in the study's float deployment; None if no method has one for all seeds."""
    figures = gathered.on_all_axes
    plain = [form for form in complete_forms(gathered) if is_float(form, gathered.study.float_deployment)]
    sign = -1 if gathered.lower_is_better else 1
    return max(plain, key=lambda form: sign * mean_of(figures[form]), default=None)


def complete_forms(gathered: "Gathered") -> list[Form]:
    """Return the variants that have results of all tasks for all of their seeds: a corpus may have too few documents for some axes."""
    figures, tasks = gathered.on_all_axes, set(gathered.metrics)
    return [
        form
        for form, by_seed in figures.items()
        if form not in figures.gaps and all(set(of_seed) == tasks for of_seed in by_seed.values())
    ]


def mean_of(by_seed: BySeed) -> float:
    """Return the mean over seeds of the mean of the tasks' means."""
    return float(np.mean(list(seed_means(by_seed).values())))


def can_be_deployed(output: OutputColumns) -> bool:
    """Return whether an output can be shipped: not one that repeats how a library evaluates, or whose queries need other queries.

    Ranges per call are fitted on all queries of an evaluation at once, which a search does not have.
    """
    alone = output["ranges"] != "per_call" or output["query_precision"] not in RANGED
    return output["scoring"] not in COMPAT and alone


def variants(gathered: "Gathered", reference: Form, confidence: float = 0.95) -> list[Variant]:
    """Return all variants that can be shipped, with their losses against one of them and simultaneous intervals.

    Args:
        gathered: the results of the study.
        reference: the variant that others are compared with.
        confidence: probability that all intervals cover.
    """
    figures, costs = gathered.on_all_axes, _Costs(gathered)
    comparable = [
        Variant(form, differences, mean_of(figures[form]), *costs.of(form))
        for form in complete_forms(gathered)
        if can_be_deployed(figures.outputs[form]) and (differences := paired(figures[form], figures[reference]))
    ]
    ends = simultaneous_intervals([variant.differences for variant in comparable], confidence)
    sign = 1 if gathered.lower_is_better else -1
    return [
        _with_loss(variant, sign * low, sign * high, sign * _mean_difference(variant.differences))
        for variant, low, high in zip(comparable, *(side.tolist() for side in ends), strict=True)
    ]


def _mean_difference(differences: list[np.ndarray]) -> float:
    return float(np.mean([task.mean() for task in differences]))


def _with_loss(variant: Variant, *statistics: float) -> Variant:
    """Return a variant with its loss and both ends of the interval, in any order; adding 0.0 turns −0.0 into 0.0."""
    low, high, loss = statistics
    return replace(variant, loss=loss + 0.0, low=min(low, high) + 0.0, high=max(low, high) + 0.0)


class _Costs:
    """Bytes and speed of variants, from cost.csv and search.csv."""

    def __init__(self, gathered: "Gathered") -> None:
        self.runs, self.figures = gathered.runs, gathered.on_all_axes
        self.of_model = gathered.cost.set_index(["run", "deploy"])[["bytes_on_disk", "texts_per_second"]].astype(float)
        search = with_status(gathered.search)
        search = search[search[STATUS] == OK].assign(output=precision_labels)
        self.stored = search.groupby(["run", "deploy", "rotation", "output"])["stored_bytes"].max().to_dict()

    def of(self, form: Form) -> tuple[int, int | None, float | None]:
        """Return the bytes per document with copies, the bytes of the model, and the texts per second."""
        names = [run.name for run in runs_of(self.runs, form)]
        alike = [
            (run.name, form.deploy) for run in self.runs if run.cell == form.varied and form.deploy in run.deployed
        ]
        size = self.of_model["bytes_on_disk"].loc[[(name, form.deploy) for name in names]].median()
        speed = self.of_model["texts_per_second"].loc[alike].median()
        searched = [self.stored.get((name, form.deploy, form.rotation, form.output)) for name in names]
        stored = max(
            (int(known) for known in searched if known is not None), default=self.figures.outputs[form]["doc_bytes"]
        )
        # A causal language model stores no documents.
        return stored or 0, None if np.isnan(size) else int(size), None if np.isnan(speed) else float(speed)


def runs_of(runs: Sequence[RunRecord], form: Form) -> list[RunRecord]:
    """Return the runs of a variant's method and cell, by seed."""
    of_form = [run for run in runs if (run.method, run.cell) == (form.method, form.varied)]
    return sorted(of_form, key=lambda run: -1 if run.seed is None else run.seed)
