"""Gradient of distances between equal embeddings, which the bits of different texts can be."""

from typing import Any

import torch
from torch import Tensor


def guard_zero_distances(value: Tensor, columns: list[Tensor]) -> None:
    """Set the gradient of the distance between two equal embeddings to 0, and leave all other gradients unchanged.

    Different texts can share all bits. The square root of a Euclidean distance of 0 then has the gradient 0 / 0, which is NaN and
    would spread to all other gradients of the same texts.

    Args:
        value: The loss, before its backward pass.
        columns: The embeddings that it was computed from; the graph is not followed beyond them.
    """
    boundary = {column.grad_fn for column in columns}
    seen, pending = set(boundary), [value.grad_fn]
    while pending:
        node = pending.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if node.name().startswith("SqrtBackward"):
            node.register_hook(_zero_for_undefined)
        pending.extend(previous for previous, _ in node.next_functions)


def _zero_for_undefined(gradients: tuple[Any, ...], upstream: tuple[Any, ...]) -> tuple[Tensor]:
    """Replace the gradient of a square root by 0 where it is infinite or NaN although the upstream gradient is finite."""
    (gradient,), (above,) = gradients, upstream
    return (torch.where(above.isfinite() & ~gradient.isfinite(), 0.0, gradient),)
