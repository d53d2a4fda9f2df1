"""The range of learned step size quantization (LSQ), whose step is a parameter."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from qatlab.quantization.backend import NotFiniteError
from qatlab.quantization.precisions import CELLS, QUANTILE, STEPS, UNIFORM

SMALLEST = 1e-8


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
        """Set the step to the paper's initial value, 2 × mean |value| / √Qp, where Qp is the largest code.

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
