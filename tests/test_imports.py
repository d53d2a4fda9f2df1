"""Modules that the library imports, and the time that this takes, which every program that uses the library pays."""

import subprocess
import sys

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


def test_losses_bring_nothing_of_the_workflow():

    modules = imported("qatlab.losses")
    assert "sentence_transformers" in modules
    # What Sentence Transformers itself imports where it is installed is its own affair.
    assert not (modules - imported("sentence_transformers")) & OF_THE_WORKFLOW


def test_the_evaluator_needs_nothing_of_the_workflow():
    modules = imported("qatlab.evaluation.quantized_retrieval")
    assert "sentence_transformers" in modules
    assert not (modules - imported("sentence_transformers.sentence_transformer.evaluation")) & OF_THE_WORKFLOW


def test_grids_are_imported_quickly():
    """In less time than NumPy, which they need, takes: .03 s beside .07 s where both together may take .2."""
    assert min(float(output_of(TIMED)) for _ in range(3)) <= 1
