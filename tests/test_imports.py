"""Modules that the library imports, and the time that this takes, which every program that uses the library pays."""

import subprocess
import sys

import pytest

TIMED = """
import time
start = time.perf_counter()
import numpy
between = time.perf_counter()
import qatlab.quantization
print((time.perf_counter() - between) / (between - start))
"""
HEAVY = {"torch", "transformers", "sentence_transformers", "scipy", "pandas", "faiss"}
OF_THE_WORKFLOW = {"pydantic", "snakemake", "mteb", "hydra", "omegaconf", "faiss", "onnx", "onnxruntime", "optimum"}


def output_of(code):
    """Return the output of a new Python process."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def imported(module):
    """The packages that importing one brings."""
    code = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    return set(output_of(code).split())


def test_grids_need_numpy_alone():
    modules = imported("qatlab.quantization")
    assert "numpy" in modules
    assert not modules & HEAVY


@pytest.mark.slow(20)
def test_losses_and_the_evaluator_bring_nothing_of_the_workflow():
    """Nothing but what Sentence Transformers itself imports where it is installed. One process imports them all, as each takes seconds."""
    modules = [
        "sentence_transformers",
        "qatlab.losses",
        "sentence_transformers.sentence_transformer.evaluation",
        "qatlab.evaluation.quantized_retrieval",
    ]
    code = (
        "import importlib, sys\n"
        f"for module in {modules}:\n"
        "    importlib.import_module(module)\n"
        "    print(*{name.partition('.')[0] for name in sys.modules})\n"
    )
    library, losses, evaluation, evaluator = (set(line.split()) for line in output_of(code).splitlines())
    assert {"torch", "sentence_transformers"} <= library
    assert "qatlab" in losses
    assert not (losses - library) & OF_THE_WORKFLOW
    assert not (evaluator - evaluation) & OF_THE_WORKFLOW


def test_grids_are_imported_quickly():
    """In less time than NumPy, which they need, takes: .03 s beside .07 s where both together may take .2."""
    assert min(float(output_of(TIMED)) for _ in range(3)) <= 1
