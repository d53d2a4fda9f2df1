"""Embeddings on the axes of an output; results in blocks are those of a single computation."""

import numpy as np
import pytest

from qatlab.config.evaluate import EvaluateConfig
from qatlab.config.precision import RotationConfig
from qatlab.evaluation import axes
from qatlab.evaluation.axes import OnAxes, fitted_quantiles, fitted_range, on_axes, unit_length
from qatlab.quantization import MinMaxRange, PercentileRange, QuantileRange, SymmetricRange
from qatlab.quantization.rotations import fit_rotation


@pytest.fixture
def sides():
    generator = np.random.default_rng(0)
    return [generator.normal(0.1, 1, size=(n, 32)).astype(np.float32) for n in (30, 400)]


def test_an_all_zero_vector_keeps_its_length():
    assert not unit_length(np.zeros((1, 3), dtype=np.float32)).any()


def test_embeddings_are_truncated_scaled_rotated_and_scaled_again(sides):
    queries, documents = on_axes(*sides, RotationConfig(kind="itq", center=True), 16, "cosine")
    cut = [unit_length(side[:, :16]) for side in sides]
    rotation = fit_rotation("itq", cut[1], center=True)
    for rotated, side in zip((queries, documents), cut, strict=True):
        assert rotated.dim == 16
        assert np.allclose(rotated[:], unit_length(rotation(side)), atol=1e-6)
        assert np.allclose(rotated[np.array([3, 1])], unit_length(rotation(side[[3, 1]])), atol=1e-6)


def test_dot_products_keep_lengths(sides):
    queries, documents = on_axes(*sides, RotationConfig(), None, "dot")
    assert np.array_equal(queries[:], sides[0])
    assert np.array_equal(np.concatenate(list(documents.blocks())), sides[1])


@pytest.mark.parametrize(("center", "reference"), [("mean", np.mean), ("median", np.median)])
def test_a_centre_is_that_of_all_documents_of_unit_length_block_by_block(sides, monkeypatch, center, reference):
    monkeypatch.setattr(axes, "ROWS_AT_ONCE", 7)
    monkeypatch.setattr(axes, "VALUES_AT_ONCE", 5 * 400)
    monkeypatch.setattr(axes, "FITTED_ON", 10)  # this limit applies to rotations, not to centres
    queries, documents = on_axes(*sides, RotationConfig(center=center), None, "cosine")
    unit = [unit_length(side) for side in sides]
    origin = reference(unit[1].astype(np.float64), axis=0)
    assert documents.rotation.matrix is None
    assert documents.dim == 32
    for centered, side in zip((queries, documents), unit, strict=True):
        assert np.allclose(centered[:], unit_length(side - origin), atol=1e-6)


def test_axes_are_fitted_on_training_documents_if_configured(sides):
    training = sides[1][:100] * 2 + 1
    unit = unit_length(training[:, :16])
    for config, expected in (
        ({"center": "median"}, fit_rotation("none", unit, center="median")),
        ({"kind": "itq"}, fit_rotation("itq", unit)),
    ):
        rotation = RotationConfig(**config, fitted_on="training")
        queries, documents = on_axes(*sides, rotation, 16, "cosine", training)
        cut = [unit_length(side[:, :16]) for side in sides]
        for rotated, side in zip((queries, documents), cut, strict=True):
            assert np.allclose(rotated[:], unit_length(expected(side)), atol=1e-5)


def test_a_factor_is_of_the_dimensions_that_are_kept(sides):
    rotation = RotationConfig(kind="overcomplete", factor=1.5)
    assert on_axes(*sides, rotation, None, "cosine")[1].dim == 48
    assert on_axes(*sides, rotation, 16, "cosine")[1][:3].shape == (3, 24)


@pytest.mark.parametrize(
    ("kind", "reference"), [("minmax", MinMaxRange), ("symmetric", SymmetricRange), ("percentile", PercentileRange)]
)
def test_ranges_of_blocks_are_those_of_all(sides, monkeypatch, kind, reference):
    monkeypatch.setattr(axes, "ROWS_AT_ONCE", 7)
    monkeypatch.setattr(axes, "VALUES_AT_ONCE", 5 * 400)
    ranges = fitted_range(OnAxes(sides[1]), EvaluateConfig(metrics=["ndcg@10"], range_kind=kind))
    expected = reference().fit(sides[1])
    assert isinstance(ranges, reference)
    assert np.array_equal(ranges.low, expected.low)
    assert np.array_equal(ranges.high, expected.high)


@pytest.mark.parametrize("values_at_once", [1, 400 * 12, 1 << 24])
def test_quantiles_of_blocks_are_those_of_all(sides, monkeypatch, values_at_once):
    """The number of dimensions that are sorted at once depends on the memory: one, 12, or all."""
    monkeypatch.setattr(axes, "ROWS_AT_ONCE", 7)
    monkeypatch.setattr(axes, "VALUES_AT_ONCE", values_at_once)
    assert np.array_equal(fitted_quantiles(OnAxes(sides[1])).quantiles, QuantileRange().fit(sides[1]).quantiles)


def test_a_rotation_is_fitted_on_evenly_spaced_documents(sides, monkeypatch):
    monkeypatch.setattr(axes, "FITTED_ON", 150)
    _, documents = on_axes(*sides, RotationConfig(kind="pca"), None, "dot")
    assert np.allclose(documents.rotation.matrix, fit_rotation("pca", sides[1][::3]).matrix)


def test_more_dimensions_than_there_are_is_refused(sides):
    with pytest.raises(ValueError, match="embeddings have 32 dimensions, so 64 cannot be kept"):
        on_axes(*sides, RotationConfig(), 64, "cosine")
