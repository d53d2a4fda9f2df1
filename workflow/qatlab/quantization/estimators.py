"""Fake quantization: values on the grid in the forward pass, an estimated gradient in the backward pass.

Rounding has no gradient of its own. Each estimator of one is tested against its closed form.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from qatlab.quantization.grids import dequantize_embeddings, fitted_grid, quantize_embeddings
from qatlab.quantization.precisions import (
    CELLS,
    LARGEST,
    QUANTILE,
    RANGED,
    STEPS,
    UNIFORM,
    NotFiniteError,
    check_dimension,
    check_precision,
    is_binary,
    is_torch,
)
from qatlab.quantization.ranges import as_range

SMALLEST = 1e-8
CITATION = """
@misc{bengio2013estimating,
    title={Estimating or Propagating Gradients Through Stochastic Neurons for Conditional Computation},
    author={Yoshua Bengio and Nicholas L{\\'e}onard and Aaron Courville},
    year={2013},
    eprint={1308.3432},
    archivePrefix={arXiv},
    primaryClass={cs.LG}
}
"""  # BibTeX entry of the straight-through estimator


class LearnedStep(nn.Module):
    """A symmetric range, with half of the cells on each side of 0, whose step sizes are trained by gradient descent.

    Use it as `ranges` of a QuantizationAwareLoss with the estimator lsq, which trains its parameter with the model.
    The method is that of Esser et al. 2020, arXiv 1902.08153, with two changes that make the trained grid the deployed one: cells
    are those of `quantize_embeddings` (rounded down, with the value in the middle), and each dimension has its own step by default.

    Args:
        dim: Number of dimensions of the embeddings.
        precision: int8, uint8, int4 or int2.
        per_dimension: Whether each dimension has its own step; otherwise all share one.

    Raises:
        ValueError: For another precision.
    """

    def __init__(self, dim: int, precision: str = "int8", per_dimension: bool = True) -> None:
        super().__init__()
        if precision not in UNIFORM:
            why = (
                ", whose cells lie between quantiles; use estimator identity or clipped"
                if precision in QUANTILE
                else ""
            )
            raise ValueError(f"a step is learned for {', '.join(UNIFORM)}, not for {precision}{why}")
        self.dim = dim
        self.precision = precision
        self.step = nn.Parameter(torch.full((dim if per_dimension else 1,), float("nan")))
        self.fitted = False

    def fit(self, embeddings: Tensor) -> "LearnedStep":
        """Set the step to the paper's initial value, 2 × mean magnitude / √Qp, where Qp is the largest code.

        Raises:
            ValueError: If `embeddings` are not (n, dim) with n ≥ 1, or contain NaN or infinity.
        """
        if embeddings.ndim != 2 or embeddings.shape[1] != self.dim or len(embeddings) == 0:
            raise ValueError(f"this step is for {self.dim} dimensions, not for shape {tuple(embeddings.shape)}")
        mean = embeddings.detach().float().abs().mean(dim=0)
        mean = mean if len(self.step) > 1 else mean.mean(dim=0, keepdim=True)
        if not bool(mean.isfinite().all()):
            raise NotFiniteError("embeddings contain NaN or Inf, so no step can be fitted")
        with torch.no_grad():
            self.step.copy_((2 * mean / self._largest**0.5).clamp_min(SMALLEST))
        self.fitted = True
        return self

    def bounds(self, dim: int) -> tuple[Tensor, Tensor]:
        """Return (low, high), each (dim,), without gradient; raise ValueError if not fitted, or for another dimension."""
        if dim != self.dim:
            raise ValueError(f"this step is for {self.dim} dimensions, the embeddings have {dim}")
        if not self.fitted:
            raise ValueError("this LearnedStep is not fitted yet; call .fit(embeddings) first")
        step = self.step.detach().clamp_min(SMALLEST).expand(dim)
        low = -step * (CELLS[self.precision] // 2)
        return low, low + step * STEPS[self.precision]

    def surrogate(self, values: Tensor) -> Tensor:
        """Return a tensor whose gradients are those of LSQ; its values are not used.

        With v = value / step, ∂/∂value is 1 inside the range and 0 outside; ∂/∂step is (⌊v⌋ + ½ − v) × g inside and the
        middle of the outermost cell × g outside, where g = 1 / √(dimensions per step × Qp).
        """
        g = (self.dim // len(self.step) * self._largest) ** -0.5
        step = self.step.clamp_min(SMALLEST)
        step = step * g + (step - step * g).detach()
        half = CELLS[self.precision] // 2
        v = (values / step).detach()
        cell = v.floor().clamp(-half, half - 1) + 0.5
        inside = (v >= -half) & (v < half)
        return torch.where(inside, values + (cell - v) * step, cell * step)

    def save(self, path: Path) -> None:
        """Write the current range to a .npz file, which `Range.load` reads."""
        low, high = (bound.cpu().numpy().astype(np.float32) for bound in self.bounds(self.dim))
        np.savez(path, kind=np.array("minmax"), low=low, high=high)

    def freeze(self) -> None:
        """End the training of the step."""
        self.step.requires_grad_(False)

    @property
    def _largest(self) -> int:
        return CELLS[self.precision] // 2 - 1

    def extra_repr(self) -> str:
        """Return the settings that `print(loss)` shows."""
        return f"dim={self.dim}, precision={self.precision}"


# Estimators of the gradient of rounding, whose own gradient is 0 almost everywhere; each is tested against its closed form.
#
# **The gradient of bits is scaled by √d / ‖x‖.** The codes of an embedding x of d dimensions are ±1, a vector of length √d
# for every length of x. A straight-through estimator that passes the gradient at the codes to x unchanged treats the codes
# as a rounding of x itself, although they are a rounding of √d · x / ‖x‖, which has the direction of x and the length √d. The
# derivative of √d · x / ‖x‖ along directions that change the direction of x is √d / ‖x‖. The gradient of a cosine similarity
# decreases with the length of its argument. Without the factor, the gradient that reaches x is therefore ‖x‖ / √d of the
# gradient that codes of the same length as x would give: a twentieth for an embedding of length 1 in 384 dimensions. With the
# factor, the gradient of the bits at x has the scale of the float embedding's gradient, and decreases with ‖x‖ in the same
# way, because the bits of 2x are those of x.
#
# The factor is treated as a constant: the part of the derivative that shrinks x along itself is omitted, as straight-through
# estimators omit everything that follows from the rounding. A row of zeros has no direction; its gradient is passed unchanged.

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


def at_code_length(values: Tensor) -> Tensor:
    """Scale each row of (n, d) values to the length √d of codes, with the gradient of the scaling; a row of zeros does not change.

    The components of the result have a mean square of 1, whatever the length of the rows.
    """
    lengths = torch.linalg.vector_norm(values, dim=1, keepdim=True)
    return values * (values.shape[1] ** 0.5 / torch.where(lengths > 0, lengths, 1.0))


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
        limit: For bits, the gradient passes where the magnitude is ≤ limit. Values of unit-length embeddings of many dimensions
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

    Bits become tanh(β · √d · x / ‖x‖) with β = √(gamma × step + 1), which approaches the sign as training proceeds (BPR: Yamada et
    al. 2021, arXiv 2106.00882, whose gamma is 0.1 and whose x is an embedding that is not normalized, with components near 1). The
    factor √d / ‖x‖ brings the components of an embedding of any length to that magnitude. Values are near the grid, not on it,
    until β is large. The function has a gradient of its own, which needs no other factor. Other precisions use the straight-through
    estimator.

    Args:
        gamma: Rate at which the sharpness β grows with the step.
        scale: A constant in place of √d / ‖x‖, so that bits become tanh(β · scale · x); None keeps √d / ‖x‖ of each row.
        step: The optimizer step.
    """

    gamma: float = 0.1
    scale: float | None = None
    step: int = 0

    def __post_init__(self) -> None:
        if self.gamma < 0 or (self.scale is not None and not self.scale > 0):
            raise ValueError(f"tanh needs gamma ≥ 0 and scale above 0, not {self.gamma} and {self.scale}")

    @property
    def anneals(self) -> bool:
        """Return whether the estimator changes with the step."""
        return self.gamma > 0

    @property
    def sharpness(self) -> float:
        """Return β × scale, or β = √(gamma × step + 1) where the scale is that of each row."""
        return float((self.gamma * self.step + 1) ** 0.5 * (1.0 if self.scale is None else self.scale))

    def at(self, step: int) -> "Tanh":
        """Return this estimator with the sharpness of an optimizer step."""
        return Tanh(self.gamma, self.scale, step)

    def __call__(self, values: Tensor, on_grid: Tensor, precision: str, ranges: Any) -> Tensor:
        """Return tanh(β · √d · x / ‖x‖), or tanh(β · scale · x), for bits, with the gradient of this function."""
        if not is_binary(precision):
            return pass_through(values, on_grid, precision)
        return torch.tanh(self.sharpness * (at_code_length(values) if self.scale is None else values))


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


def fake_quantize(embeddings: Any, precision: str, ranges: Any = None, estimator: Any = "identity") -> Any:
    """Round embeddings to the grid of a precision, differentiably in torch.

    The values are those of `dequantize_embeddings(quantize_embeddings(embeddings))`, bit by bit.

    Args:
        embeddings: (n, dim) floats, NumPy or torch.
        precision: The precision, as for `quantize_embeddings`.
        ranges: The fitted range, as for `quantize_embeddings`.
        estimator: Gradient estimator: 'identity', 'clipped', 'tanh', 'lsq', or one of `qatlab.quantization.estimators`.
            lsq is for cells of equal width; for cells between quantiles, which have no step, it is the straight-through
            estimator, and so is tanh for all precisions but bits. Only tanh also changes the forward values. NumPy arrays have no
            gradient.

    Returns:
        (n, dim) float32; for precision float32 in torch, `embeddings` itself.

    Raises:
        ValueError: As for `quantize_embeddings`, or for an unknown estimator. On a GPU there is no check for NaN, which stays NaN.
    """
    check_precision(precision)
    if not is_torch(embeddings):
        codes = quantize_embeddings(embeddings, precision, ranges)
        return dequantize_embeddings(codes, precision, ranges, dim=embeddings.shape[1])
    from qatlab.quantization import torch_grid

    chosen = as_estimator(estimator)
    if precision == "float32":
        return embeddings
    dim = embeddings.shape[1]
    check_dimension(precision, dim)
    values = embeddings.float()
    grid = fitted_grid(ranges, precision, dim, values)
    on_grid = torch_grid.on_grid(values, precision, grid)
    return chosen(values, on_grid, precision, None if ranges is None else as_range(ranges))
