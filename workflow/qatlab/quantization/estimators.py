"""Estimators of the gradient of rounding, whose own gradient is 0 almost everywhere; each is tested against its closed form.

**The gradient of bits is scaled by √d / ‖x‖.** The codes of an embedding x of d dimensions are ±1, a vector of length √d
for every length of x. A straight-through estimator that passes the gradient at the codes to x unchanged treats the codes
as a rounding of x itself, although they are a rounding of √d · x / ‖x‖, which has the direction of x and the length √d. The
derivative of √d · x / ‖x‖ along directions that change the direction of x is √d / ‖x‖. The gradient of a cosine similarity
decreases with the length of its argument. Without the factor, the gradient that reaches x is therefore ‖x‖ / √d of the
gradient that codes of the same length as x would give: a twentieth for an embedding of length 1 in 384 dimensions. With the
factor, the gradient of the bits at x has the scale of the float embedding's gradient, and decreases with ‖x‖ in the same
way, because the bits of 2x are those of x.

The factor is treated as a constant: the part of the derivative that shrinks x along itself is omitted, as straight-through
estimators omit everything that follows from the rounding. A row of zeros has no direction; its gradient is passed unchanged.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from qatlab.quantization.precisions import LARGEST, RANGED, UNIFORM, is_binary

SHORTEST = 1e-12  # torch.nn.functional.normalize replaces smaller lengths by this one


class _Attach(torch.autograd.Function):
    """Function that returns `on_grid`, bit by bit, and passes the gradient to `surrogate` unchanged."""

    @staticmethod
    def forward(ctx: Any, on_grid: Tensor, surrogate: Tensor) -> Tensor:
        return on_grid.view_as(on_grid)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor]:
        return None, gradients[0]


class _Scale(torch.autograd.Function):
    """Function that returns `values` unchanged, and multiplies their gradient by `factor`, (n, 1)."""

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
    """Return `on_grid` with the straight-through gradient of `values`, which for bits is scaled by √d / ‖x‖ of each row.

    Args:
        values: (n, dim) values before rounding.
        on_grid: (n, dim) rounded values.
        precision: The precision of `on_grid`.
        limit: A function of the values whose gradient is 0 where no gradient shall pass, such as a clamp; None passes the gradient
            everywhere.
    """
    surrogate = values if limit is None else limit(values)
    if is_binary(precision) and values.requires_grad:
        surrogate = _Scale.apply(surrogate, code_length_over_length(values))
    return attach(on_grid, surrogate)


def code_length_over_length(values: Tensor) -> Tensor:
    """Return √d / ‖x‖ of each row of (n, d) values, as (n, 1) without gradient; a row of zeros has 1."""
    lengths = torch.linalg.vector_norm(values.detach(), dim=1, keepdim=True)
    factor = values.shape[1] ** 0.5 / lengths.clamp_min(SHORTEST)
    return torch.where(lengths > 0, factor, 1.0)


@dataclass(frozen=True)
class Identity:
    """The straight-through estimator, whose gradient is 1 (Bengio et al. 2013, arXiv 1308.3432), or √d / ‖x‖ for bits."""

    anneals: ClassVar[bool] = False

    def at(self, step: int) -> "Identity":
        """Return this estimator, which is the same at every step."""
        return self

    def __call__(self, values: Tensor, on_grid: Tensor, precision: str, ranges: Any) -> Tensor:
        """Return `on_grid` with ∂/∂values = 1, or √d / ‖x‖ for bits."""
        return pass_through(values, on_grid, precision)


@dataclass(frozen=True)
class Clipped:
    """The straight-through estimator whose gradient is 0 outside the range (Courbariaux et al. 2016, arXiv 1602.02830).

    Between quantiles, the range is that between the fitted extremes.

    Args:
        limit: For bits, the gradient passes where |value| ≤ limit. Values of unit-length embeddings of many dimensions
            never exceed 1; a limit of a few times dim ** −0.5 takes effect.
    """

    limit: float = 1.0
    anneals: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not self.limit > 0:
            raise ValueError(f"clipped needs a limit above 0, not {self.limit}")

    def at(self, step: int) -> "Clipped":
        """Return this estimator, which is the same at every step."""
        return self

    def __call__(self, values: Tensor, on_grid: Tensor, precision: str, ranges: Any) -> Tensor:
        """Return `on_grid` with ∂/∂values = 1 (√d / ‖x‖ for bits) where low ≤ value ≤ high, and 0 elsewhere."""
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
    """The annealed tanh of BPR, which replaces the sign of binary in the forward and the backward pass.

    Bits become tanh(sharpness × value) with sharpness = √(gamma × step + 1) × scale, which approaches the sign as training
    proceeds (BPR: Yamada et al. 2021, arXiv 2106.00882, whose gamma is 0.1). Values are near the grid, not on it, until the
    sharpness is large. The function has a gradient of its own, which needs no factor. Other precisions use the straight-through
    estimator.

    Args:
        gamma: Rate at which the sharpness grows with the step.
        scale: Factor of the values; those of unit-length embeddings of d dimensions are of magnitude d ** −0.5.
        step: The optimizer step.
    """

    gamma: float = 0.1
    scale: float = 1.0
    step: int = 0

    def __post_init__(self) -> None:
        if self.gamma < 0 or not self.scale > 0:
            raise ValueError(f"tanh needs gamma ≥ 0 and scale above 0, not {self.gamma} and {self.scale}")

    @property
    def anneals(self) -> bool:
        """Return whether the estimator changes with the step."""
        return self.gamma > 0

    @property
    def sharpness(self) -> float:
        """Return √(gamma × step + 1) × scale."""
        return float((self.gamma * self.step + 1) ** 0.5 * self.scale)

    def at(self, step: int) -> "Tanh":
        """Return this estimator with the sharpness of an optimizer step."""
        return Tanh(self.gamma, self.scale, step)

    def __call__(self, values: Tensor, on_grid: Tensor, precision: str, ranges: Any) -> Tensor:
        """Return tanh(s·x) for bits, with ∂/∂values = s·(1 − tanh²(s·x))."""
        return torch.tanh(self.sharpness * values) if is_binary(precision) else pass_through(values, on_grid, precision)


@dataclass(frozen=True)
class LearnedStepSize:
    """LSQ, in which the step of the grid is a parameter that is trained with the model (Esser et al. 2020, arXiv 1902.08153).

    It requires a `LearnedStep` as the range. Precisions without a step (floats, bits, cells between quantiles) use the
    straight-through estimator, as with `Identity`.
    """

    anneals: ClassVar[bool] = False

    def at(self, step: int) -> "LearnedStepSize":
        """Return this estimator, which is the same at every step."""
        return self

    def __call__(self, values: Tensor, on_grid: Tensor, precision: str, ranges: Any) -> Tensor:
        """Return `on_grid` with ∂/∂values as in `Clipped`, and ∂/∂step as in `LearnedStep.surrogate`.

        Raises:
            ValueError: If `ranges` is not a `LearnedStep`.
        """
        if precision not in UNIFORM:
            return pass_through(values, on_grid, precision)
        if not hasattr(ranges, "surrogate"):
            raise ValueError(f"the estimator lsq learns a step, so {precision} needs ranges=LearnedStep(…)")
        return attach(on_grid, ranges.surrogate(values))


ESTIMATORS: dict[str, type] = {"identity": Identity, "clipped": Clipped, "tanh": Tanh, "lsq": LearnedStepSize}


def as_estimator(estimator: Any) -> Any:
    """Return the estimator of a name, or an estimator unchanged; raise ValueError for an unknown name."""
    if not isinstance(estimator, str):
        return estimator
    if estimator not in ESTIMATORS:
        raise ValueError(f"unknown estimator '{estimator}'; valid: {', '.join(ESTIMATORS)}")
    return ESTIMATORS[estimator]()
