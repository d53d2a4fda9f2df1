"""The names of the grids, and what a grid costs."""

import math

# Bits that a dimension takes.
BITS = {
    "float32": 32,
    "float16": 16,
    "bfloat16": 16,
    "float8_e4m3": 8,
    "int8": 8,
    "uint8": 8,
    "int4": 4,
    "binary": 1,
    "ubinary": 1,
}
PRECISIONS = tuple(BITS)
RANGED = ("int8", "uint8", "int4")  # integer grids, laid over a range
CELLS = {"int8": 256, "uint8": 256, "int4": 16}
# int8 and uint8 as in sentence-transformers: 255 steps, so that only the maximum itself reaches the last cell.
STEPS = {"int8": 255, "uint8": 255, "int4": 16}
LARGEST = {"float16": 65504.0, "bfloat16": 3.3895313892515355e38, "float8_e4m3": 448.0}
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
    if precision == "int4" and dim % 2:
        raise ValueError(
            f"int4 packs two dimensions into a byte, so {dim} dimensions don't fit; truncate to {dim - 1} or use int8"
        )


def bytes_per_embedding(precision: str, dim: int) -> int:
    """Bytes that one embedding of `dim` dimensions takes, ranges not counted."""
    return (BITS[precision] * dim + 7) // 8


def similarity_slope(query: str, document: str) -> float:
    """Return how much of a small difference of cosine similarity is left between two precisions: 2/π for bits against bits.

    √(2/π) for each side that is rounded to bits, exact for embeddings spread evenly over all directions (Charikar 2002,
    "Similarity estimation techniques from rounding algorithms", STOC); 1 for others.
    """
    return SLOPE_OF_BITS ** sum(map(is_binary, (query, document)))
