"""Embeddings on the axes that they are scored on: truncated, of unit length, turned. In blocks, so that a million fit in memory."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from qatlab.config.evaluate import EvaluateConfig
from qatlab.config.precision import RotationConfig
from qatlab.quantization.ranges import FixedRange, MinMaxRange, PercentileRange, QuantileRange, Range, SymmetricRange
from qatlab.quantization.rotations import Rotation, fit_rotation

ROWS_AT_ONCE = 1 << 14  # 25 MB of float32 in 384 dimensions
COLUMNS_AT_ONCE = 16
VALUES_AT_ONCE = 1 << 24  # 64 MB of float32: of more columns at once, where documents are few
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
        return self.rotation.matrix.shape[1] if self.rotation else self[:0].shape[1]

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
    queries: np.ndarray, documents: np.ndarray, rotation: RotationConfig, dimensions: int | None, similarity: str
) -> tuple[OnAxes, OnAxes]:
    """Both sides on the same axes; a rotation is fitted on the documents (evenly chosen ones where they are many).

    Raises:
        ValueError: where there are fewer documents, or dimensions, than asked.
    """
    dim = documents.shape[1]
    if dimensions is not None and dimensions > dim:
        raise ValueError(f"embeddings have {dim} dimensions, so {dimensions} cannot be kept")
    unit = similarity == "cosine"
    plain = [OnAxes(side, dimensions, unit) for side in (queries, documents)]
    if rotation.kind == "none":
        return plain[0], plain[1]
    every = -(-len(documents) // FITTED_ON)
    fitted = fit_rotation(rotation.kind, plain[1][::every], rotation.bits, rotation.center, rotation.seed)
    return OnAxes(queries, dimensions, unit, fitted), OnAxes(documents, dimensions, unit, fitted)


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
    """All embeddings, so many dimensions at once as fit in memory."""
    width = max(COLUMNS_AT_ONCE, VALUES_AT_ONCE // max(1, len(embeddings)))
    for first in range(0, embeddings.dim, width):
        yield np.concatenate([block[:, first : first + width] for block in embeddings.blocks()])


def unit_length(embeddings: np.ndarray) -> np.ndarray:
    """Each row divided by its Euclidean length, float32; an all-zero row stays as it is."""
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    return (embeddings / np.where(lengths > 0, lengths, 1)).astype(np.float32)
