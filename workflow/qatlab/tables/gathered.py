"""Input of a study's wide tables: its long tables, and values that several wide tables use."""

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
    """Results of a study, each read once and only when it is used.

    Args:
        study: the study's record.
        results: the folder of artifacts.
        published: the file of published results, if the study is compared with any.
        missing: artifacts that are missing.
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
        """Return the table scores.csv."""
        return long.scores(self.study.name, self.runs, self.results, self.missing)

    @cached_property
    def drift(self) -> pd.DataFrame:
        """Return the table drift.csv."""
        return long.drift(self.runs, self.results, self.missing)

    @cached_property
    def cost(self) -> pd.DataFrame:
        """Return the table cost.csv."""
        return long.cost(self.runs, self.results, self.withheld, self.missing)

    @cached_property
    def search(self) -> pd.DataFrame:
        """Return the table search.csv."""
        return long.search(self.runs, self.results, self.missing)

    @cached_property
    def chosen(self) -> pd.DataFrame:
        """Return the rows of scores.csv on the axes that `evaluate.rotations` lists."""
        return on_axes(self.scores, self.study.chosen_axes)

    @cached_property
    def main(self) -> tuple[pd.DataFrame, str]:
        """Return the rows of `chosen` with the main metric of each task, and the name of that metric."""
        return main_scores(self.chosen, self.metrics)

    @cached_property
    def on_all_axes(self) -> Figures:
        """Return the main metric of each query on all axes."""
        return per_query(self.runs, self.results, self.metrics, self.missing)

    @cached_property
    def figures(self) -> Figures:
        """Return the main metric of each query on the axes that `evaluate.rotations` lists."""
        return self.on_all_axes.on_axes(self.study.chosen_axes)

    @property
    def withheld(self) -> list[str]:
        """Return the names of the tasks of held-out triplets."""
        return [task for task, kind in self.study.kinds.items() if kind == "reranking"]

    @property
    def varied(self) -> list[str]:
        """Return the columns of the matrix besides method and seed."""
        return list(self.runs[0].varied)

    @property
    def label(self) -> str:
        """Return the label of the main metric."""
        return main_label(self.metrics)

    @property
    def lower_is_better(self) -> bool:
        """Return whether lower values of the main metric are better."""
        return set(self.metrics.values()) <= set(LOWER_IS_BETTER)

    @cached_property
    def in_text(self) -> bool:
        """Return whether all scores are those of generated texts, which have no precision."""
        return bool(self.scores["query_precision"].eq(TEXT).all())

    @cached_property
    def seeds(self) -> int:
        """Return the number of seeds."""
        return int(self.scores["seed"].nunique())

    @property
    def over(self) -> str:
        """Return the note on seeds in titles: 'one seed', or '3 seeds, ± standard deviation'."""
        return f"{self.seeds} seeds, ± standard deviation" if self.seeds > 1 else "one seed"

    @property
    def with_seeds(self) -> str:
        """Return the explanation of ± in titles; empty for a single seed."""
        return "; ± is the standard deviation over seeds" if self.seeds > 1 else ""

    @property
    def judged(self) -> str:
        """Return the note in titles on what the intervals of differences are computed over."""
        drawn = f"queries and {self.seeds} seeds" if self.seeds > 1 else "queries; one seed"
        return f"95 % intervals over {drawn}{self.kernel_note}"

    @cached_property
    def kernel_note(self) -> str:
        """Return the note in titles on the integer kernels behind the scores; empty if there are none."""
        return kernel_note(self.scores)
