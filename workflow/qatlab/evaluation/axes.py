"""Embeddings on the axes on which they are scored: truncated, scaled to unit length and rotated, in blocks that bound memory."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from qatlab.config.evaluate import EvaluateConfig
from qatlab.config.precision import RotationConfig
from qatlab.models.settings import SCORED
from qatlab.quantization.ranges import FixedRange, MinMaxRange, PercentileRange, QuantileRange, Range, SymmetricRange
from qatlab.quantization.rotations import SHIFT, Rotation, fit_rotation

ROWS_AT_ONCE = 1 << 14  # 25 MB of float32 in 384 dimensions
VALUES_AT_ONCE = 1 << 26  # 256 MB of float32, which is 67 dimensions of a million embeddings
# Maximum number of documents that a rotation is fitted on; more would change its angles little but increase the memory.
FITTED_ON = 1 << 16


@dataclass(frozen=True)
class OnAxes:
    """Embeddings on given axes, which are computed on access.

    Attributes:
        embeddings: (n, dim) float32, as encoded.
        dimensions: Number of leading dimensions that are kept; None keeps all.
        unit: Whether each embedding is scaled to unit length, before the rotation and after it.
        rotation: The rotation; None for the model's own axes.
    """

    embeddings: np.ndarray
    dimensions: int | None = None
    unit: bool = False
    rotation: Rotation | None = None

    def __len__(self) -> int:
        return len(self.embeddings)

    @property
    def dim(self) -> int:
        """Return the number of dimensions on the axes."""
        return self.rotation.shape[1] if self.rotation else self[:0].shape[1]

    def __getitem__(self, rows: Any) -> np.ndarray:
        """Return the embeddings of a slice or of an array of positions, (n, dim) float32."""
        values = self.embeddings[rows, : self.dimensions]
        if self.unit:
            values = unit_length(values)
        if self.rotation is not None:
            values = unit_length(self.rotation(values)) if self.unit else self.rotation(values)
        return values

    def of(self, embeddings: np.ndarray) -> "OnAxes":
        """Return other embeddings on the same axes."""
        return replace(self, embeddings=embeddings)

    def as_encoded(self) -> np.ndarray:
        """Return the truncated embeddings, (n, dimensions) float32, neither scaled nor rotated."""
        truncated: np.ndarray = self.embeddings[:, : self.dimensions]
        return truncated

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield all embeddings in order, in blocks of at most ROWS_AT_ONCE rows."""
        for first in range(0, len(self), ROWS_AT_ONCE):
            yield self[first : first + ROWS_AT_ONCE]


def on_axes(
    queries: np.ndarray,
    documents: np.ndarray,
    rotation: RotationConfig,
    dimensions: int | None,
    similarity: str,
    training: np.ndarray | None = None,
) -> tuple[OnAxes, OnAxes]:
    """Place queries and documents on the same axes.

    Axes are fitted on the documents, or on training documents where `rotation.fitted_on` is 'training'. A centre without rotation is
    fitted on all of them, a rotation on at most FITTED_ON evenly spaced ones.

    Args:
        queries: (q, dim) float32, as encoded.
        documents: (d, dim) float32, as encoded.
        rotation: The axes.
        dimensions: Number of leading dimensions that are kept; None keeps all.
        similarity: 'cosine', which scales embeddings to unit length, or 'dot'.
        training: Embeddings of training documents, for axes that are fitted on them.

    Returns:
        The queries and the documents.

    Raises:
        TooFewEmbeddings: For principal axes with fewer documents than dimensions.
        ValueError: If `dimensions` exceeds the number of dimensions, or for another similarity.
    """
    if similarity not in SCORED:
        raise ValueError(f"unknown similarity '{similarity}'; valid: {', '.join(SCORED)}")
    dim = documents.shape[1]
    if dimensions is not None and dimensions > dim:
        raise ValueError(f"embeddings have {dim} dimensions, so {dimensions} cannot be kept; set at most {dim}")
    unit = similarity == "cosine"
    plain = OnAxes(documents, dimensions, unit)
    if rotation.plain:
        return plain.of(queries), plain
    if rotation.fitted_on == "training":
        assert training is not None
        fitted = _fit(plain.of(training), rotation)
    else:
        fitted = _fit(plain, rotation)
    rotated = replace(plain, rotation=fitted)
    return rotated.of(queries), rotated


def _fit(embeddings: OnAxes, config: RotationConfig) -> Rotation:
    """Fit axes on embeddings that are not rotated yet."""
    if config.kind == SHIFT:
        center = _medians(embeddings) if config.center == "median" else _means(embeddings)
        return Rotation(SHIFT, None, center.astype(np.float32))
    stride = -(-len(embeddings) // FITTED_ON)
    bits = config.dimensions_out(embeddings.dim)
    return fit_rotation(config.kind, embeddings[::stride], bits, config.center, config.seed)


def _means(embeddings: OnAxes) -> np.ndarray:
    """Return the mean of each dimension, (dim,) float64, summed block by block."""
    total: np.ndarray = sum((block.sum(axis=0, dtype=np.float64) for block in embeddings.blocks()), np.zeros(()))
    return total / len(embeddings)


def _medians(embeddings: OnAxes) -> np.ndarray:
    """Return the median of each dimension, (dim,) float32."""
    return np.array([np.median(column) for columns in _columns(embeddings) for column in columns.T], dtype=np.float32)


def fitted_range(embeddings: OnAxes, config: EvaluateConfig) -> Range:
    """Fit a range of the configured kind, for precisions with cells of equal width.

    Args:
        embeddings: The calibration set.
        config: The kind of the range, and the limit of a fixed one.
    """
    if config.range_kind == "fixed":
        return FixedRange(config.range_limit)
    if config.range_kind == "percentile":
        return _percentiles(embeddings)
    # The extremes of the blocks' extremes are those of all embeddings.
    ends = [end for block in embeddings.blocks() for end in (block.min(axis=0), block.max(axis=0))]
    return (MinMaxRange() if config.range_kind == "minmax" else SymmetricRange()).fit(np.stack(ends))


def _percentiles(embeddings: OnAxes) -> PercentileRange:
    ranges = PercentileRange()
    ranges.take(np.hstack([PercentileRange().fit(columns).statistics for columns in _columns(embeddings)]))
    return ranges


def fitted_quantiles(embeddings: OnAxes) -> QuantileRange:
    """Fit the quantiles of each dimension, for precisions whose cells lie between them."""
    ranges = QuantileRange()
    ranges.take(np.hstack([QuantileRange().fit(columns).statistics for columns in _columns(embeddings)]))
    return ranges


def _columns(embeddings: OnAxes) -> Iterator[np.ndarray]:
    """Yield all embeddings in successive groups of dimensions, (n, columns) float32 with at most VALUES_AT_ONCE values if possible.

    Each dimension is contiguous and copied, because a view would keep its whole block in memory. The next group overwrites the
    memory of the previous one.
    """
    dim, at_once = embeddings.dim, max(1, VALUES_AT_ONCE // len(embeddings))
    memory = np.empty((min(at_once, dim), len(embeddings)), dtype=np.float32)
    for first in range(0, dim, at_once):
        columns, done = memory[: dim - first], 0
        for block in embeddings.blocks():
            columns[:, done : done + len(block)] = block[:, first : first + at_once].T
            done += len(block)
        yield columns.T


def unit_length(embeddings: np.ndarray) -> np.ndarray:
    """Scale each row to Euclidean length 1 and return it as float32; an all-zero row does not change."""
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    return (embeddings / np.where(lengths > 0, lengths, 1)).astype(np.float32)
