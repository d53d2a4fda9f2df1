"""What a study's wide tables are made from: its long tables, and what several of them show."""

from functools import cached_property
from pathlib import Path

import pandas as pd

from qatlab.study.record import StudyRecord
from qatlab.tables import long
from qatlab.tables.machines import kernel_note
from qatlab.tables.main_score import main_label, main_scores
from qatlab.tables.missing import WHOLE, Missing
from qatlab.tables.names import LOWER_IS_BETTER, TEXT
from qatlab.tables.outputs import on_axes
from qatlab.tables.per_query import Figures, per_query


class Gathered:
    """The figures of a study.

    Args:
        study: its record.
        results: the folder of artifacts.
        published: the file of others' figures, where the study shows any.
        missing: what is not there.
    """

    def __init__(
        self, study: StudyRecord, results: Path, published: Path | None = None, missing: Missing = WHOLE
    ) -> None:
        self.study, self.results, self.published, self.missing = study, results, published, missing
        self.runs = study.runs
        self.baseline = study.baseline
        self.metrics = study.main_metrics

    @cached_property
    def scores(self) -> pd.DataFrame:
        """scores.csv."""
        return long.scores(self.study.name, self.runs, self.results, self.missing)

    @cached_property
    def drift(self) -> pd.DataFrame:
        """drift.csv."""
        return long.drift(self.runs, self.results, self.missing)

    @cached_property
    def cost(self) -> pd.DataFrame:
        """cost.csv."""
        return long.cost(self.runs, self.results, self.withheld, self.missing)

    @cached_property
    def search(self) -> pd.DataFrame:
        """search.csv."""
        return long.search(self.runs, self.results, self.missing)

    @cached_property
    def chosen(self) -> pd.DataFrame:
        """scores.csv on the axes that `evaluate.rotations` lists."""
        return on_axes(self.scores, self.study.chosen_axes)

    @cached_property
    def main(self) -> tuple[pd.DataFrame, str]:
        """The rows of `chosen` with the main metric of each task, and the name of that metric."""
        return main_scores(self.chosen, self.metrics)

    @cached_property
    def on_all_axes(self) -> Figures:
        """The main metric of each query."""
        return per_query(self.runs, self.results, self.metrics, self.missing)

    @cached_property
    def figures(self) -> Figures:
        """The main metric of each query, on the axes that `evaluate.rotations` lists."""
        return self.on_all_axes.on_axes(self.study.chosen_axes)

    @property
    def withheld(self) -> list[str]:
        """The tasks of withheld records."""
        return [task for task, kind in self.study.kinds.items() if kind == "reranking"]

    @property
    def varied(self) -> list[str]:
        """The keys of the matrix besides method and seed, as columns."""
        return list(self.runs[0].varied)

    @property
    def label(self) -> str:
        """What the main metric is called."""
        return main_label(self.metrics)

    @property
    def lower_is_better(self) -> bool:
        """Whether the main metric is a cost."""
        return set(self.metrics.values()) <= set(LOWER_IS_BETTER)

    @cached_property
    def in_text(self) -> bool:
        """Whether all scores are of texts that models write, which have no precision."""
        return bool(self.scores["query_precision"].eq(TEXT).all())

    @cached_property
    def seeds(self) -> int:
        """How many there are."""
        return int(self.scores["seed"].nunique())

    @property
    def over(self) -> str:
        """'one seed', or '3 seeds, ± standard deviation'."""
        return f"{self.seeds} seeds, ± standard deviation" if self.seeds > 1 else "one seed"

    @property
    def with_seeds(self) -> str:
        """What ± means, where there are several seeds."""
        return "; ± is the standard deviation over seeds" if self.seeds > 1 else ""

    @property
    def judged(self) -> str:
        """What the intervals of differences are over."""
        drawn = f"queries and {self.seeds} seeds" if self.seeds > 1 else "queries; one seed"
        return f"95 % intervals over {drawn}{self.kernel_note}"

    @cached_property
    def kernel_note(self) -> str:
        """What the integers behind scores were multiplied with, where that is worth a note."""
        return kernel_note(self.scores)
