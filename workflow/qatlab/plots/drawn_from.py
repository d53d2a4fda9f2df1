"""Input of a study's plots: its tables, and the logs and drifts of its runs."""

from functools import cached_property
from pathlib import Path

import pandas as pd

from qatlab.study.record import StudyRecord
from qatlab.tables.labels import main_label
from qatlab.tables.missing import OK, WHOLE, Missing, in_words, incomplete_runs


class DrawnFrom:
    """Tables and artifacts of a study.

    Args:
        study: the study's record.
        results: the folder of artifacts.
        tables: the folder of the study's tables.
        missing: artifacts that are missing; plots leave them out, and titles name their runs.
    """

    def __init__(self, study: StudyRecord, results: Path, tables: Path, missing: Missing = WHOLE) -> None:
        self.study, self.results, self.tables, self.missing = study, results, tables, missing
        self.runs = study.runs
        incomplete = incomplete_runs(self.runs, missing)
        lacks = f"\n{in_words(incomplete)}; what they lack is left out" if incomplete else ""
        self.title: str = study.title + lacks
        self.label = main_label(study.main_metrics)

    @cached_property
    def scores(self) -> pd.DataFrame:
        """Return the table scores.csv."""
        return pd.read_csv(self.tables / "scores.csv")

    @cached_property
    def search(self) -> pd.DataFrame:
        """Return the table search.csv."""
        return pd.read_csv(self.tables / "search.csv")

    def as_text(self, name: str) -> pd.DataFrame:
        """Return a wide table with all cells as text, exactly as in its file; empty cells are written there as "–"."""
        return pd.read_csv(self.tables / f"{name}.csv", dtype=str, keep_default_na=False)

    @cached_property
    def logs(self) -> dict[str, pd.DataFrame]:
        """Return log.csv of each run that trained, by the run's name, without missing runs."""
        return {
            run.name: pd.read_csv(self.results / run.trained / "log.csv")
            for run in self.runs
            if run.trains and self.missing.status(run.trained) == OK
        }
