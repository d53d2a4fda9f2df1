"""A gradient where two embeddings are equal, which bits of different texts can be."""

from typing import Any

import torch
from torch import Tensor


def guard_zero_distances(value: Tensor, columns: list[Tensor]) -> None:
    """Lets the distance of two equal embeddings count nothing in the gradient of a loss, and all else what it counts.

    Different texts can share all bits. The square root of a Euclidean distance of 0 then has the gradient 0 / 0, and one such
    pair would spoil everything that its texts take part in.

    Args:
        value: the loss, before its backward pass.
        columns: the embeddings that it was computed from; the graph is not followed beyond them.
    """
    beyond = {column.grad_fn for column in columns}
    seen, waiting = set(beyond), [value.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if node.name().startswith("SqrtBackward"):
            node.register_hook(_nothing_for_zero)
        waiting.extend(before for before, _ in node.next_functions)


def _nothing_for_zero(gradients: tuple[Any, ...], upstream: tuple[Any, ...]) -> tuple[Tensor]:
    """Of a square root: 0 where its own gradient is infinite or undefined, unless what comes from above already is."""
    (gradient,), (above,) = gradients, upstream
    return (torch.where(above.isfinite() & ~gradient.isfinite(), 0.0, gradient),)
