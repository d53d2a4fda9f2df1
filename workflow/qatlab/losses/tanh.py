"""Tanh activation of embeddings, with a fixed grid of int8 that needs no calibration (pplx-embed, arXiv 2602.11151).

The model's last modules compute z = t / ‖t‖ with t = tanh(√d · x / ‖x‖), for embeddings x of d dimensions. The factor √d / ‖x‖ brings
the components of x to a root mean square of 1, where tanh bends; without it, the components of a normalized embedding are about
d ** −0.5, where tanh is the identity. The sign of each component is kept, so the bits of z are those of x.

pplx-embed stores the int8 codes round(127 · tanh(x)) of embeddings that are not normalized, and trains with the codes in every step and
the straight-through gradient of tanh. Here embeddings are scaled to length 1 before they are stored, as everywhere where similarities
are cosines. The codes are therefore round(127 · c · z), where c = √(d · E[tanh²(g)]) is the length that t has for normally
distributed components g. They are the codes of pplx-embed with each row multiplied by c / ‖t‖, which is within a few percent of 1 in
hundreds of dimensions; cosine similarities do not change by it except for the rounding.
"""

from typing import Any

import numpy as np
import torch
from torch import nn

from qatlab.losses.ranges import ends_in_unit_length
from qatlab.quantization.ranges import GivenRange, Range

MEAN_SQUARE = 0.39429449  # E[tanh²(g)] for a standard normal g
LARGEST = 127  # largest code; −128 is not used by values within ±1 of t


def append_tanh(model: nn.Sequential) -> None:
    """Append z = t / ‖t‖, t = tanh(√d · x / ‖x‖), to a Sentence Transformer as ordinary modules without trained parameters.

    They are a `Dense` module with tanh, whose weight is √d times the identity, between two `Normalize` modules; the first is not
    appended where the model already ends in one. A model that ends in these modules does not change.

    Raises:
        ValueError: For a model that does not report the number of dimensions of its embeddings.
    """
    from sentence_transformers.sentence_transformer.modules import Dense, Normalize

    dim: int | None = getattr(model, "get_embedding_dimension", lambda: None)()
    if dim is None:
        raise ValueError("the tanh activation needs a model that reports the number of dimensions of its embeddings")
    if ends_in_tanh(model):
        return
    weight = dim**0.5 * torch.eye(dim)
    dense = Dense(dim, dim, bias=False, activation_function=nn.Tanh(), init_weight=weight).requires_grad_(False)
    first = [] if ends_in_unit_length(model) else [Normalize()]
    device = next(iter(model.parameters())).device
    for module in (*first, dense, Normalize()):
        model.append(module.to(device))


def ends_in_tanh(model: nn.Module) -> bool:
    """Return whether the last modules of a Sentence Transformer are those that `append_tanh` appends."""
    last: list[Any] = list(model.children())[-2:]
    if [type(module).__name__ for module in last] != ["Dense", "Normalize"]:
        return False
    weight = last[0].linear.weight
    scaled_identity = len(weight) ** 0.5 * torch.eye(*weight.shape, device=weight.device)
    is_tanh = isinstance(last[0].activation_function, nn.Tanh) and last[0].linear.bias is None
    return is_tanh and torch.allclose(weight.float(), scaled_identity)


def tanh_range(dim: int) -> Range:
    """Return the range of int8 and uint8 for embeddings that end in the tanh activation.

    With it, the int8 codes of `quantize_embeddings` are ⌊127 · c · z + ½⌋, clipped to −128 … 127, and decode to code / (127 · c), where
    c = √(MEAN_SQUARE · dim).

    Args:
        dim: Number of dimensions of the embeddings.

    Returns:
        A fitted range of `dim` equal minima and maxima, in NumPy.
    """
    step = 1 / (LARGEST * (MEAN_SQUARE * dim) ** 0.5)
    # The grid has 255 steps between minimum and maximum; a code decodes to the middle of its cell.
    low, high = (np.full(dim, (code - 0.5) * step, dtype=np.float32) for code in (-128, LARGEST))
    return GivenRange(low, high)
