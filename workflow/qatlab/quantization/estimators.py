"""How a gradient passes the rounding of fake quantization. Each is tested against its closed form."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from qatlab.quantization.precisions import LARGEST, RANGED, UNIFORM, is_binary


class _Attach(torch.autograd.Function):
    """`on_grid` to the bit in the forward pass; its gradient goes to `surrogate` unchanged."""

    @staticmethod
    def forward(ctx: Any, on_grid: Tensor, surrogate: Tensor) -> Tensor:
        return on_grid.view_as(on_grid)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor]:
        return None, gradients[0]


def attach(on_grid: Tensor, surrogate: Tensor) -> Tensor:
    """The values of `on_grid` with the gradient of `surrogate`, both (n, dim)."""
    result: Tensor = _Attach.apply(on_grid, surrogate)
    return result


@dataclass(frozen=True)
class Identity:
    """Straight-through: the gradient of the identity (Bengio et al. 2013, arXiv 1308.3432)."""

    anneals: ClassVar[bool] = False

    def at(self, step: int) -> "Identity":
        """The same at every step."""
        return self

    def __call__(self, values: Tensor, on_grid: Tensor, precision: str, ranges: Any) -> Tensor:
        """∂/∂values = 1."""
        return attach(on_grid, values)


@dataclass(frozen=True)
class Clipped:
    """Straight-through inside the range, or the fitted extremes, and 0 outside (Courbariaux et al. 2016, arXiv 1602.02830).

    Args:
        limit: for binary, the gradient is 1 where |value| ≤ limit. Unit-length embeddings of many dimensions
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
        """∂/∂values = 1 where low ≤ value ≤ high, else 0."""
        if precision in RANGED:
            low, high = (
                torch.as_tensor(bound, dtype=torch.float32, device=values.device).detach()
                for bound in ranges.bounds(values.shape[1])
            )
            return attach(on_grid, values.clamp(low, high))
        limit = self.limit if is_binary(precision) else LARGEST.get(precision)
        return attach(on_grid, values if limit is None else values.clamp(-limit, limit))


@dataclass(frozen=True)
class Tanh:
    """For binary: tanh(sharpness × value) in place of the sign, forward and backward, sharper with every step.

    sharpness = √(gamma × step + 1), which tends to the sign (BPR: Yamada et al. 2021, arXiv 2106.00882, whose gamma
    is 0.1). Values are near the grid, not on it, until sharpness is large. Other precisions pass straight through.

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
        return torch.tanh(self.sharpness * values) if is_binary(precision) else attach(on_grid, values)


@dataclass(frozen=True)
class LearnedStepSize:
    """LSQ: the grid's step is a parameter, trained with the model (Esser et al. 2020, arXiv 1902.08153).

    Needs a `LearnedStep` as the range; what has no step (floats, bits, cells between quantiles) passes straight through.
    """

    anneals: ClassVar[bool] = False

    def at(self, step: int) -> "LearnedStepSize":
        """The same at every step."""
        return self

    def __call__(self, values: Tensor, on_grid: Tensor, precision: str, ranges: Any) -> Tensor:
        """∂/∂values as clipped; ∂/∂step as in `LearnedStep.surrogate`."""
        if precision not in UNIFORM:
            return attach(on_grid, values)
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
