"""Diagnostics of a loss: how strongly each precision pulls at the embeddings, and whether it pulls the way the float term does."""

import logging
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from qatlab.log_columns import GRADIENT_COSINE, GRADIENT_RATIO
from qatlab.machine.processes import mean

WEAK = 0.1  # a ratio below it is warned of
EVERY = 10  # steps

logger = logging.getLogger(__name__)


class GradientsAtEmbeddings:
    """Compares each precision's gradient at the embeddings with that of the float term, before weights.

    A ratio of norms far below 1 says that a precision hardly trains the model, whatever its weight in the loss; a cosine near
    1, that it asks for what the float term asks for anyway. Both take a backward pass through the wrapped loss, none through
    the model.

    Args:
        every: steps from one comparison to the next; 0 for none.

    Attributes:
        latest: by the name in logs, `gradient_ratio_<precision>` and `gradient_cosine_<precision>` of the last comparison.
    """

    def __init__(self, every: int = EVERY) -> None:
        if every < 0:
            raise ValueError(f"diagnose_every must be ≥ 0, not {every}")
        self.every = every
        self.latest: dict[str, float] = {}
        self.seen = 0
        self._warned: set[str] = set()

    def due(self, step: int | None) -> bool:
        """Whether to compare now. Without a step, passes are counted."""
        now = self.seen if step is None else step
        self.seen += 1
        return self.every > 0 and now % self.every == 0

    def compare(self, gradients: dict[str, Tensor], reference: Tensor, remedy: str) -> dict[str, float]:
        """Return ratios and cosines by their names in logs, over all processes; warn once of each that is weak.

        Args:
            gradients: by precision, of its loss at all values of all columns, (n,).
            reference: of the float term's loss, (n,).
            remedy: what to do about a weak one.
        """
        sums = {"reference": reference.square().sum()}
        for name, gradient in gradients.items():
            sums[f"own {name}"] = gradient.square().sum()
            sums[f"both {name}"] = (gradient * reference).sum()
        found = {key: float(value) for key, value in mean(sums).items()}
        length, compared = math.sqrt(found["reference"]), {}
        for name in gradients:
            own = math.sqrt(found[f"own {name}"])
            compared[GRADIENT_RATIO + name] = own / length if length > 0 else math.nan
            compared[GRADIENT_COSINE + name] = found[f"both {name}"] / (own * length) if own * length > 0 else math.nan
            if compared[GRADIENT_RATIO + name] < WEAK and name not in self._warned:
                self._warned.add(name)
                logger.warning(
                    "the gradient of %s at the embeddings is %.2g of the float term's, so training for it changes little; %s",
                    *(name, compared[GRADIENT_RATIO + name], remedy),
                )
        self.latest.update(compared)
        return compared


def flattened(gradients: Sequence[Tensor | None], like: Sequence[Tensor]) -> Tensor:
    """Return gradients of several tensors as one float32 vector; zeros where there is none."""
    parts = [
        torch.zeros_like(tensor) if gradient is None else gradient
        for gradient, tensor in zip(gradients, like, strict=True)
    ]
    return torch.cat([part.detach().float().flatten() for part in parts])


def gradients_of(leaves: list[list[Tensor]]) -> list[Tensor]:
    """Return the gradients that a loss left on columns of mini-batches, a tensor (n, dim) per column."""
    return [
        torch.cat([torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in column]) for column in leaves
    ]


def at_embeddings(columns: list[Tensor], leaves: list[list[Tensor]], reps: list[list[Tensor]]) -> Tensor:
    """Return the gradient at the embeddings `reps` of a loss that left its gradients on `leaves`, cut from `columns`."""
    targets = [rep for column in reps for rep in column]
    found = torch.autograd.grad(columns, targets, gradients_of(leaves), retain_graph=True, allow_unused=True)
    return flattened(found, targets)


def mini_batches(column: Tensor, like: list[Tensor], detached: bool) -> list[Tensor]:
    """Return a column cut as another is; as leaves that collect gradients if `detached`."""
    chunks = column.split([len(mini_batch) for mini_batch in like])
    return [chunk.detach().requires_grad_() for chunk in chunks] if detached else list(chunks)
