"""Evaluation: scores of retrieval, reranking and similarity at every precision, search, and comparison with other evaluators.

Only the module that calls the evaluators of other libraries, `compatibility`, and the evaluator for
other trainers, `QuantizedRetrievalEvaluator`, import torch.
"""

import importlib
from typing import Any

__all__ = ["QuantizedRetrievalEvaluator"]


def __getattr__(name: str) -> Any:
    """Return the evaluator, whose module is imported on first use, so that scoring does not pay for the import of torch."""
    if name in __all__:
        return getattr(importlib.import_module("qatlab.evaluation.quantized_retrieval"), name)
    raise AttributeError(f"module 'qatlab.evaluation' has no attribute '{name}'")
