"""Ranges, quantiles and centring that a loss fits while it trains, and a tanh with a fixed int8 grid that it appends to a model."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from qatlab.machine.processes import average, count, extremes_of_all, rows_of_all
from qatlab.quantization.estimators import LearnedStep, LearnedStepSize
from qatlab.quantization.precisions import QUANTILE, RANGED, UNIFORM, check_dimension
from qatlab.quantization.ranges import (
    FRACTIONS,
    GivenRange,
    QuantileRange,
    Range,
    Running,
    order_statistics,
    suited,
)
from qatlab.quantization.rotations import SHIFT, Rotation


def same_in_all_processes(ranges: Range) -> Range:
    """Extend a range to the batches of all processes, so that they train on the same grid."""
    ranges.low, ranges.high = extremes_of_all(ranges.low, ranges.high)
    return ranges


def average_over_processes(parameter: nn.Parameter) -> None:
    """Average the gradient of a loss's own parameter over all processes.

    DistributedDataParallel averages the gradients of the model only.
    """
    if count() > 1 and parameter.grad is not None:
        torch.distributed.all_reduce(parameter.grad)
        parameter.grad /= count()


def length_over_codes(floats: list[Tensor]) -> Tensor:
    """Return the root mean square length of all rows of all processes, divided by the length √d of codes.

    The result is a scalar without gradient.
    """
    squares = torch.stack([column.detach().float().square().sum() for column in floats]).sum()
    return average(squares / sum(column.numel() for column in floats)).sqrt()


BATCH = "batch"


class TrainingRanges(nn.Module):
    """The ranges of a loss, one per precision: that of each batch, or one that is fitted, fixed, running or learned.

    Args:
        ranges: 'batch', a range, or a dictionary of these by precision.
        used: The integer precisions that need a range.
        dim: Number of dimensions of the embeddings, or None if unknown.

    Attributes:
        learned: Ranges with parameters, by precision.
        others: 'batch' and all other ranges, by precision.

    Raises:
        ValueError: For a range that is not fitted (a running one need not be), one that is fitted on another dimension, one with
            extremes where a precision needs quantiles, or one with quantiles where it needs extremes.
    """

    def __init__(self, ranges: Any, used: list[str], dim: int | None) -> None:
        super().__init__()
        given = ranges if isinstance(ranges, Mapping) else dict.fromkeys(used, ranges)
        for precision in given:
            if precision not in RANGED:
                raise ValueError(f"ranges are for {', '.join(RANGED)}, not for '{precision}'")
        chosen = {precision: _checked(given.get(precision, BATCH), precision, dim) for precision in used}
        self.learned = nn.ModuleDict({p: r for p, r in chosen.items() if isinstance(r, LearnedStep)})
        self.others = {p: r for p, r in chosen.items() if not isinstance(r, LearnedStep)}

    def by_precision(self) -> dict[str, Any]:
        """Return the range of each precision; 'batch' where each batch has its own."""
        return {**self.others, **dict(self.learned.items())}

    def for_batch(self, floats: list[Tensor], learn: bool) -> dict[str, Any]:
        """Return the range of each precision for one step.

        Args:
            floats: Float embeddings of each text column, (n, dim).
            learn: Whether running ranges first move towards this batch.
        """
        by_precision = self.by_precision()
        moving = {id(r): r for r in self._running() if not r.frozen and learn}
        need_statistics = [p for p, r in by_precision.items() if isinstance(r, str) or id(r) in moving]
        if not need_statistics:
            return by_precision
        columns = torch.cat([column.detach().float() for column in floats])
        extremes = _extremes(columns) if set(need_statistics) & set(UNIFORM) else None
        quantiles = _quantiles(columns) if set(need_statistics) & set(QUANTILE) else None
        for ranges in moving.values():
            batch: Any = quantiles if isinstance(ranges, QuantileRange) else extremes
            ranges.move(batch.statistics)
        batch_ranges = {p: quantiles if p in QUANTILE else extremes for p in need_statistics}
        return {p: batch_ranges[p] if isinstance(r, str) else r for p, r in by_precision.items()}

    def lasting(self) -> dict[str, Any]:
        """Return the ranges that last longer than a batch, by precision; they are saved with the model."""
        return {precision: ranges for precision, ranges in self.by_precision().items() if ranges != BATCH}

    def freeze(self) -> None:
        """End the training of running and learned ranges."""
        for ranges in self.lasting().values():
            ranges.freeze()

    def get_extra_state(self) -> Tensor:
        """Return the statistics of running ranges that have seen a batch, in the order of `others`: (rows, dim) float32."""
        statistics = [r.statistics for r in self._running() if r.low is not None]
        return torch.cat(statistics) if statistics else torch.empty(0)

    def set_extra_state(self, state: Tensor) -> None:
        """Restore the statistics that `get_extra_state` returned for ranges with the same settings."""
        if len(state):
            running = self._running()
            parts = state.split([len(FRACTIONS) if isinstance(r, QuantileRange) else 2 for r in running])
            for ranges, statistics in zip(running, parts, strict=True):
                ranges.take(statistics)

    def _running(self) -> list[Any]:
        return [ranges for ranges in self.others.values() if isinstance(ranges, Running)]

    def names(self) -> dict[str, str]:
        """Return 'batch' or the name of the range's class, by precision."""
        return {p: r if isinstance(r, str) else type(r).__name__ for p, r in self.by_precision().items()}


def check_grids(sides: Mapping[str, tuple[str, str]], ranges: TrainingRanges, estimator: Any, dim: int | None) -> None:
    """Check that precisions can store embeddings, and that an estimator that learns steps has ranges with steps.

    Args:
        sides: The precisions of queries and documents, by the name of their pair.
        ranges: The ranges of the integer precisions.
        estimator: The gradient estimator.
        dim: Number of dimensions of the embeddings, or None if unknown.

    Raises:
        ValueError: For an integer precision without a learned step, and for a dimension that does not fill the bytes of a precision.
    """
    if isinstance(estimator, LearnedStepSize):
        for precision in ranges.others:
            if precision in UNIFORM:
                raise ValueError(f"the estimator lsq learns a step, so {precision} needs ranges=LearnedStep(…)")
    if dim is not None:
        for pair in sides.values():
            for precision in pair:
                check_dimension(precision, dim)


def _extremes(columns: Tensor) -> Range:
    """Return the minima and maxima over the batches of all processes."""
    return same_in_all_processes(GivenRange(*columns.aminmax(dim=0)))


def _quantiles(columns: Tensor) -> Range:
    """Return the quantiles over the batches of all processes, which have equal sizes, without synchronizing with a GPU."""
    ranges = QuantileRange()
    ranges.take(order_statistics(rows_of_all(columns)))
    return ranges


def _checked(ranges: Any, precision: str, dim: int | None) -> Any:
    if isinstance(ranges, str):
        if ranges != BATCH:
            raise ValueError(f"unknown ranges '{ranges}'; give 'batch' or a range of qatlab.quantization")
        return ranges
    checked: Any = suited(ranges, precision)
    if dim is not None and not (isinstance(checked, Running) and checked.low is None):
        checked.bounds(dim)  # raises for another dimension
    return checked


KINDS = ("batch", "running", "learned")


class Centring(nn.Module):
    """A shift x ↦ x − centre of the embeddings that a loss compares.

    A bit encodes on which side of 0 a value lies, so a dimension that has the same sign in most texts carries little information.
    Subtracting the mean puts 0 in the middle of the values. The kinds are:

    * ``batch``: the mean of all columns of each batch, as in batch normalization; its moving average becomes the model's centre.
    * ``running``: the moving average itself, which includes the batch of the step.
    * ``learned``: a parameter that is trained with the model and starts as the mean of the first batch.

    The centre of ``batch`` and ``running`` is a constant for the gradient. Outside training (no gradient, or `eval()`), all
    kinds subtract the stored centre. With several processes, the mean is that of the whole batch.

    Args:
        kind: One of KINDS.
        dim: Number of dimensions of the embeddings.
        momentum: Share of the moving average that is kept at each step, from 0 to below 1.
        unit: Whether embeddings are scaled to unit length after the shift; `append_to` then adds this to the model.

    Attributes:
        centre: float32 (dim,).
        started: Whether a batch has been seen.

    Raises:
        ValueError: For an unknown kind, a momentum out of range, or an unknown number of dimensions.
    """

    centre: Tensor
    started: Tensor

    def __init__(self, kind: str, dim: int | None, momentum: float = 0.9, unit: bool = False) -> None:
        super().__init__()
        if kind not in KINDS:
            raise ValueError(f"unknown centring '{kind}'; valid: {', '.join(KINDS)}, or None")
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must be from 0 to below 1, not {momentum}")
        if dim is None:
            raise ValueError("centring needs a model that reports the number of dimensions of its embeddings")
        self.kind = kind
        self.momentum = momentum
        self.unit = unit
        if kind == "learned":
            self.centre = nn.Parameter(torch.zeros(dim))
        else:
            self.register_buffer("centre", torch.zeros(dim))
        self.register_buffer("started", torch.tensor(False))

    def forward(self, columns: list[Tensor], learn: bool) -> list[Tensor]:
        """Subtract the centre from each column.

        Args:
            columns: Embeddings of each text column, (n, dim).
            learn: Whether this is a training step, whose batch updates the centre.

        Returns:
            Centred columns, (n, dim), of unit length where `unit`.

        Raises:
            ValueError: For embeddings of another dimension.
        """
        dim = len(self.centre)
        for column in columns:
            if column.shape[1] != dim:
                raise ValueError(
                    f"centring is for {dim} dimensions, the embeddings have {column.shape[1]}; "
                    "put MatryoshkaLoss inside QuantizationAwareLoss, not around it"
                )
        centre = self._centre(columns) if learn else self.centre.detach()
        shifted = [column - centre.to(column.dtype) for column in columns]
        return [F.normalize(column, dim=1) for column in shifted] if self.unit else shifted

    def _centre(self, columns: list[Tensor]) -> Tensor:
        """Update the stored centre with a batch, and return the vector that this step subtracts."""
        with torch.no_grad():
            batch = average(torch.cat([column.detach().float() for column in columns]).mean(dim=0))
            momentum = 1.0 if self.kind == "learned" else self.momentum
            # A branch on `started` would synchronize with a GPU in every step.
            self.centre.copy_(torch.where(self.started, momentum * self.centre + (1 - momentum) * batch, batch))
            self.started.fill_(True)
        return batch if self.kind == "batch" else self.centre

    def append_to(self, model: nn.Sequential) -> None:
        """Append the shift to a Sentence Transformer as a `Dense` module, and a `Normalize` where `unit`.

        The saved model then works without qatlab, and its float embeddings are those of training.
        """
        from sentence_transformers.sentence_transformer.modules import Normalize

        shift = Rotation(SHIFT, None, self.centre.detach().cpu().numpy()).as_module()
        for module in (shift, Normalize()) if self.unit else (shift,):
            model.append(module.to(self.centre.device))

    def extra_repr(self) -> str:
        """Return the settings that `print(loss)` shows."""
        return f"{self.kind}, dim={len(self.centre)}, momentum={self.momentum}, unit={self.unit}"


def ends_in_unit_length(model: nn.Module) -> bool:
    """Return whether the last module of a Sentence Transformer scales embeddings to unit length."""
    modules = list(model.children())
    return bool(modules) and type(modules[-1]).__name__ == "Normalize"


# Tanh activation of embeddings, with a fixed grid of int8 that needs no calibration (pplx-embed, arXiv 2602.11151).
#
# The model's last modules compute z = t / ‖t‖ with t = tanh(√d · x / ‖x‖), for embeddings x of d dimensions. The factor √d / ‖x‖ brings
# the components of x to a root mean square of 1, where tanh bends; without it, the components of a normalized embedding are about
# d ** −0.5, where tanh is the identity. The sign of each component is kept, so the bits of z are those of x.
#
# pplx-embed stores the int8 codes round(127 · tanh(x)) of embeddings that are not normalized, and trains with the codes in every step and
# the straight-through gradient of tanh. Here embeddings are scaled to length 1 before they are stored, as everywhere where similarities
# are cosines. The codes are therefore round(127 · c · z), where c = √(d · E[tanh²(g)]) is the length that t has for normally
# distributed components g. They are the codes of pplx-embed with each row multiplied by c / ‖t‖, which is within a few percent of 1 in
# hundreds of dimensions; cosine similarities do not change by it except for the rounding.

MEAN_SQUARE = 0.39429449  # E[tanh²(g)] for a standard normal g
LARGEST_CODE = 127  # −128 is not used by values within ±1 of t


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
    step = 1 / (LARGEST_CODE * (MEAN_SQUARE * dim) ** 0.5)
    # The grid has 255 steps between minimum and maximum; a code decodes to the middle of its cell.
    low, high = (np.full(dim, (code - 0.5) * step, dtype=np.float32) for code in (-128, LARGEST_CODE))
    return GivenRange(low, high)
