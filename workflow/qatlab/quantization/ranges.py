"""Ranges and quantiles of integer grids per dimension, which are fitted once, saved, and used for queries and documents."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from qatlab.quantization.precisions import CELLS, QUANTILE, NotFiniteError, is_torch, on_host

RANGES = "quantization_ranges"  # the folder in a model's folder that contains the ranges saved with the model
NOT_FINITE = "embeddings contain NaN or Inf (or span more than float32 can), so no range can be fitted"
# Fractions at which order statistics are stored: the minimum, the maximum, and for each number of cells the borders
# k / cells and the values (2k + 1) / (2 cells).
FRACTIONS = tuple(
    sorted(
        {Fraction(i, 2 * cells) for cells in {CELLS[precision] for precision in QUANTILE} for i in range(2 * cells + 1)}
    )
)


def extremes(embeddings: Any) -> tuple[Any, Any]:
    """Return the minima and maxima of the dimensions, each float32 (dim,), of (n, dim) embeddings in NumPy or torch."""
    if is_torch(embeddings):
        low, high = embeddings.aminmax(dim=0)
        return low, high
    return embeddings.min(axis=0).astype(np.float32), embeddings.max(axis=0).astype(np.float32)


def order_statistics(embeddings: Any) -> Any:
    """Return the value of rank ⌊n · fraction⌋ (at most n − 1) per dimension for each of FRACTIONS, without interpolation.

    Args:
        embeddings: (n, dim) with n ≥ 1, NumPy or torch. There is no check for NaN, which sorts above all numbers.

    Returns:
        (len(FRACTIONS), dim) float32 in ascending order, in the library of `embeddings`, with the same bits from both.
    """
    ranks = [min(len(embeddings) * f.numerator // f.denominator, len(embeddings) - 1) for f in FRACTIONS]
    if not is_torch(embeddings):
        ordered = embeddings.T.astype(np.float32, order="C")
        ordered.sort(axis=1)  # twice as fast as along the first axis
        # −0 and 0 sort in any order; adding 0 turns −0 into 0.
        return np.ascontiguousarray(ordered[:, ranks].T) + np.float32(0)
    import torch

    values = embeddings.detach().float()
    if values.device.type == "cpu":  # NumPy sorts 20 times as fast as torch does on a CPU
        return torch.from_numpy(order_statistics(values.numpy()))
    ordered = values.sort(dim=0).values
    return _stacked([ordered[rank] for rank in ranks]) + 0.0


class Range(ABC):
    """Base class of ranges.

    Attributes:
        low, high: float32 (dim,) in the library of the embeddings; None before `fit`.
        frozen: Whether `freeze` has ended the learning of the range.
    """

    kind: ClassVar[str]

    def __init__(self) -> None:
        self.low: Any = None
        self.high: Any = None
        self.frozen = False

    def fit(self, embeddings: Any) -> Self:
        """Fit the range on (n, dim) embeddings, NumPy or torch, and return it; raise ValueError for NaN, infinity or no rows."""
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
        """Return the fitted statistics, (rows, dim) in ascending order, here low and high; None before `fit`."""
        return None if self.low is None else _stacked([self.low, self.high])

    def take(self, statistics: Any) -> None:
        """Set `statistics` that were computed elsewhere; they are not checked, which would synchronize with a GPU."""
        self.low, self.high = statistics

    def bounds(self, dim: int) -> tuple[Any, Any]:
        """Return (low, high), each (dim,); raise ValueError if not fitted, or fitted on another dimension."""
        if self.low is None:
            raise ValueError(f"this {type(self).__name__} is not fitted yet; call .fit(embeddings) first")
        if len(self.low) != dim:
            raise ValueError(f"this range was fitted on {len(self.low)} dimensions, the embeddings have {dim}")
        return self.low, self.high

    def save(self, path: Path) -> None:
        """Write the kind, low, high and other statistics to a .npz file; raise ValueError if not fitted."""
        if self.low is None:
            raise ValueError(f"this {type(self).__name__} is not fitted yet; call .fit(embeddings) before saving it")
        arrays: dict[str, Any] = {name: on_host(array) for name, array in self._arrays().items()}
        np.savez(path, kind=np.array(self.kind), **arrays)

    @staticmethod
    def load(path: Path) -> "Range":
        """Read a file that `save` wrote; return a frozen range of the same kind with NumPy arrays."""
        with np.load(path, allow_pickle=False) as arrays:
            ranges = KINDS[str(arrays["kind"])]()
            ranges._restore(arrays)
        ranges.freeze()
        return ranges

    def freeze(self) -> None:
        """End the learning of the range in training; afterwards the `fit` of a running range raises ValueError."""
        self.frozen = True

    @abstractmethod
    def _statistics_of(self, embeddings: Any) -> Any:
        """Return the statistics of (n, dim) embeddings in ascending order."""

    def _learn(self, statistics: Any) -> None:
        """Store the statistics of the embeddings that `fit` received."""
        self.take(statistics)

    def _arrays(self) -> dict[str, object]:
        return {"low": self.low, "high": self.high}

    def _restore(self, arrays: Any) -> None:
        self.low, self.high = arrays["low"], arrays["high"]


class MinMaxRange(Range):
    """The minimum and maximum of each dimension."""

    kind = "minmax"

    def _statistics_of(self, embeddings: Any) -> tuple[Any, Any]:
        return extremes(embeddings)


class PercentileRange(Range):
    """Linearly interpolated percentiles of each dimension.

    Args:
        outside: Percentage of the values that are clipped, half of them at each end.

    Raises:
        ValueError: If it is not from 0 to below 100.
    """

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
    """The range from −m to m, where m is the largest magnitude of each dimension, with 0 in the middle of the grid."""

    kind = "symmetric"

    def _statistics_of(self, embeddings: Any) -> tuple[Any, Any]:
        low, high = extremes(embeddings)
        largest = (-low).maximum(high) if is_torch(low) else np.maximum(-low, high)
        return -largest, largest


class FixedRange(Range):
    """The range ±limit in every dimension, which does not depend on embeddings.

    The default ±0.18 is the one that snowflake-arctic-embed-m-v1.5 publishes
    (https://huggingface.co/Snowflake/snowflake-arctic-embed-m-v1.5).

    Args:
        limit: A positive number.

    Raises:
        ValueError: If it is not positive and finite.
    """

    kind = "fixed"

    def __init__(self, limit: float = 0.18) -> None:
        super().__init__()
        if not 0 < limit < float("inf"):
            raise ValueError(f"limit must be a positive number, not {limit}")
        self.low, self.high = (np.array([bound], dtype=np.float32) for bound in (-limit, limit))

    def fit(self, embeddings: Any) -> Self:
        """Return this range, which needs no fitting."""
        return self

    def _statistics_of(self, embeddings: Any) -> tuple[Any, Any]:
        return self.low, self.high

    def bounds(self, dim: int) -> tuple[Any, Any]:
        """Return −limit and +limit, each (dim,) float32."""
        return np.repeat(self.low, dim), np.repeat(self.high, dim)


class QuantileRange(Range):
    """Quantiles of each dimension; cells between them contain equal numbers of the embeddings that they are fitted on.

    The same range serves int2_quantile (four cells) and ternary (three). Of the n sorted values of a dimension, border k of c cells
    is number ⌊n·k / c⌋, counted from 0, and cell k decodes to its median in rank, number ⌊n·(2k + 1) / (2c)⌋.
    There is no interpolation, so that NumPy and torch agree bit by bit.

    Attributes:
        quantiles: (len(FRACTIONS), dim) float32, the values at FRACTIONS in ascending order; None before `fit`.
        low, high: The first and the last of them, which are the extremes of the embeddings.
    """

    kind = "quantile"

    def __init__(self) -> None:
        super().__init__()
        self.quantiles: Any = None

    @property
    def statistics(self) -> Any:
        """Return the quantiles; None before `fit`."""
        return self.quantiles

    def take(self, statistics: Any) -> None:
        """Set quantiles that `order_statistics` computed; they are not checked, which would synchronize with a GPU."""
        self.quantiles = statistics
        self.low, self.high = statistics[0], statistics[-1]

    def cells(self, count: int, dim: int) -> tuple[Any, Any]:
        """Return the borders (count − 1, dim) and the values (count, dim) of `count` cells, in the library of the embeddings.

        A number lies in cell k where k borders are below it. Where values tie, the median of a cell can be its lower border,
        which belongs to the cell below; the value of the cell is then the next float32 above, so that every value lies in its own
        cell.

        Raises:
            ValueError: If not fitted, or fitted on another dimension.
        """
        self.bounds(dim)
        rows_at = [FRACTIONS.index(Fraction(i, 2 * count)) for i in range(1, 2 * count)]
        if not is_torch(self.quantiles):
            borders, values = self.quantiles[rows_at[1::2]], self.quantiles[rows_at[0::2]]
            values[1:] = np.maximum(values[1:], np.nextafter(borders, np.float32(np.inf)))
            return borders, values
        import torch

        borders, values = (_stacked([self.quantiles[i] for i in rows]) for rows in (rows_at[1::2], rows_at[0::2]))
        values[1:] = values[1:].maximum(borders.nextafter(torch.full_like(borders, torch.inf)))
        return borders, values

    def _statistics_of(self, embeddings: Any) -> Any:
        return order_statistics(embeddings)

    def _arrays(self) -> dict[str, object]:
        fractions = np.array([float(fraction) for fraction in FRACTIONS])
        return {**super()._arrays(), "quantiles": self.quantiles, "fractions": fractions}

    def _restore(self, arrays: Any) -> None:
        if "quantiles" not in arrays or len(arrays["quantiles"]) != len(FRACTIONS):
            raise ValueError(f"quantiles at {len(FRACTIONS)} fractions are missing; fit and save them again")
        self.take(arrays["quantiles"])


class Running(Range):
    """Exponential moving average of the statistics of training batches, until it is frozen.

    Each `fit` moves the average by (1 − momentum) towards the statistics of the batch; the first sets it to them.

    Args:
        momentum: Share of the average that is kept at each `fit`.

    Raises:
        ValueError: If it is not from 0 to below 1.
    """

    def __init__(self, momentum: float = 0.99) -> None:
        super().__init__()
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must be from 0 to below 1, not {momentum}")
        self.momentum = momentum

    def move(self, statistics: Any) -> None:
        """Move the average towards statistics as `fit` does; they are not checked, which would synchronize with a GPU.

        Raises:
            ValueError: If the range is frozen.
        """
        if self.frozen:
            raise ValueError(f"this {type(self).__name__} is frozen, so it cannot be fitted on further embeddings")
        before = self.statistics
        self.take(statistics if before is None else self.momentum * before + (1 - self.momentum) * statistics)

    def _learn(self, statistics: Any) -> None:
        self.move(statistics)


class RunningRange(Running):
    """Moving average of the minima and maxima of training batches."""

    kind = "running"

    def _statistics_of(self, embeddings: Any) -> Any:
        return _stacked(extremes(embeddings))


class RunningQuantileRange(Running, QuantileRange):
    """Moving average of the quantiles of training batches."""

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
    """A range of given minima and maxima, each (dim,), which need no fitting."""

    def __init__(self, low: Any, high: Any) -> None:
        super().__init__()
        self.low, self.high = low, high


def as_range(ranges: Any) -> Range:
    """Return a range unchanged, and an array (2, dim) of minima and maxima, as sentence-transformers takes it, as a range.

    Raises:
        ValueError: For an array of another shape, or a minimum above its maximum.
        TypeError: For a value that is neither a range nor an array.
    """
    if hasattr(ranges, "bounds"):
        given: Range = ranges
        return given
    if getattr(ranges, "ndim", None) is None:
        raise TypeError(
            f"ranges must be a fitted range or an array (2, dim) of minima and maxima, not {type(ranges).__name__}"
        )
    if ranges.ndim != 2 or len(ranges) != 2:
        raise ValueError(
            f"ranges given as an array must have shape (2, dim) (minima and maxima), not {tuple(ranges.shape)}"
        )
    if not bool((ranges[0] <= ranges[1]).all()):
        raise ValueError("ranges[0] must contain the minima and ranges[1] the maxima, without NaN")
    return GivenRange(ranges[0], ranges[1])


def suited(ranges: Any, precision: str) -> Range:
    """Return a range or an array as `as_range` does, after checking that it has the kind that a precision needs.

    Raises:
        ValueError: For None, extremes for a precision whose cells lie between quantiles, or quantiles for one with equal cells.
        TypeError: For a value that is neither a range nor an array.
    """
    quantile = precision in QUANTILE
    fitting = f"ranges={'QuantileRange' if quantile else 'MinMaxRange'}().fit(embeddings)"
    if ranges is None:
        raise ValueError(f"{precision} needs {fitting}")
    checked = as_range(ranges)
    if isinstance(checked, QuantileRange) != quantile:
        name = "minima and maxima" if isinstance(checked, GivenRange) else f"a {type(checked).__name__}"
        layout = "lie between quantiles" if quantile else "have equal widths"
        raise ValueError(f"the cells of {precision} {layout}; give it {fitting}, not {name}")
    return checked


def _stacked(rows: Sequence[Any]) -> Any:
    if is_torch(rows[0]):
        import torch

        return torch.stack(list(rows))
    return np.stack(rows)
