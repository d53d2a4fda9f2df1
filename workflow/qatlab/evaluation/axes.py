"""Embeddings on the axes that they are scored on: truncated, of unit length, turned. In blocks, so that a million fit in memory."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from qatlab.config.evaluate import EvaluateConfig
from qatlab.config.precision import RotationConfig
from qatlab.models.similarity import SCORED
from qatlab.quantization.ranges import FixedRange, MinMaxRange, PercentileRange, QuantileRange, Range, SymmetricRange
from qatlab.quantization.rotations import SHIFT, Rotation, fit_rotation

ROWS_AT_ONCE = 1 << 14  # 25 MB of float32 in 384 dimensions
VALUES_AT_ONCE = 1 << 26  # 256 MB of float32: of a million embeddings, 67 dimensions
FITTED_ON = 1 << 16  # documents at most: more change a rotation's angles little, and its memory much


@dataclass(frozen=True)
class OnAxes:
    """Embeddings that are computed when asked for.

    Attributes:
        embeddings: (n, dim) float32, as encoded.
        dimensions: the first so many are kept; None keeps all.
        unit: whether each is scaled to unit length, before the rotation and after it.
        rotation: None leaves them as they are.
    """

    embeddings: np.ndarray
    dimensions: int | None = None
    unit: bool = False
    rotation: Rotation | None = None

    def __len__(self) -> int:
        return len(self.embeddings)

    @property
    def dim(self) -> int:
        """Coordinates of what is given."""
        return self.rotation.shape[1] if self.rotation else self[:0].shape[1]

    def __getitem__(self, rows: Any) -> np.ndarray:
        """Those of a slice or of an array of positions, (n, dim) float32."""
        found = self.embeddings[rows, : self.dimensions]
        if self.unit:
            found = unit_length(found)
        if self.rotation is not None:
            found = unit_length(self.rotation(found)) if self.unit else self.rotation(found)
        return found

    def of(self, embeddings: np.ndarray) -> "OnAxes":
        """Others on the same axes."""
        return replace(self, embeddings=embeddings)

    def as_encoded(self) -> np.ndarray:
        """(n, dimensions) float32, neither scaled nor turned."""
        kept: np.ndarray = self.embeddings[:, : self.dimensions]
        return kept

    def blocks(self) -> Iterator[np.ndarray]:
        """All, in order, so many at once."""
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
    """Both sides on the same axes.

    Axes are fitted on the documents, or on those of training where `rotation` says so: a centre by itself on all of them, a
    rotation on evenly chosen ones where they are many.

    Args:
        queries, documents: (n, dim) float32, as encoded.
        rotation: the axes.
        dimensions: the first so many are kept; None keeps all.
        similarity: 'cosine' scales embeddings to unit length.
        training: embeddings of training documents, for axes that are fitted on them.

    Raises:
        TooFewEmbeddings: for principal axes, where there are fewer documents than dimensions.
        ValueError: where more dimensions are to be kept than there are, and for another similarity.
    """
    if similarity not in SCORED:
        raise ValueError(f"similarity '{similarity}' is none of {', '.join(SCORED)}")
    dim = documents.shape[1]
    if dimensions is not None and dimensions > dim:
        raise ValueError(f"embeddings have {dim} dimensions, so {dimensions} cannot be kept")
    unit = similarity == "cosine"
    plain = OnAxes(documents, dimensions, unit)
    if rotation.plain:
        return plain.of(queries), plain
    if rotation.fitted_on == "training":
        assert training is not None
        fitted = _fit(plain.of(training), rotation)
    else:
        fitted = _fit(plain, rotation)
    turned = replace(plain, rotation=fitted)
    return turned.of(queries), turned


def _fit(embeddings: OnAxes, config: RotationConfig) -> Rotation:
    """The axes that fit embeddings, which are not rotated yet."""
    if config.kind == SHIFT:
        center = _medians(embeddings) if config.center == "median" else _means(embeddings)
        return Rotation(SHIFT, None, center.astype(np.float32))
    every = -(-len(embeddings) // FITTED_ON)
    bits = config.dimensions_out(embeddings.dim)
    return fit_rotation(config.kind, embeddings[::every], bits, config.center, config.seed)


def _means(embeddings: OnAxes) -> np.ndarray:
    """(dim,) float64, summed block by block."""
    total: np.ndarray = sum((block.sum(axis=0, dtype=np.float64) for block in embeddings.blocks()), np.zeros(()))
    return total / len(embeddings)


def _medians(embeddings: OnAxes) -> np.ndarray:
    """(dim,) float32."""
    return np.array([np.median(column) for columns in _columns(embeddings) for column in columns.T], dtype=np.float32)


def fitted_range(embeddings: OnAxes, config: EvaluateConfig) -> Range:
    """A range of the configured kind, for precisions of equal cells."""
    if config.range_kind == "fixed":
        return FixedRange(config.range_limit)
    if config.range_kind == "percentile":
        return _percentiles(embeddings)
    # The extremes of the blocks' extremes are those of all.
    ends = [end for block in embeddings.blocks() for end in (block.min(axis=0), block.max(axis=0))]
    return (MinMaxRange() if config.range_kind == "minmax" else SymmetricRange()).fit(np.stack(ends))


def _percentiles(embeddings: OnAxes) -> PercentileRange:
    ranges = PercentileRange()
    ranges.take(np.hstack([PercentileRange().fit(columns).statistics for columns in _columns(embeddings)]))
    return ranges


def fitted_quantiles(embeddings: OnAxes) -> QuantileRange:
    """Quantiles of each dimension, for precisions whose cells lie between them."""
    ranges = QuantileRange()
    ranges.take(np.hstack([QuantileRange().fit(columns).statistics for columns in _columns(embeddings)]))
    return ranges


def _columns(embeddings: OnAxes) -> Iterator[np.ndarray]:
    """All embeddings in some of their dimensions, in turn: (n, columns) float32, VALUES_AT_ONCE values where n allows.

    Each dimension is contiguous, and copied: a view would keep its whole block in memory. The next ones overwrite them.
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
    """Each row divided by its Euclidean length, float32; an all-zero row stays as it is."""
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    return (embeddings / np.where(lengths > 0, lengths, 1)).astype(np.float32)
