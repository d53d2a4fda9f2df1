"""Estimators of the gradient of rounding, which has none of its own. Each is tested against its closed form.

**The gradient of bits is scaled by √d / ‖x‖.** The codes of an embedding x of d dimensions are ±1, a vector of length √d
whatever the length of x. A straight-through estimator that passes the gradient at the codes on to x unchanged takes the
codes for a step of x itself, although they are a step of √d · x / ‖x‖: of the direction of x, at length √d. The derivative
of √d · x / ‖x‖ along directions that change the direction of x is √d / ‖x‖. Without this factor the gradient that reaches x
under cosine similarity, which falls with the length of its argument, is ‖x‖ / √d of what codes as long as x would give: a
twentieth for an embedding of length 1 in 384 dimensions. With it, the bits' gradient at x is on the scale of the float
embedding's, and falls with ‖x‖ as that does, for the bits of 2x are those of x.

The factor is treated as a constant: the part of the derivative that shrinks x along itself is left out, as straight-through
estimators leave out whatever follows from the rounding. A row of zeros has no direction; its gradient is passed on unchanged.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from qatlab.quantization.precisions import LARGEST, RANGED, UNIFORM, is_binary

SHORTEST = 1e-12  # below it torch.nn.functional.normalize takes a length for this


class _Attach(torch.autograd.Function):
    """`on_grid` to the bit in the forward pass; its gradient goes to `surrogate` unchanged."""

    @staticmethod
    def forward(ctx: Any, on_grid: Tensor, surrogate: Tensor) -> Tensor:
        return on_grid.view_as(on_grid)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor]:
        return None, gradients[0]


class _Scale(torch.autograd.Function):
    """`values` as they are in the forward pass; their gradient times `factor`, (n, 1), in the backward pass."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, factor: Tensor) -> Tensor:
        ctx.save_for_backward(factor)
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (factor,) = ctx.saved_tensors
        return gradients[0] * factor, None


def attach(on_grid: Tensor, surrogate: Tensor) -> Tensor:
    """Return the values of `on_grid` with the gradient of `surrogate`, both (n, dim)."""
    result: Tensor = _Attach.apply(on_grid, surrogate)
    return result


def pass_through(values: Tensor, on_grid: Tensor, precision: str, limit: Any = None) -> Tensor:
    """Return `on_grid` with the straight-through gradient of `values`, both (n, dim): of bits, times √d / ‖x‖ of each row.

    Args:
        values: what was rounded.
        on_grid: what it was rounded to.
        precision: of `on_grid`.
        limit: a function from values to values whose gradient is 0 where none shall pass; None passes it everywhere.
    """
    surrogate = values if limit is None else limit(values)
    if is_binary(precision) and values.requires_grad:
        surrogate = _Scale.apply(surrogate, code_length_over_length(values))
    return attach(on_grid, surrogate)


def code_length_over_length(values: Tensor) -> Tensor:
    """Return √d / ‖x‖ of each row of (n, d) values, (n, 1) without gradient; 1 for a row of zeros."""
    lengths = torch.linalg.vector_norm(values.detach(), dim=1, keepdim=True)
    factor = values.shape[1] ** 0.5 / lengths.clamp_min(SHORTEST)
    return torch.where(lengths > 0, factor, 1.0)


@dataclass(frozen=True)
class Identity:
    """Straight-through: the gradient of the identity (Bengio et al. 2013, arXiv 1308.3432); of bits, times √d / ‖x‖."""

    anneals: ClassVar[bool] = False

    def at(self, step: int) -> "Identity":
        """The same at every step."""
        return self

    def __call__(self, values: Tensor, on_grid: Tensor, precision: str, ranges: Any) -> Tensor:
        """∂/∂values = 1; for bits, √d / ‖x‖."""
        return pass_through(values, on_grid, precision)


@dataclass(frozen=True)
class Clipped:
    """Straight-through inside the range, or the fitted extremes, and 0 outside (Courbariaux et al. 2016, arXiv 1602.02830).

    Args:
        limit: for bits, the gradient passes where |value| ≤ limit. Unit-length embeddings of many dimensions
            never leave 1; a limit of a few times dim ** −0.5 takes effect.
    """

    limit: float = 1.0
    anneals: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not self.limit > 0:
            raise ValueError(f"clipped needs a limit above 0, not {self.limit}")

    def at(self, step: int) -> "Clipped":
        """The same at every step."""
        return self

    def __call__(self, values: Tensor, on_grid: Tensor, precision: str, ranges: Any) -> Tensor:
        """∂/∂values = 1 (for bits, √d / ‖x‖) where low ≤ value ≤ high, else 0."""
        if precision in RANGED:
            low, high = (
                torch.as_tensor(bound, dtype=torch.float32, device=values.device).detach()
                for bound in ranges.bounds(values.shape[1])
            )
            return pass_through(values, on_grid, precision, lambda v: v.clamp(low, high))
        limit = self.limit if is_binary(precision) else LARGEST.get(precision)
        if limit is None:
            return pass_through(values, on_grid, precision)
        return pass_through(values, on_grid, precision, lambda v: v.clamp(-limit, limit))


@dataclass(frozen=True)
class Tanh:
    """For binary: tanh(sharpness × value) in place of the sign, forward and backward, sharper with every step.

    sharpness = √(gamma × step + 1), which tends to the sign (BPR: Yamada et al. 2021, arXiv 2106.00882, whose gamma
    is 0.1). Values are near the grid, not on it, until sharpness is large. It has a gradient of its own, which needs no
    factor. Other precisions pass straight through.

    Args:
        gamma: how fast it sharpens.
        scale: multiplies values first; unit-length embeddings of d dimensions are about d ** −0.5 in size.
    """

    gamma: float = 0.1
    scale: float = 1.0
    step: int = 0

    def __post_init__(self) -> None:
        if self.gamma < 0 or not self.scale > 0:
            raise ValueError(f"tanh needs gamma ≥ 0 and scale above 0, not {self.gamma} and {self.scale}")

    @property
    def anneals(self) -> bool:
        """Whether it changes with the step."""
        return self.gamma > 0

    @property
    def sharpness(self) -> float:
        """√(gamma × step + 1) × scale."""
        return float((self.gamma * self.step + 1) ** 0.5 * self.scale)

    def at(self, step: int) -> "Tanh":
        """As sharp as it is at an optimizer step."""
        return Tanh(self.gamma, self.scale, step)

    def __call__(self, values: Tensor, on_grid: Tensor, precision: str, ranges: Any) -> Tensor:
        """tanh(s·x), with ∂/∂values = s·(1 − tanh²(s·x))."""
        return torch.tanh(self.sharpness * values) if is_binary(precision) else pass_through(values, on_grid, precision)


@dataclass(frozen=True)
class LearnedStepSize:
    """LSQ: the grid's step is a parameter, trained with the model (Esser et al. 2020, arXiv 1902.08153).

    Needs a `LearnedStep` as the range; what has no step (floats, bits, cells between quantiles) passes straight through, as with
    `Identity`.
    """

    anneals: ClassVar[bool] = False

    def at(self, step: int) -> "LearnedStepSize":
        """The same at every step."""
        return self

    def __call__(self, values: Tensor, on_grid: Tensor, precision: str, ranges: Any) -> Tensor:
        """∂/∂values as clipped; ∂/∂step as in `LearnedStep.surrogate`."""
        if precision not in UNIFORM:
            return pass_through(values, on_grid, precision)
        if not hasattr(ranges, "surrogate"):
            raise ValueError(f"the estimator lsq learns a step, so {precision} needs ranges=LearnedStep(…)")
        return attach(on_grid, ranges.surrogate(values))


ESTIMATORS: dict[str, type] = {"identity": Identity, "clipped": Clipped, "tanh": Tanh, "lsq": LearnedStepSize}


def as_estimator(estimator: Any) -> Any:
    """An estimator by its name, or as it is; raises ValueError for an unknown name."""
    if not isinstance(estimator, str):
        return estimator
    if estimator not in ESTIMATORS:
        raise ValueError(f"unknown estimator '{estimator}'; valid: {', '.join(ESTIMATORS)}")
    return ESTIMATORS[estimator]()
