"""The best documents of each query at one output, in a defined order."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from qatlab.config.evaluate import EvaluateConfig, RescoringStep
from qatlab.evaluation.approximate_search import best_by_scalar_quantizer, best_near_bits, best_near_values
from qatlab.evaluation.axes import OnAxes, fitted_quantiles, fitted_range, unit_length
from qatlab.evaluation.outputs import Output
from qatlab.evaluation.search import NOTHING, Timed, best_by_hamming, best_by_product, best_by_rabitq, products
from qatlab.evaluation.stopwatch import NOT_TIMED
from qatlab.quantization.grids import dequantize_embeddings, integer_codes, quantize_embeddings
from qatlab.quantization.precisions import COARSE, QUANTILE, RANGED
from qatlab.quantization.ranges import Range

DOCUMENTS_AT_ONCE = 1 << 14  # that are compared anew


@dataclass(frozen=True)
class SideRanges:
    """What integer grids are laid over, by precision, on either side."""

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
    """The ranges that outputs need, by what they are fitted on: corpus, per_call, training or model.

    Args:
        outputs: on the same axes.
        queries, documents: both sides on these axes.
        config: the kind of range, for equal cells.
        trained: the model's own, by precision.
        training: documents of the training data on these axes, for ranges of training.

    Raises:
        ValueError: where the model's own are asked for, and it has none for a precision.
    """
    needed: dict[str, dict[str, None]] = {}
    for output in outputs:
        if output.ranges:
            used = [output.query, output.document, *(step.documents for step in output.rescoring)]
            needed.setdefault(output.ranges, {}).update(dict.fromkeys(p for p in used if p in RANGED))
    found = {}
    for kind, precisions in needed.items():
        if kind == "model":
            own = {precision: _own(trained, precision) for precision in precisions}
            found[kind] = SideRanges(own, own)
        else:
            fitted_on = documents if kind != "training" else training
            assert fitted_on is not None
            of_documents = _fitted(precisions, fitted_on, config)
            of_queries = _fitted(precisions, queries, config) if kind == "per_call" else of_documents
            found[kind] = SideRanges(of_queries, of_documents)
    return found


def rank(
    queries: OnAxes,
    documents: OnAxes,
    output: Output,
    ranges: SideRanges,
    depth: int,
    seed: int = 0,
    watch: Timed = NOT_TIMED,
) -> np.ndarray:
    """Indices of the `depth` best documents of each query, best first; equal scores keep the documents' order.

    Args:
        queries, documents: both sides on the output's axes.
        output: how they are stored and compared.
        ranges: what integer grids are laid over.
        seed: of RaBitQ's rotation.
        watch: times what queries cost: turning and quantizing them, comparing them with documents, and ordering these. Documents
            are ready by then: quantizing and packing them, and bringing their codes into the form that is compared, are left out.

    Returns:
        (q, min(depth, d)) int64, NOTHING where an approximate index found fewer.
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
            of_query = _packed_bits(queries)
        if output.index.kind != "flat":
            return best_near_bits(of_query, bits, depth, output.index, watch)
        return best_by_hamming(of_query, bits, depth, watch)
    blocks = partial(_block, documents)
    if output.scoring == "scalar_quantizer":
        return best_by_scalar_quantizer(queries, blocks, len(documents), depth, output.document, watch)
    if output.scoring == "rabitq":
        return best_by_rabitq(queries, blocks, len(documents), depth, seed, watch)
    convert = codes if output.scoring == "codes" else partial(values, unit=documents.unit)
    with watch:
        of_query = convert(queries, output.query, ranges.queries)
    stored = partial(_block, documents, convert=partial(convert, precision=output.document, ranges=ranges.documents))
    if output.index.kind != "flat":
        return best_near_values(of_query, stored, len(documents), depth, output.index, watch)
    return best_by_product(of_query, stored, len(documents), depth, watch)


def _rescored(
    queries: np.ndarray, documents: OnAxes, best: np.ndarray, step: RescoringStep, ranges: SideRanges, watch: Timed
) -> np.ndarray:
    """The first candidates in the order of their products with float32 queries, the others behind them as they were."""
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
    """(n, dim) float32: what the codes of embeddings stand for.

    Args:
        unit: whether similarity is cosine. Values of COARSE grids, whose lengths differ from one embedding to the next by much
            more than rounding, are then scaled to unit length; it is computed from the codes and takes no byte.
    """
    if precision == "float32":
        return embeddings
    made = quantize_embeddings(embeddings, precision, ranges.get(precision))
    found: np.ndarray = dequantize_embeddings(made, precision, ranges.get(precision), dim=embeddings.shape[1])
    return unit_length(found) if unit and precision in COARSE else found


def codes(embeddings: np.ndarray, precision: str, ranges: dict[str, Range]) -> np.ndarray:
    """(n, dim) float32: the codes themselves, from −128 (int8), −8 (int4), −2 (int2), −1 (ternary) or 0 (uint8)."""
    packed = quantize_embeddings(embeddings, precision, ranges.get(precision))
    found: np.ndarray = integer_codes(packed, precision, embeddings.shape[1]).astype(np.float32)
    return found


def _block(
    documents: OnAxes, first: int, last: int, convert: Callable[[np.ndarray], np.ndarray] = np.asarray
) -> np.ndarray:
    return convert(documents[first:last])


def _packed_bits(embeddings: np.ndarray) -> np.ndarray:
    bits: np.ndarray = quantize_embeddings(embeddings, "ubinary")
    return bits


def _fitted(precisions: Iterable[str], embeddings: OnAxes, config: EvaluateConfig) -> dict[str, Range]:
    """A range for each precision: one of the configured kind for all equal cells, and one of quantiles for all others."""
    between = [precision for precision in precisions if precision in QUANTILE]
    equal = [precision for precision in precisions if precision not in QUANTILE]
    found: dict[str, Range] = dict.fromkeys(equal, fitted_range(embeddings, config)) if equal else {}
    return found | (dict.fromkeys(between, fitted_quantiles(embeddings)) if between else {})


def _own(trained: dict[str, Range], precision: str) -> Range:
    if precision not in trained:
        known = ", ".join(trained) or "none"
        raise ValueError(f"the model has no range of its own for {precision}, only for {known}; use ranges: corpus")
    return trained[precision]
