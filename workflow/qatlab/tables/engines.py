"""Tables of vector search engines: each mode beside an exact search of the same codes, and the engine's quantizer beside qatlab's grid."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from qatlab.artifact import read_json, readable_bytes
from qatlab.engines.engine import OVERLAP, Engine, Mode
from qatlab.study.record import RunRecord, StudyRecord
from qatlab.tables.differences import WOULD_TAKE, judged
from qatlab.tables.gathered import Figures, mean_cell
from qatlab.tables.missing import OK, WHOLE, Missing, worst
from qatlab.tables.table import TABLES, Table

if TYPE_CHECKING:
    from qatlab.tables.gathered import Gathered

EXACT = "exact/"  # start of the names of qatlab's own searches among the modes
GRIDS = {"int8": "float32_x_int8", "bits": "bits"}  # qatlab's exact search of the codes of a grid


class Indexed(NamedTuple):
    """One variant of embeddings in an index: its run's method and cell, its deployment, the task, the engine and the mode.

    The task is empty where results of all tasks are kept together.
    """

    method: str
    varied: tuple[Any, ...]
    deploy: str
    task: str
    engine: str
    mode: str


class Index(NamedTuple):
    """What an engine reports of one index, besides scores."""

    disk_bytes: int
    memory_bytes: int | None
    same_scores: float | None


def engines_of(study: StudyRecord) -> list[Engine]:
    """Return the engines of a study's evaluation."""
    return study.evaluate.engines if study.evaluate is not None else []


def figures(
    runs: Sequence[RunRecord],
    results: Path,
    engines: Sequence[Engine],
    metrics: dict[str, str],
    missing: Missing = WHOLE,
    by_task: bool = True,
) -> Figures:
    """Read one metric per task for every mode of every engine, and for the exact searches beside them.

    Args:
        runs: the study's runs.
        results: the folder of artifacts.
        engines: the study's engines.
        metrics: name of the metric, by task.
        missing: artifacts that are missing.
        by_task: whether each task has keys of its own.

    Returns:
        Results by `Indexed`, whose mode is `exact/<name>` for qatlab's own searches.
    """
    gathered = Figures()
    chosen = {engine.engine: engine.chosen_modes() for engine in engines}
    for run, deploy, task, engine, path in _artifacts(runs):
        if task not in metrics:
            continue
        variant = (run.method, run.cell, deploy, task if by_task else "", engine)
        status = missing.status(path)
        names = [mode.name for mode in chosen[engine]] + [
            f"{EXACT}{name}" for name in ("float32", "int8", *GRIDS.values())
        ]
        columns = pq.read_table(results / path / "per_query.parquet") if status == OK else None
        for name in dict.fromkeys(names):
            if columns is None:
                gathered.put_gap(Indexed(*variant, name), run.seed, task, status)
            else:
                values = columns[f"{name}/{metrics[task]}"].to_numpy()
                gathered.put(Indexed(*variant, name), run.seed, task, values)
    gathered.close()
    return gathered


def _artifacts(runs: Sequence[RunRecord]) -> Iterator[tuple[RunRecord, str, str, str, str]]:
    """Yield the run, deployment, task, engine and path of each artifact."""
    for run in runs:
        for entry in run.evaluations:
            for engine, path in entry.engines.items():
                yield run, entry.deploy, entry.task, engine, path


def indexes(runs: Sequence[RunRecord], results: Path, missing: Missing = WHOLE) -> dict[Indexed, Index]:
    """Return what engines report of each index; means over seeds."""
    rows: dict[Indexed, list[dict[str, Any]]] = {}
    for run, deploy, task, engine, path in _artifacts(runs):
        if missing.status(path) == OK:
            for row in read_json(results / path / "engine.json")["modes"]:
                rows.setdefault(Indexed(run.method, run.cell, deploy, task, engine, row["mode"]), []).append(row)

    def mean(values: list[Any]) -> float | None:
        return None if None in values else float(np.mean(values))

    reported = {}
    for key, of_seeds in rows.items():
        disk, memory, same = (
            mean([row[name] for row in of_seeds]) for name in ("disk_bytes", "memory_bytes", "same_scores")
        )
        reported[key] = Index(round(disk or 0), None if memory is None else round(memory), same)
    return reported


def _modes(engines: Sequence[Engine]) -> dict[tuple[str, str], Mode]:
    return {(engine.engine, mode.name): mode for engine in engines for mode in engine.chosen_modes()}


def _labels(key: Indexed, varied: Sequence[str], *columns: str) -> dict[str, object]:
    return {
        "method": key.method,
        **dict(zip(varied, key.varied, strict=True)),
        "deploy": key.deploy,
        **{column: getattr(key, column) for column in columns},
    }


def engine_rows(
    scores: Figures, overlaps: Figures, reported: dict[Indexed, Index], engines: Sequence[Engine], varied: Sequence[str]
) -> pd.DataFrame:
    """Build a table with one row per method, deployment, task, engine and mode.

    Args:
        scores: the main metric of each query, by task.
        overlaps: the overlap with the ten best documents of the exact float search, by task.
        reported: bytes of each index.
        engines: the study's engines.
        varied: columns of the matrix besides method and seed.
    """
    modes = _modes(engines)
    keys = [key for key in scores if not key.mode.startswith(EXACT)]
    references = [modes[key.engine, key.mode].reference for key in keys]
    pairs = [(key, key._replace(mode=EXACT + name)) for key, name in zip(keys, references, strict=True)]
    rows = []
    for key, reference in zip(keys, references, strict=True):
        index = reported.get(key)
        status = worst(scores.gaps.get(key, {}).values()) if index is None else ""
        same = index.same_scores if index else None
        rows.append(
            {
                **_labels(key, varied, "task", "engine", "mode"),
                "value": mean_cell(scores, key),
                OVERLAP: mean_cell(overlaps, key),
                "on disk": readable_bytes(index.disk_bytes) if index else status,
                "in memory": _memory(index) if index else status,
                "same scores": None if same is None else f"{same:.1%}",
                "exact search of": reference,
            }
        )
    return pd.concat([pd.DataFrame(rows), _judged(scores, pairs)], axis=1)


def _judged(scores: Figures, pairs: list[tuple[Indexed, Indexed]]) -> pd.DataFrame:
    return judged(scores, pairs).drop(columns=WOULD_TAKE, errors="ignore")


def _memory(index: Index) -> str | None:
    return None if index.memory_bytes is None else readable_bytes(index.memory_bytes)


def quantizer_rows(scores: Figures, engines: Sequence[Engine], varied: Sequence[str]) -> pd.DataFrame:
    """Build a table with one row per method, deployment, engine and mode in which the engine makes int8 codes or bits.

    The other side has the same index and rescoring with codes of qatlab, if the engine stores them and the study measured it. Of the
    other modes, exact ones without rescoring are compared with qatlab's exact search of its own codes, and the rest is left out.

    Args:
        scores: the main metric of each query, all tasks together.
        engines: the study's engines.
        varied: columns of the matrix besides method and seed.
    """
    modes = _modes(engines)
    pairs, rows = [], []
    for key in scores:
        mode = modes.get((key.engine, key.mode))
        if mode is None or mode.quantizer != "engine" or mode.stored not in GRIDS:
            continue
        ours = Mode(mode.stored, "qatlab", mode.index, mode.rescoring).name
        if (key.engine, ours) not in modes:
            if mode.index != "exact" or mode.rescoring != "none":
                continue  # the difference would be that of a graph or of rescoring
            ours = EXACT + GRIDS[mode.stored]
        other = key._replace(mode=ours)
        pairs.append((key, other))
        rows.append(
            {
                **_labels(key, varied, "engine", "mode"),
                "value": mean_cell(scores, key),
                "grid of qatlab": other.mode,
                "value of the grid": mean_cell(scores, other),
                "exact float32": mean_cell(scores, key._replace(mode=f"{EXACT}float32")),
            }
        )
    return pd.concat([pd.DataFrame(rows), _judged(scores, pairs)], axis=1)


@TABLES.register("engines")
class Engines(Table):
    """Table of what vector search engines make of embeddings."""

    place = 61
    caption = """\
What vector search engines return: the main metric of each mode on each task, the share of the ten best documents of the exact float
search that are among the mode's ten best, and the bytes of the index, measured on disk and in memory. The difference is that from
qatlab's exact search of the same codes, or of the float32 embeddings where the engine makes the codes or scores candidates again;
paired by query and seed, with intervals by a bootstrap and p-values corrected for all rows (Holm). `same scores` is the share of
queries whose ten best documents in an exact mode have the same scores as those of the exact search; where it is 100 %, a difference
is one of the order of documents with equal scores, which bits have many of.
"""

    def wanted(self, study: StudyRecord) -> bool:
        """Return whether the study measures engines."""
        return any(entry.engines for run in study.runs for entry in run.evaluations)

    def title(self, gathered: "Gathered") -> str:
        """Return the title of the table."""
        return (
            f"Vector search engines: {gathered.label} less that of an exact search of the same codes ({gathered.over})"
        )

    def rows(self, gathered: "Gathered") -> pd.DataFrame:
        """Return the rows of the table."""
        engines = engines_of(gathered.study)
        read = (gathered.runs, gathered.results, engines)
        scores = figures(*read, gathered.metrics, gathered.missing)
        overlaps = figures(*read, dict.fromkeys(gathered.metrics, OVERLAP), gathered.missing)
        reported = indexes(gathered.runs, gathered.results, gathered.missing)
        return engine_rows(scores, overlaps, reported, engines, gathered.varied)


@TABLES.register("engine_quantizers")
class EngineQuantizers(Table):
    """Table of what engines' own quantizers lose against the grid that models are trained for."""

    place = 62
    caption = """\
The engine's own quantizer, which receives float32 embeddings, less codes on qatlab's grid, for which models are trained: in the same
engine and index where it stores such codes, or else in an exact search. Mean of the tasks, paired by query and seed; intervals by a
bootstrap, p-values corrected for all rows of the table (Holm).
"""

    def wanted(self, study: StudyRecord) -> bool:
        """Return whether an engine of the study quantizes embeddings itself to int8 or bits."""
        quantized = [
            mode
            for engine in engines_of(study)
            for mode in engine.chosen_modes()
            if mode.quantizer == "engine" and mode.stored in GRIDS
        ]
        return bool(quantized) and any(entry.engines for run in study.runs for entry in run.evaluations)

    def title(self, gathered: "Gathered") -> str:
        """Return the title of the table."""
        return f"{gathered.label}, mean of the tasks: the engine's own quantizer less qatlab's grid ({gathered.over})"

    def rows(self, gathered: "Gathered") -> pd.DataFrame:
        """Return the rows of the table."""
        engines = engines_of(gathered.study)
        read = (gathered.runs, gathered.results, engines, gathered.metrics, gathered.missing)
        return quantizer_rows(figures(*read, by_task=False), engines, gathered.varied)
