"""The names of the grids, what a grid costs, and what is common to the grids of NumPy and torch."""

import math
import sys
from collections.abc import Sequence
from typing import Any


def is_torch(value: Any) -> bool:
    """Return whether `value` is a torch tensor."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def on_host(array: Any) -> Any:
    """Copy a torch tensor to a NumPy array without gradient; return any other value unchanged."""
    return array.detach().cpu().numpy() if is_torch(array) else array


class NotFiniteError(ValueError):
    """Error for embeddings with NaN or infinity, which show that the model that computed them has diverged."""


# Bits per dimension.
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
UNIFORM = ("int8", "uint8", "int4", "int2")  # cells of equal width between a minimum and a maximum
QUANTILE = ("int2_quantile", "ternary")  # cells between quantiles, each with the same number of values
RANGED = (*UNIFORM, *QUANTILE)  # precisions that need a fitted range
COARSE = ("int2", *QUANTILE)  # so few cells that decoded values differ in length from the embedding
CELLS = {"int8": 256, "uint8": 256, "int4": 16, "int2": 4, "int2_quantile": 4, "ternary": 3}
# int8 and uint8 have 255 steps, as in sentence-transformers, so that only the maximum itself reaches the last cell.
STEPS = {"int8": 255, "uint8": 255, "int4": 16, "int2": 4}
LARGEST = {"float16": 65504.0, "bfloat16": 3.3895313892515355e38, "float8_e4m3": 448.0}
# Dimensions per byte, for precisions that pack several into one. Of ternary, 3 ** 5 = 243 combinations fit.
PER_BYTE = {"int4": 2, "int2": 4, "int2_quantile": 4, "ternary": 5, "binary": 8, "ubinary": 8}
PADDED = ("ternary", "binary", "ubinary")  # the last byte may hold fewer dimensions
PAIR = "_x_"
SLOPE_OF_BITS = (2 / math.pi) ** 0.5  # factor of a similarity's slope for each of its two sides that is rounded to bits


def check_precision(precision: str) -> None:
    """Raise ValueError for an unknown precision."""
    if precision not in PRECISIONS:
        raise ValueError(f"unknown precision '{precision}'; valid: {', '.join(PRECISIONS)}")


def is_binary(precision: str) -> bool:
    """Return whether a precision stores one bit per dimension."""
    return precision in ("binary", "ubinary")


def pair_name(query: str, document: str) -> str:
    """Return the name of the precisions of queries and documents, such as int8 or float32_x_binary; the inverse of `sides`."""
    return query if query == document else f"{query}{PAIR}{document}"


def sides(name: str) -> tuple[str, str]:
    """Split a precision into those of queries and documents: 'int8' into two int8, 'float32_x_binary' into float32 and binary.

    Returns:
        (query precision, document precision).

    Raises:
        ValueError: If one of them is unknown.
    """
    query, pair, document = name.partition(PAIR)
    for precision in (query, document) if pair else (query,):
        check_precision(precision)
    return query, document if pair else query


def check_dimension(precision: str, dim: int) -> None:
    """Raise ValueError if a precision cannot pack embeddings of `dim` dimensions into whole bytes."""
    per_byte = PER_BYTE.get(precision, 1)
    if precision in PADDED or dim % per_byte == 0:
        return
    fitting = dim - dim % per_byte
    others = "int8" if precision == "int4" or dim % PER_BYTE["int4"] else "int4 or int8"
    raise ValueError(
        f"{precision} packs {'two' if per_byte == 2 else 'four'} dimensions into a byte, so {dim} dimensions don't fit; "
        f"{f'truncate to {fitting} or ' if fitting else ''}use {others}"
    )


def bytes_per_embedding(precision: str, dim: int) -> int:
    """Return the number of bytes of one embedding of `dim` dimensions, without its ranges."""
    if precision in PER_BYTE:
        return -(-dim // PER_BYTE[precision])
    return int(BITS[precision]) // 8 * dim


def similarity_slope(query: str, document: str) -> float:
    """Return the slope of the quantized cosine similarity over the float one at small similarities: 2/π for bits with bits.

    The slope has a factor √(2/π) for each side that is rounded to bits, and 1 for others. It is exact for embeddings that are spread
    evenly over all directions (Charikar 2002, "Similarity estimation techniques from rounding algorithms", STOC).

    Args:
        query: Precision of the queries.
        document: Precision of the documents.
    """
    return SLOPE_OF_BITS ** sum(map(is_binary, (query, document)))


def named_sides(precisions: Sequence[str | tuple[str, str]]) -> dict[str, tuple[str, str]]:
    """Return the precisions of queries and documents by the name of their pair, such as int8 or float32_x_binary.

    Args:
        precisions: Names, or pairs of the precision of queries and the precision of documents.

    Raises:
        ValueError: For an empty list, an unknown precision, or an entry that is listed twice.
    """
    if isinstance(precisions, str) or not precisions:
        raise ValueError("precisions must be a list with at least one entry, e.g. ['float32', 'int8']")
    sides_by_name: dict[str, tuple[str, str]] = {}
    for precision in precisions:
        query, document = sides(precision if isinstance(precision, str) else PAIR.join(precision))
        name = pair_name(query, document)
        if name in sides_by_name:
            raise ValueError(f"precisions lists an entry twice: {list(precisions)}")
        sides_by_name[name] = (query, document)
    return sides_by_name


LOSS = "loss_"  # loss term of the precision, before it is weighted
FLOAT_TEACHER = "float_teacher"  # name, in place of a precision, of the weighted term of a float teacher
WEIGHT = "weight_"  # weight of the term
CHANGED = "changed_"  # share of embedding values that quantization changed
SCALE = "scale_"  # scale of similarities, if it is trained
GRADIENT_RATIO = (
    "gradient_ratio_"  # norm of the gradient at the embeddings over that of the float32 term, before weights
)
GRADIENT_COSINE = "gradient_cosine_"  # cosine between these two gradients
