"""Command bench: measure time and memory as ratios to those of a reference, which is measured in the same run."""

import argparse
import importlib
from pathlib import Path

import pandas as pd

from qatlab.bench.row import Row
from qatlab.errors import unknown

BENCHMARKS = {  # by name: the module that has it, and what it compares
    "training_step": (
        "qatlab.bench.training_step",
        "a training step with QuantizationAwareLoss, and one with int8 weights, over a plain one",
    ),
    "quantize": ("qatlab.bench.quantize", "quantize_embeddings over sentence-transformers' own"),
    "onnx_int8": (
        "qatlab.bench.onnx_int8",
        "encoding with the ONNX int8 file of a model trained for it, over PyTorch in float32",
    ),
    "evaluation": (
        "qatlab.bench.evaluation",
        "the default precision grid over one float32 evaluation by Sentence Transformers",
    ),
    "search": ("qatlab.bench.search", "search of a million documents over faiss and sentence-transformers' own"),
    "score_memory": ("qatlab.bench.score_memory", "peak memory of scoring a million documents over 3 GiB"),
    "score_startup": ("qatlab.bench.score_startup", "starting the score stage over a second"),
    "bootstrap": ("qatlab.bench.bootstrap", "intervals and p-values of a large table over ten seconds"),
    "workflow": (
        "qatlab.bench.workflow",
        "planning a study of 10 to 1,000 runs, and starting one of its jobs, over Snakemake on as many trivial jobs",
    ),
    "clip": ("qatlab.bench.clip", "the exact percentile of each row of a weight over torch.quantile"),
}
RESULT = Path("results/bench.csv")


def main(arguments: list[str]) -> int:
    """Run the benchmarks, write and print the rows of results/bench.csv, and return 1 if a ratio is above its bound, else 0."""
    parser = argparse.ArgumentParser(
        prog="qatlab bench", description="Measure time and memory as ratios to those of a reference."
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"benchmarks to run, of {', '.join(BENCHMARKS)} (default: all)"
    )
    parser.add_argument("--output", type=Path, default=RESULT, help=f"file to write (default: {RESULT})")
    options = parser.parse_args(arguments)
    for name in options.names:
        if name not in BENCHMARKS:
            raise unknown("benchmark", name, list(BENCHMARKS))
    rows: list[Row] = []
    for name in options.names or BENCHMARKS:
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
