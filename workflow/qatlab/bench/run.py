"""Command bench: measure time and memory as ratios to those of a reference in one run; each is a line of results/bench.csv."""

import argparse
import importlib
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from qatlab.errors import unknown


@dataclass(frozen=True)
class Row:
    """Row that compares a measurement of qatlab with that of a reference.

    Attributes:
        name: name of the measurement.
        ours: measurement of qatlab, the median of one run.
        reference: measurement of the reference, the median of the same run.
        bound: largest allowed ratio; None for a row without one.
        unit: unit of both measurements.
        reference_is: description of the reference.
    """

    name: str
    ours: float
    reference: float
    bound: float | None
    unit: str
    reference_is: str

    @property
    def ratio(self) -> float:
        """Return ours / reference."""
        return self.ours / self.reference

    @property
    def above(self) -> bool:
        """Return whether the ratio exceeds its bound."""
        return self.bound is not None and self.ratio > self.bound

    def as_dict(self) -> dict[str, float | str | None]:
        """Return the values by column, in the order of the file's columns."""
        values = asdict(self)
        order = ("name", "ours", "reference", "ratio", "bound", "unit", "reference_is")
        return {column: self.ratio if column == "ratio" else values[column] for column in order}


def in_turns(ours: Callable[[], Any], reference: Callable[[], Any], pairs: int) -> tuple[float, float]:
    """Return the median seconds of two calls, which alternate so that both run under the same conditions.

    The order is reversed in every second pair. The first call of each is not measured, because it includes the costs of memory
    allocation and cold caches.

    Args:
        ours: the call of qatlab.
        reference: the call of the reference.
        pairs: number of measured calls of each.
    """
    return medians(partial(_seconds, ours), partial(_seconds, reference), pairs)


def medians(ours: Callable[[], float], reference: Callable[[], float], pairs: int) -> tuple[float, float]:
    """Return the medians of the values that two alternating calls return, such as seconds that they measure themselves.

    Args:
        ours: the call of qatlab.
        reference: the call of the reference.
        pairs: number of counted calls of each, after one that is not counted.
    """
    ours()
    reference()
    values: dict[int, list[float]] = {0: [], 1: []}
    for pair in range(pairs):
        for which in ((0, 1), (1, 0))[pair % 2]:
            values[which].append((ours, reference)[which]())
    return statistics.median(values[0]), statistics.median(values[1])


def _seconds(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


BENCHMARKS = {  # by name: the module that has it, and what it compares
    "training_step": (
        "qatlab.bench.kernels",
        "a training step with QuantizationAwareLoss, and one with int8 weights, over a plain one",
    ),
    "quantize": ("qatlab.bench.kernels", "quantize_embeddings over sentence-transformers' own"),
    "onnx_int8": (
        "qatlab.bench.evaluation",
        "encoding with the ONNX int8 file of a model trained for it, over PyTorch in float32",
    ),
    "evaluation": (
        "qatlab.bench.evaluation",
        "the default precision grid over one float32 evaluation by Sentence Transformers",
    ),
    "search": ("qatlab.bench.kernels", "search of a million documents over faiss and sentence-transformers' own"),
    "score_memory": ("qatlab.bench.evaluation", "peak memory of scoring a million documents over 3 GiB"),
    "score_startup": ("qatlab.bench.evaluation", "starting the score stage over a second"),
    "bootstrap": ("qatlab.bench.kernels", "intervals and p-values of a large table over ten seconds"),
    "workflow": (
        "qatlab.bench.study",
        "planning a study of 10 to 1,000 runs, and starting one of its jobs, over Snakemake on as many trivial jobs",
    ),
    "study": (
        "qatlab.bench.study",
        "the default study from nothing, over the same by stock libraries one after another (ten minutes or more)",
    ),
    "engines": (
        "qatlab.bench.engines",
        "graphs of usearch, faiss and Qdrant at equal nDCG over an exact search of a million documents (half an hour)",
    ),
    "clip": ("qatlab.bench.kernels", "the exact percentile of each row of a weight over torch.quantile"),
}
ONLY_BY_NAME = ("engines",)  # which takes half an hour, and needs the extra `engines`
RESULT = Path("results/bench.csv")


def main(arguments: list[str]) -> int:
    """Run the benchmarks, write and print the rows of results/bench.csv, and return 1 if a ratio is above its bound, else 0."""
    parser = argparse.ArgumentParser(
        prog="qatlab bench", description="Measure time and memory as ratios to those of a reference."
    )
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"benchmarks to run, of {', '.join(BENCHMARKS)} (default: all but {', '.join(ONLY_BY_NAME)})",
    )
    parser.add_argument("--output", type=Path, default=RESULT, help=f"file to write (default: {RESULT})")
    options = parser.parse_args(arguments)
    for name in options.names:
        if name not in BENCHMARKS:
            raise unknown("benchmark", name, list(BENCHMARKS))
    rows: list[Row] = []
    for name in options.names or [name for name in BENCHMARKS if name not in ONLY_BY_NAME]:
        module, purpose = BENCHMARKS[name]
        print(f"{name}: {purpose}", flush=True)
        for row in getattr(importlib.import_module(module), f"measure_{name}")():
            print(f"  {_line(row)}", flush=True)
            rows.append(row)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame([row.as_dict() for row in rows]).to_csv(options.output, index=False, float_format="%.6g")
    print(options.output)
    return int(any(row.above for row in rows))


def _line(row: Row) -> str:
    verdict = "no bound" if row.bound is None else f"{'ABOVE' if row.above else 'within'} the bound {row.bound:g}"
    ratio = f"{row.ours:10.4g} / {row.reference:10.4g} {row.unit:4} = {row.ratio:.3f}"
    return f"{row.name:32} {ratio}  {verdict}  (reference: {row.reference_is})"
