"""The names of the grids, and what a grid costs."""

import math
from collections.abc import Sequence

# Bits that a dimension takes.
BITS = {
    "float32": 32,
    "float16": 16,
    "bfloat16": 16,
    "float8_e4m3": 8,
    "int8": 8,
    "uint8": 8,
    "int4": 4,
    "int2": 2,
    "int2_quantile": 2,
    "ternary": 1.6,
    "binary": 1,
    "ubinary": 1,
}
PRECISIONS = tuple(BITS)
UNIFORM = ("int8", "uint8", "int4", "int2")  # equal cells between a minimum and a maximum
QUANTILE = ("int2_quantile", "ternary")  # cells between quantiles, which hold equally many values each
RANGED = (*UNIFORM, *QUANTILE)  # need a fitted range
COARSE = ("int2", *QUANTILE)  # so few cells that the decoded values' length is not the embedding's
CELLS = {"int8": 256, "uint8": 256, "int4": 16, "int2": 4, "int2_quantile": 4, "ternary": 3}
# int8 and uint8 as in sentence-transformers: 255 steps, so that only the maximum itself reaches the last cell.
STEPS = {"int8": 255, "uint8": 255, "int4": 16, "int2": 4}
LARGEST = {"float16": 65504.0, "bfloat16": 3.3895313892515355e38, "float8_e4m3": 448.0}
# Dimensions that share a byte, where several do. ternary: 3 ** 5 = 243 combinations fit.
PER_BYTE = {"int4": 2, "int2": 4, "int2_quantile": 4, "ternary": 5, "binary": 8, "ubinary": 8}
PADDED = ("ternary", "binary", "ubinary")  # the last byte may hold fewer dimensions
PAIR = "_x_"
SLOPE_OF_BITS = (2 / math.pi) ** 0.5  # of a similarity, for each of its two sides that is rounded to bits


def check_precision(precision: str) -> None:
    """Raises ValueError for a precision that is no grid of ours."""
    if precision not in PRECISIONS:
        raise ValueError(f"unknown precision '{precision}'; valid: {', '.join(PRECISIONS)}")


def is_binary(precision: str) -> bool:
    """Whether it is one bit a dimension."""
    return precision in ("binary", "ubinary")


def sides(name: str) -> tuple[str, str]:
    """(query precision, document precision): 'int8' → both int8, 'float32_x_binary' → float32 queries, binary documents."""
    query, pair, document = name.partition(PAIR)
    for precision in (query, document) if pair else (query,):
        check_precision(precision)
    return query, document if pair else query


def check_dimension(precision: str, dim: int) -> None:
    """Raises ValueError where a grid cannot hold embeddings of this dimension."""
    together = PER_BYTE.get(precision, 1)
    if precision in PADDED or dim % together == 0:
        return
    fitting = dim - dim % together
    others = "int8" if precision == "int4" or dim % PER_BYTE["int4"] else "int4 or int8"
    raise ValueError(
        f"{precision} packs {'two' if together == 2 else 'four'} dimensions into a byte, so {dim} dimensions don't fit; "
        f"{f'truncate to {fitting} or ' if fitting else ''}use {others}"
    )


def bytes_per_embedding(precision: str, dim: int) -> int:
    """Bytes that one embedding of `dim` dimensions takes, ranges not counted."""
    if precision in PER_BYTE:
        return -(-dim // PER_BYTE[precision])
    return int(BITS[precision]) // 8 * dim


def similarity_slope(query: str, document: str) -> float:
    """Return how much of a small difference of cosine similarity is left between two precisions: 2/π for bits against bits.

    √(2/π) for each side that is rounded to bits, exact for embeddings spread evenly over all directions (Charikar 2002,
    "Similarity estimation techniques from rounding algorithms", STOC); 1 for others.
    """
    return SLOPE_OF_BITS ** sum(map(is_binary, (query, document)))


def named_sides(precisions: Sequence[str | tuple[str, str]]) -> dict[str, tuple[str, str]]:
    """Return the grids of queries and documents by the name of each precision.

    Raises:
        ValueError: for no, repeated or unknown precisions.
    """
    if isinstance(precisions, str) or not precisions:
        raise ValueError("precisions must be a list with at least one, e.g. ['float32', 'int8']")
    found: dict[str, tuple[str, str]] = {}
    for precision in precisions:
        query, document = sides(precision if isinstance(precision, str) else PAIR.join(precision))
        name = query if query == document else f"{query}{PAIR}{document}"
        if name in found:
            raise ValueError(f"precisions lists one twice: {list(precisions)}")
        found[name] = (query, document)
    return found
