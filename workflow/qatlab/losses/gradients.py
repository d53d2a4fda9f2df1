"""Gradients at the embeddings: their norm for each precision, and their cosine to the gradient of the float term."""

import logging
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from qatlab.machine.processes import mean
from qatlab.quantization.precisions import GRADIENT_COSINE, GRADIENT_RATIO

WEAK = 0.1  # a ratio of norms below it causes a warning
EVERY = 10  # default number of steps between two comparisons

logger = logging.getLogger(__name__)


class GradientsAtEmbeddings:
    """Comparison of each precision's gradient at the embeddings with that of the float term, before weights.

    A ratio of norms far below 1 means that a precision hardly trains the model. A cosine near 1 means that its gradient has the
    direction of the float term's. Both need a backward pass through the wrapped loss, but none through the model.

    Args:
        every: Number of steps between two comparisons; 0 disables them.

    Attributes:
        latest: Values of the last comparison by their names in logs, `gradient_ratio_<precision>` and
            `gradient_cosine_<precision>`.

    Raises:
        ValueError: If `every` is negative.
    """

    def __init__(self, every: int = EVERY) -> None:
        if every < 0:
            raise ValueError(f"diagnose_every must be ≥ 0, not {every}")
        self.every = every
        self.latest: dict[str, float] = {}
        self.seen = 0
        self._warned: set[str] = set()

    def due(self, step: int | None) -> bool:
        """Return whether gradients are compared at a step; without a step, forward passes are counted."""
        now = self.seen if step is None else step
        self.seen += 1
        return self.every > 0 and now % self.every == 0

    def of_losses(self, values: dict[str, Tensor], embeddings: list[Tensor]) -> dict[str, Tensor]:
        """Return the gradient of each loss with respect to all values of all columns, (n,), by name; graphs are retained."""
        return {
            name: flattened(torch.autograd.grad(value, embeddings, retain_graph=True, allow_unused=True), embeddings)
            for name, value in values.items()
        }

    def compare(self, gradients: dict[str, Tensor], reference: Tensor, published: bool = False) -> dict[str, float]:
        """Compare gradients over all processes; log a warning once for each precision whose ratio is below WEAK.

        Args:
            gradients: Gradient of each precision's loss with respect to all values of all columns, (n,), by precision.
            reference: Gradient of the float term's loss, (n,).
            published: Whether the loss is a published variant, whose gradients of bits are weak by design.

        Returns:
            Ratios and cosines by their names in logs.
        """
        sums = {"reference": reference.square().sum()}
        for name, gradient in gradients.items():
            sums[f"own {name}"] = gradient.square().sum()
            sums[f"both {name}"] = (gradient * reference).sum()
        means = {key: float(value) for key, value in mean(sums).items()}
        length, compared = math.sqrt(means["reference"]), {}
        for name in gradients:
            own = math.sqrt(means[f"own {name}"])
            compared[GRADIENT_RATIO + name] = own / length if length > 0 else math.nan
            compared[GRADIENT_COSINE + name] = means[f"both {name}"] / (own * length) if own * length > 0 else math.nan
            if compared[GRADIENT_RATIO + name] < WEAK and name not in self._warned:
                self._warned.add(name)
                logger.warning(
                    "the gradient of %s at the embeddings is %.2g of the float term's, so training for it changes little; %s",
                    name,
                    compared[GRADIENT_RATIO + name],
                    "leave variant out" if published else "give it a larger weight or another scale",
                )
        self.latest.update(compared)
        return compared


def flattened(gradients: Sequence[Tensor | None], like: Sequence[Tensor]) -> Tensor:
    """Concatenate the gradients of several tensors to one float32 vector.

    Args:
        gradients: The gradient of each tensor; None counts as zeros.
        like: The tensors.
    """
    parts = [
        torch.zeros_like(tensor) if gradient is None else gradient
        for gradient, tensor in zip(gradients, like, strict=True)
    ]
    return torch.cat([part.detach().float().flatten() for part in parts])


def gradients_of(leaves: list[list[Tensor]]) -> list[Tensor]:
    """Return the gradients that a loss left on columns of mini-batches, one tensor (n, dim) per column."""
    return [
        torch.cat([torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in column]) for column in leaves
    ]


def at_embeddings(columns: list[Tensor], leaves: list[list[Tensor]], reps: list[list[Tensor]]) -> Tensor:
    """Return the gradient of a loss at the embeddings, as one vector.

    Args:
        columns: Quantized columns, computed from `reps`.
        leaves: Mini-batches cut from `columns`, on which the loss left its gradients.
        reps: Embeddings of the mini-batches of each text column.
    """
    targets = [rep for column in reps for rep in column]
    gradients = torch.autograd.grad(columns, targets, gradients_of(leaves), retain_graph=True, allow_unused=True)
    return flattened(gradients, targets)


def mini_batches(column: Tensor, like: list[Tensor], detached: bool) -> list[Tensor]:
    """Cut a column into mini-batches.

    Args:
        column: (n, dim).
        like: Mini-batches whose sizes are used.
        detached: Whether to return leaves that collect gradients.
    """
    chunks = column.split([len(mini_batch) for mini_batch in like])
    return [chunk.detach().requires_grad_() for chunk in chunks] if detached else list(chunks)


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
