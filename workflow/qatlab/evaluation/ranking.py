"""The best documents of each query, at one output precision, in a defined order."""

import numpy as np

from qatlab.config.evaluate import EvaluateConfig
from qatlab.quantization.grids import dequantize_embeddings, quantize_embeddings
from qatlab.quantization.precisions import RANGED, is_binary, sides
from qatlab.quantization.ranges import FixedRange, MinMaxRange, PercentileRange, Range, SymmetricRange

QUERIES_AT_ONCE = 256
RANGE_KINDS = {"minmax": MinMaxRange, "percentile": PercentileRange, "symmetric": SymmetricRange}


def index_ranges(documents: np.ndarray, config: EvaluateConfig, trained: dict[str, Range]) -> dict[str, Range]:
    """The range of each integer precision that is scored: fitted on the documents, or the model's own.

    Args:
        documents: (d, dim) float32.
        trained: the model's own, by precision.
    """
    used = {side for name in config.precisions for side in sides(name) if side in RANGED}
    if config.ranges != "model":
        return {precision: _fitted(documents, config) for precision in sorted(used)}
    for precision in sorted(used):
        if precision not in trained:
            known = ", ".join(trained) or "none"
            raise ValueError(f"the model has no range of its own for {precision}, only for {known}; use ranges: corpus")
    return {precision: trained[precision] for precision in sorted(used)}


def rank(
    queries: np.ndarray,
    documents: np.ndarray,
    precision: str,
    config: EvaluateConfig,
    ranges: dict[str, Range],
    depth: int,
) -> np.ndarray:
    """Indices of the `depth` best documents of each query, best first; equal scores keep the documents' order.

    Args:
        queries, documents: (q, dim) and (d, dim) float32.
        precision: of both sides, or of each: 'float32_x_binary'.
        config: whether queries have ranges of their own.
        ranges: of the index, by precision.

    Returns:
        (q, min(depth, d)) int64.
    """
    queries, documents = on_grid(queries, documents, precision, config, ranges)
    best = np.empty((len(queries), min(depth, len(documents))), dtype=np.int64)
    for start in range(0, len(queries), QUERIES_AT_ONCE):
        scores = queries[start : start + QUERIES_AT_ONCE] @ documents.T
        best[start : start + QUERIES_AT_ONCE] = np.argsort(-scores, axis=1, kind="stable")[:, : best.shape[1]]
    return best


def scoring(precision: str) -> str:
    """How a precision is scored: 'dot', 'hamming' (bits against bits), or 'dequantized' dot products."""
    query, document = sides(precision)
    if is_binary(query) and is_binary(document):
        return "hamming"
    return "dot" if query == document == "float32" else "dequantized"


def unit_length(embeddings: np.ndarray) -> np.ndarray:
    """Each row divided by its Euclidean length, float32; an all-zero row stays as it is."""
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    return (embeddings / np.where(lengths > 0, lengths, 1)).astype(np.float32)


def on_grid(
    queries: np.ndarray, documents: np.ndarray, precision: str, config: EvaluateConfig, ranges: dict[str, Range]
) -> tuple[np.ndarray, np.ndarray]:
    """Both sides as float32 values of their codes. Dot products of ±1 order documents as Hamming distance does."""
    query_precision, document_precision = sides(precision)
    query_range = ranges.get(query_precision)
    if query_range is not None and config.ranges == "per_call":
        query_range = _fitted(queries, config)
    return (
        _values(queries, query_precision, query_range),
        _values(documents, document_precision, ranges.get(document_precision)),
    )


def _fitted(embeddings: np.ndarray, config: EvaluateConfig) -> Range:
    if config.range_kind == "fixed":
        return FixedRange(config.range_limit)
    return RANGE_KINDS[config.range_kind]().fit(embeddings)


def _values(embeddings: np.ndarray, precision: str, ranges: Range | None) -> np.ndarray:
    codes = quantize_embeddings(embeddings, precision, ranges)
    values: np.ndarray = dequantize_embeddings(codes, precision, ranges, dim=embeddings.shape[1])
    return values
