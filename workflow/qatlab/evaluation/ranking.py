"""Scores at one output: the best documents of each query in a defined order, or those of given pairs of embeddings."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from qatlab.config.evaluate import EvaluateConfig, RescoringStep
from qatlab.evaluation.axes import OnAxes, fitted_quantiles, fitted_range, unit_length
from qatlab.evaluation.outputs import Output
from qatlab.evaluation.search import (
    NOT_TIMED,
    NOTHING,
    Timed,
    best_by_hamming,
    best_by_product,
    best_by_rabitq,
    best_by_scalar_quantizer,
    best_near_bits,
    best_near_values,
    products,
)
from qatlab.quantization.grids import dequantize_embeddings, integer_codes, quantize_embeddings
from qatlab.quantization.precisions import COARSE, QUANTILE, RANGED
from qatlab.quantization.ranges import Range

DOCUMENTS_AT_ONCE = 1 << 14  # documents that are rescored at once


@dataclass(frozen=True)
class SideRanges:
    """Ranges of integer grids by precision, for queries and for documents."""

    queries: dict[str, Range] = field(default_factory=dict)
    documents: dict[str, Range] = field(default_factory=dict)


def side_ranges(
    outputs: list[Output],
    queries: OnAxes,
    documents: OnAxes,
    config: EvaluateConfig,
    trained: dict[str, Range],
    training: OnAxes | None = None,
) -> dict[str, SideRanges]:
    """Fit the ranges that outputs need.

    Args:
        outputs: Outputs on the same axes.
        queries: Query embeddings on these axes.
        documents: Document embeddings on these axes.
        config: The kind of ranges, for cells of equal width.
        trained: Ranges saved with the model, by precision.
        training: Embeddings of training documents on these axes, for ranges that are fitted on them.

    Returns:
        Ranges by their calibration set: corpus, per_call, training or model.

    Raises:
        ValueError: If an output needs a range saved with the model, and the model has none for its precision.
    """
    needed: dict[str, dict[str, None]] = {}
    for output in outputs:
        if output.ranges:
            used = [output.query, output.document, *(step.documents for step in output.rescoring)]
            needed.setdefault(output.ranges, {}).update(dict.fromkeys(p for p in used if p in RANGED))
    ranges = {}
    for kind, precisions in needed.items():
        if kind == "model":
            own = {precision: _own(trained, precision) for precision in precisions}
            ranges[kind] = SideRanges(own, own)
        else:
            fitted_on = documents if kind != "training" else training
            assert fitted_on is not None
            document_ranges = _fitted(precisions, fitted_on, config)
            query_ranges = _fitted(precisions, queries, config) if kind == "per_call" else document_ranges
            ranges[kind] = SideRanges(query_ranges, document_ranges)
    return ranges


def rank(
    queries: OnAxes,
    documents: OnAxes,
    output: Output,
    ranges: SideRanges,
    depth: int,
    seed: int = 0,
    watch: Timed = NOT_TIMED,
) -> np.ndarray:
    """Return the positions of the `depth` best documents of each query, best first; ties keep the order of documents.

    Args:
        queries: Query embeddings on the axes of the output.
        documents: Document embeddings on the same axes.
        output: The output, which determines how embeddings are stored and compared.
        ranges: Ranges of integer grids.
        depth: Number of documents to return per query.
        seed: Random seed of RaBitQ's rotation.
        watch: Context that times the work per query: rotating and quantizing queries, comparing them with documents, and ordering
            documents. It excludes quantizing, packing and decoding documents, which a deployment does once.

    Returns:
        (q, min(depth, d)) int64, NOTHING where an approximate index found fewer documents.
    """
    first = max([depth, *(step.candidates for step in output.rescoring)])
    with watch:
        all_queries = queries[:]
    best = _search(all_queries, documents, output, ranges, min(first, len(documents)), seed, watch)
    for step in output.rescoring:
        best = _rescored(all_queries, documents, best, step, ranges, watch)
    return best[:, : min(depth, len(documents))]


def _search(
    queries: np.ndarray, documents: OnAxes, output: Output, ranges: SideRanges, depth: int, seed: int, watch: Timed
) -> np.ndarray:
    if output.scoring == "hamming":
        bits = np.concatenate([_packed_bits(block) for block in documents.blocks()])
        with watch:
            query_bits = _packed_bits(queries)
        if output.index.kind != "flat":
            return best_near_bits(query_bits, bits, depth, output.index, watch)
        return best_by_hamming(query_bits, bits, depth, watch)
    blocks = partial(_block, documents)
    if output.scoring == "scalar_quantizer":
        return best_by_scalar_quantizer(queries, blocks, len(documents), depth, output.document, watch)
    if output.scoring == "rabitq":
        return best_by_rabitq(queries, blocks, len(documents), depth, seed, watch)
    if output.scoring == "bbq":
        return best_by_rabitq(queries, blocks, len(documents), depth, None, watch, query_bits=4)
    convert = codes if output.scoring == "codes" else partial(values, unit=documents.unit)
    with watch:
        query_values = convert(queries, output.query, ranges.queries)
    stored = partial(_block, documents, convert=partial(convert, precision=output.document, ranges=ranges.documents))
    if output.index.kind != "flat":
        return best_near_values(query_values, stored, len(documents), depth, output.index, watch)
    return best_by_product(query_values, stored, len(documents), depth, watch)


def _rescored(
    queries: np.ndarray, documents: OnAxes, best: np.ndarray, step: RescoringStep, ranges: SideRanges, watch: Timed
) -> np.ndarray:
    """Sort the first candidates by their products with float32 queries; the others follow in their previous order.

    Args:
        queries: (q, dim) float32.
        documents: Document embeddings on the same axes.
        best: (q, depth) positions of documents, best first.
        step: The number of candidates and the precision of their documents.
        ranges: Ranges of integer grids.
        watch: Context that times the work per query.
    """
    candidates = best[:, : step.candidates]
    scores = np.empty(candidates.shape)
    at_once = max(1, DOCUMENTS_AT_ONCE // candidates.shape[1])
    for row in (slice(first, first + at_once) for first in range(0, len(queries), at_once)):
        chosen = values(documents[candidates[row].ravel()], step.documents, ranges.documents, documents.unit)
        with watch:
            scores[row] = products(queries[row], chosen.reshape(*candidates[row].shape, -1))
    with watch:
        scores[candidates == NOTHING] = -np.inf
        order = np.lexsort((candidates, -scores), axis=1)
        return np.hstack([np.take_along_axis(candidates, order, axis=1), best[:, step.candidates :]])


def values(embeddings: np.ndarray, precision: str, ranges: dict[str, Range], unit: bool = False) -> np.ndarray:
    """Quantize embeddings and decode their codes.

    Args:
        embeddings: (n, dim) float32.
        precision: The precision of the codes.
        ranges: Ranges by precision.
        unit: Whether the similarity is cosine. Decoded values of COARSE grids, whose lengths vary between embeddings by much
            more than rounding errors, are then scaled to unit length; the length is computed from the codes and needs no storage.

    Returns:
        (n, dim) float32.
    """
    if precision == "float32":
        return embeddings
    packed = quantize_embeddings(embeddings, precision, ranges.get(precision))
    decoded: np.ndarray = dequantize_embeddings(packed, precision, ranges.get(precision), dim=embeddings.shape[1])
    return unit_length(decoded) if unit and precision in COARSE else decoded


def codes(embeddings: np.ndarray, precision: str, ranges: dict[str, Range]) -> np.ndarray:
    """Quantize embeddings to integer codes, which start at −128 (int8), −8 (int4), −2 (int2), −1 (ternary) or 0 (uint8).

    Args:
        embeddings: (n, dim) float32.
        precision: The precision of the codes.
        ranges: Ranges by precision.

    Returns:
        (n, dim) float32.
    """
    packed = quantize_embeddings(embeddings, precision, ranges.get(precision))
    numbers: np.ndarray = integer_codes(packed, precision, embeddings.shape[1]).astype(np.float32)
    return numbers


def _block(
    documents: OnAxes, first: int, last: int, convert: Callable[[np.ndarray], np.ndarray] = np.asarray
) -> np.ndarray:
    return convert(documents[first:last])


def _packed_bits(embeddings: np.ndarray) -> np.ndarray:
    bits: np.ndarray = quantize_embeddings(embeddings, "ubinary")
    return bits


def _fitted(precisions: Iterable[str], embeddings: OnAxes, config: EvaluateConfig) -> dict[str, Range]:
    """Fit a range for each precision: one of the configured kind for all equal cells, and quantiles for all others."""
    between = [precision for precision in precisions if precision in QUANTILE]
    equal = [precision for precision in precisions if precision not in QUANTILE]
    ranges: dict[str, Range] = dict.fromkeys(equal, fitted_range(embeddings, config)) if equal else {}
    return ranges | (dict.fromkeys(between, fitted_quantiles(embeddings)) if between else {})


def _own(trained: dict[str, Range], precision: str) -> Range:
    if precision not in trained:
        available = ", ".join(trained) or "none"
        raise ValueError(f"the model has no range of its own for {precision}, only for {available}; set ranges: corpus")
    return trained[precision]


PAIRS_AT_ONCE = 1 << 14


def pair_scores(
    queries: OnAxes, documents: OnAxes, rows: np.ndarray, columns: np.ndarray, output: Output, ranges: SideRanges
) -> tuple[np.ndarray, np.ndarray]:
    """Score the pairs of a query and a document that are given by their positions.

    Args:
        queries: Query embeddings on the axes of the output.
        documents: Document embeddings on the same axes.
        rows: (n,) int, the position of the query of each pair.
        columns: (n,) int, the position of the document of each pair.
        output: The output, which determines how embeddings are stored and compared.
        ranges: Ranges of integer grids.

    Returns:
        The score by which a search would rank each pair (inner product of the stored embeddings), and its cosine similarity, (n,)
        float64 each. Bits count as ±1, so that both scores decrease with the Hamming distance.
    """
    convert = codes if output.scoring == "codes" else partial(values, unit=documents.unit)
    products, similarities = np.empty(len(rows)), np.empty(len(rows))
    for first in range(0, len(rows), PAIRS_AT_ONCE):
        block = slice(first, first + PAIRS_AT_ONCE)
        query = convert(queries[rows[block]], output.query, ranges.queries).astype(np.float64)
        document = convert(documents[columns[block]], output.document, ranges.documents).astype(np.float64)
        products[block] = np.einsum("nd,nd->n", query, document)
        lengths = np.linalg.norm(query, axis=1) * np.linalg.norm(document, axis=1)
        similarities[block] = products[block] / np.where(lengths > 0, lengths, 1)
    return products, similarities
