"""Per-dimension value ranges and quantiles of integer grids: fitted once, saved, used for queries and documents alike."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from qatlab.quantization.backend import NotFiniteError, is_torch, on_host
from qatlab.quantization.precisions import CELLS, QUANTILE

RANGES = "quantization_ranges"  # the folder of a model's own ranges, within the model's
NOT_FINITE = "embeddings hold NaN or Inf (or span more than float32 can), so no range can be fitted"
# Shares of the values below which an order statistic is kept: minimum, maximum, and of each number of cells the borders
# k / cells and the values (2k + 1) / (2 cells).
FRACTIONS = tuple(
    sorted(
        {Fraction(i, 2 * cells) for cells in {CELLS[precision] for precision in QUANTILE} for i in range(2 * cells + 1)}
    )
)


def extremes(embeddings: Any) -> tuple[Any, Any]:
    """Minimum and maximum of each dimension, float32 (dim,), of (n, dim) NumPy or torch."""
    if is_torch(embeddings):
        low, high = embeddings.aminmax(dim=0)
        return low, high
    return embeddings.min(axis=0).astype(np.float32), embeddings.max(axis=0).astype(np.float32)


def order_statistics(embeddings: Any) -> Any:
    """The value of rank ⌊n · fraction⌋ (at most n − 1) for each of FRACTIONS, per dimension, without interpolation.

    Args:
        embeddings: (n, dim) with n ≥ 1, NumPy or torch. NaN counts as above all numbers; it is not looked for.

    Returns:
        (len(FRACTIONS), dim) float32, ascending, NumPy for NumPy and torch for torch, the same bits from both.
    """
    ranks = [min(len(embeddings) * f.numerator // f.denominator, len(embeddings) - 1) for f in FRACTIONS]
    if not is_torch(embeddings):
        ordered = embeddings.T.astype(np.float32, order="C")
        ordered.sort(axis=1)  # twice as fast as along the first axis
        return np.ascontiguousarray(ordered[:, ranks].T) + np.float32(
            0
        )  # −0 sorts with 0 in any order; this makes it 0
    import torch

    values = embeddings.detach().float()
    if values.device.type == "cpu":  # NumPy sorts 20 times as fast as torch does on a CPU
        return torch.from_numpy(order_statistics(values.numpy()))
    ordered = values.sort(dim=0).values
    return _stacked([ordered[rank] for rank in ranks]) + 0.0


class Range(ABC):
    """What all ranges share.

    Attributes:
        low, high: float32 (dim,), NumPy or torch as the embeddings were; None before `fit`.
    """

    kind: ClassVar[str]

    def __init__(self) -> None:
        self.low: Any = None
        self.high: Any = None
        self.frozen = False

    def fit(self, embeddings: Any) -> Self:
        """Takes the range of `embeddings`, (n, dim) NumPy or torch; raises ValueError for NaN, Inf, or no rows."""
        if embeddings.ndim != 2 or len(embeddings) == 0:
            raise ValueError(
                f"ranges are fitted on embeddings of shape (n, dim) with n ≥ 1, not {tuple(embeddings.shape)}"
            )
        statistics = self._statistics_of(embeddings.detach().float() if is_torch(embeddings) else embeddings)
        with np.errstate(over="ignore", invalid="ignore"):
            spread = statistics[-1] - statistics[0]
        if not bool((spread.isfinite() if is_torch(spread) else np.isfinite(spread)).all()):
            raise NotFiniteError(NOT_FINITE)
        self._learn(statistics)
        return self

    @property
    def statistics(self) -> Any:
        """What is held, (rows, dim), the lowest row first: low and high; None before `fit`."""
        return None if self.low is None else _stacked([self.low, self.high])

    def take(self, statistics: Any) -> None:
        """Holds such statistics from elsewhere. They are not checked: nothing waits for a GPU."""
        self.low, self.high = statistics

    def bounds(self, dim: int) -> tuple[Any, Any]:
        """(low, high), each (dim,); raises ValueError if not fitted, or fitted on another dimension."""
        if self.low is None:
            raise ValueError(f"this {type(self).__name__} is not fitted yet; call .fit(embeddings) first")
        if len(self.low) != dim:
            raise ValueError(f"this range was fitted on {len(self.low)} dimensions, the embeddings have {dim}")
        return self.low, self.high

    def save(self, path: Path) -> None:
        """Writes the kind, low, high, and what else it holds to a .npz file; raises ValueError if not fitted."""
        if self.low is None:
            raise ValueError(f"this {type(self).__name__} is not fitted yet; call .fit(embeddings) before saving it")
        arrays: dict[str, Any] = {name: on_host(array) for name, array in self._arrays().items()}
        np.savez(path, kind=np.array(self.kind), **arrays)

    @staticmethod
    def load(path: Path) -> "Range":
        """Reads what `save` wrote: a range of the same kind with NumPy bounds, final."""
        with np.load(path, allow_pickle=False) as arrays:
            ranges = KINDS[str(arrays["kind"])]()
            ranges._restore(arrays)
        ranges.freeze()
        return ranges

    def freeze(self) -> None:
        """Ends what a range learns during training: from now on the `fit` of a running one raises ValueError."""
        self.frozen = True

    @abstractmethod
    def _statistics_of(self, embeddings: Any) -> Any:
        """What is kept of (n, dim) embeddings: statistics in ascending order."""

    def _learn(self, statistics: Any) -> None:
        """Called by `fit`."""
        self.take(statistics)

    def _arrays(self) -> dict[str, Any]:
        return {"low": self.low, "high": self.high}

    def _restore(self, arrays: Any) -> None:
        self.low, self.high = arrays["low"], arrays["high"]


class MinMaxRange(Range):
    """Per-dimension minimum and maximum."""

    kind = "minmax"

    def _statistics_of(self, embeddings: Any) -> tuple[Any, Any]:
        return extremes(embeddings)


class PercentileRange(Range):
    """Per-dimension percentiles, linearly interpolated: `outside` percent of the values clip, half at each end."""

    kind = "percentile"

    def __init__(self, outside: float = 0.2) -> None:
        super().__init__()
        if not 0 <= outside < 100:
            raise ValueError(f"outside must be a percentage from 0 to below 100, not {outside}")
        self.outside = outside

    def _statistics_of(self, embeddings: Any) -> tuple[Any, Any]:
        if is_torch(embeddings):
            import torch

            bounds = self._statistics_of(embeddings.cpu().numpy())
            low, high = (torch.from_numpy(bound).to(embeddings.device) for bound in bounds)
            return low, high
        if not np.isfinite(embeddings).all():
            raise NotFiniteError(NOT_FINITE)
        tail = self.outside / 2
        low, high = np.percentile(embeddings.astype(np.float64), [tail, 100 - tail], axis=0).astype(np.float32)
        return low, high


class SymmetricRange(Range):
    """±max |value| of each dimension, so that 0 lies in the middle of the grid."""

    kind = "symmetric"

    def _statistics_of(self, embeddings: Any) -> tuple[Any, Any]:
        low, high = extremes(embeddings)
        largest = (-low).maximum(high) if is_torch(low) else np.maximum(-low, high)
        return -largest, largest


class FixedRange(Range):
    """±limit in every dimension, whatever the embeddings: nothing to fit.

    snowflake-arctic-embed-m-v1.5 publishes ±0.18 (https://huggingface.co/Snowflake/snowflake-arctic-embed-m-v1.5).
    """

    kind = "fixed"

    def __init__(self, limit: float = 0.18) -> None:
        super().__init__()
        if not 0 < limit < float("inf"):
            raise ValueError(f"limit must be a positive number, not {limit}")
        self.low, self.high = (np.array([bound], dtype=np.float32) for bound in (-limit, limit))

    def fit(self, embeddings: Any) -> Self:
        """Nothing to fit."""
        return self

    def _statistics_of(self, embeddings: Any) -> tuple[Any, Any]:
        return self.low, self.high

    def bounds(self, dim: int) -> tuple[Any, Any]:
        """−limit and +limit, each (dim,)."""
        return np.repeat(self.low, dim), np.repeat(self.high, dim)


class QuantileRange(Range):
    """Per-dimension quantiles: cells between them hold equally many of the embeddings that they are fitted on.

    One serves int2_quantile (four cells) and ternary (three). Of the n sorted values of a dimension, border k of c cells is
    number ⌊n·k / c⌋, counted from 0, and the value that cell k stands for is its median in rank, number ⌊n·(2k + 1) / (2c)⌋.
    Nothing is interpolated, so NumPy and torch agree to the bit.

    Attributes:
        quantiles: (len(FRACTIONS), dim) float32, the values at FRACTIONS, ascending; None before `fit`.
        low, high: the first and the last of them: the extremes of the embeddings.
    """

    kind = "quantile"

    def __init__(self) -> None:
        super().__init__()
        self.quantiles: Any = None

    @property
    def statistics(self) -> Any:
        """The quantiles; None before `fit`."""
        return self.quantiles

    def take(self, statistics: Any) -> None:
        """Holds quantiles that `order_statistics` computed. They are not checked: nothing waits for a GPU."""
        self.quantiles = statistics
        self.low, self.high = statistics[0], statistics[-1]

    def cells(self, count: int, dim: int) -> tuple[Any, Any]:
        """Borders (count − 1, dim) and values (count, dim) of a number of cells, in the library of the embeddings.

        A number is in the cell k where k borders are below it. Where values tie, the median of a cell can be its lower border,
        which belongs to the cell before; the cell's value is then the next number above, so that every value that occurs
        lies in its own cell.

        Raises:
            ValueError: if not fitted, or fitted on another dimension.
        """
        self.bounds(dim)
        at = [FRACTIONS.index(Fraction(i, 2 * count)) for i in range(1, 2 * count)]
        if not is_torch(self.quantiles):
            borders, values = self.quantiles[at[1::2]], self.quantiles[at[0::2]]
            values[1:] = np.maximum(values[1:], np.nextafter(borders, np.float32(np.inf)))
            return borders, values
        import torch

        borders, values = (_stacked([self.quantiles[i] for i in rows]) for rows in (at[1::2], at[0::2]))
        values[1:] = values[1:].maximum(borders.nextafter(torch.full_like(borders, torch.inf)))
        return borders, values

    def _statistics_of(self, embeddings: Any) -> Any:
        return order_statistics(embeddings)

    def _arrays(self) -> dict[str, Any]:
        fractions = np.array([float(fraction) for fraction in FRACTIONS])
        return {**super()._arrays(), "quantiles": self.quantiles, "fractions": fractions}

    def _restore(self, arrays: Any) -> None:
        if "quantiles" not in arrays or len(arrays["quantiles"]) != len(FRACTIONS):
            raise ValueError(f"quantiles at {len(FRACTIONS)} fractions are missing; fit and save them again")
        self.take(arrays["quantiles"])


class Running(Range):
    """Exponential moving average of what training's batches have, until frozen.

    Each `fit` moves it by (1 − momentum) towards the batch; the first takes the batch's as it is.
    """

    def __init__(self, momentum: float = 0.99) -> None:
        super().__init__()
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must be from 0 to below 1, not {momentum}")
        self.momentum = momentum

    def move(self, statistics: Any) -> None:
        """As `fit` on embeddings with these statistics, which are not checked: nothing waits for a GPU."""
        if self.frozen:
            raise ValueError(f"this {type(self).__name__} is frozen; it learns from no more embeddings")
        before = self.statistics
        self.take(statistics if before is None else self.momentum * before + (1 - self.momentum) * statistics)

    def _learn(self, statistics: Any) -> None:
        self.move(statistics)


class RunningRange(Running):
    """Moving average of the minima and maxima of training's batches."""

    kind = "running"

    def _statistics_of(self, embeddings: Any) -> Any:
        return _stacked(extremes(embeddings))


class RunningQuantileRange(Running, QuantileRange):
    """Moving average of the quantiles of training's batches."""

    kind = "running_quantile"


KINDS: dict[str, type[Range]] = {
    ranges.kind: ranges
    for ranges in (
        MinMaxRange,
        PercentileRange,
        SymmetricRange,
        FixedRange,
        RunningRange,
        QuantileRange,
        RunningQuantileRange,
    )
}


class GivenRange(MinMaxRange):
    """Extremes that somebody computed elsewhere."""

    def __init__(self, low: Any, high: Any) -> None:
        super().__init__()
        self.low, self.high = low, high


def as_range(ranges: Any) -> Range:
    """A range as it is; an array (2, dim) of minima and maxima, as sentence-transformers takes it, as a range.

    Raises:
        ValueError: for another shape, or a minimum above its maximum.
        TypeError: for what is neither.
    """
    if hasattr(ranges, "bounds"):
        found: Range = ranges
        return found
    if getattr(ranges, "ndim", None) is None:
        raise TypeError(
            f"ranges must be a fitted range or an array (2, dim) of minima and maxima, not {type(ranges).__name__}"
        )
    if ranges.ndim != 2 or len(ranges) != 2:
        raise ValueError(
            f"ranges given as an array must have shape (2, dim): minima and maxima, not {tuple(ranges.shape)}"
        )
    if not bool((ranges[0] <= ranges[1]).all()):
        raise ValueError("ranges[0] must hold the minima and ranges[1] the maxima, without NaN")
    return GivenRange(ranges[0], ranges[1])


def suited(ranges: Any, precision: str) -> Range:
    """The range as `as_range` takes it, where it is what a precision needs.

    Raises:
        ValueError: for None, extremes for a precision whose cells lie between quantiles, or the other way round.
        TypeError: for what is no range.
    """
    quantile = precision in QUANTILE
    fitting = f"ranges={'QuantileRange' if quantile else 'MinMaxRange'}().fit(embeddings)"
    if ranges is None:
        raise ValueError(f"{precision} needs {fitting}")
    found = as_range(ranges)
    if isinstance(found, QuantileRange) != quantile:
        name = "minima and maxima" if isinstance(found, GivenRange) else f"a {type(found).__name__}"
        lie = "lie between quantiles" if quantile else "are equally wide"
        raise ValueError(f"the cells of {precision} {lie}; give it {fitting}, not {name}")
    return found


def _stacked(rows: Sequence[Any]) -> Any:
    if is_torch(rows[0]):
        import torch

        return torch.stack(list(rows))
    return np.stack(rows)
