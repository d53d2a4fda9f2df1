"""Ranges: their fitted values, agreement of NumPy and torch, and saving and loading."""

import numpy as np
import pytest
import torch

from qatlab.quantization import (
    FixedRange,
    LearnedStep,
    MinMaxRange,
    PercentileRange,
    QuantileRange,
    Range,
    RunningQuantileRange,
    RunningRange,
    SymmetricRange,
    quantize_embeddings,
)

EMBEDDINGS = np.random.default_rng(0).normal(size=(500, 6)).astype(np.float32)
FITTED = [MinMaxRange, PercentileRange, SymmetricRange, FixedRange, RunningRange, QuantileRange, RunningQuantileRange]
QUANTILES = [QuantileRange, RunningQuantileRange]


@pytest.mark.parametrize("kind", FITTED)
def test_numpy_and_torch_fit_the_same_range(kind):
    ours, theirs = kind().fit(EMBEDDINGS).bounds(6), kind().fit(torch.from_numpy(EMBEDDINGS)).bounds(6)
    for a, b in zip(ours, theirs, strict=True):
        assert np.array_equal(np.asarray(a), np.asarray(b))


@pytest.mark.parametrize("kind", FITTED)
@pytest.mark.parametrize("library", [np.asarray, torch.from_numpy])
def test_a_saved_range_gives_the_same_codes_again(kind, library, tmp_path):
    ranges = kind().fit(library(EMBEDDINGS))
    ranges.save(tmp_path / "ranges.npz")
    loaded = Range.load(tmp_path / "ranges.npz")
    assert type(loaded) is kind
    for precision in ("int2_quantile", "ternary") if kind in QUANTILES else ("int8", "int4", "int2"):
        for embeddings in (EMBEDDINGS[:, :4], torch.from_numpy(EMBEDDINGS[:, :4])):
            narrow = kind().fit(library(EMBEDDINGS[:, :4]))
            narrow.save(tmp_path / "narrow.npz")
            before, after = (
                quantize_embeddings(embeddings, precision, r) for r in (narrow, Range.load(tmp_path / "narrow.npz"))
            )
            assert np.array_equal(before, after)
    assert all(np.array_equal(*sides) for sides in zip(ranges.bounds(6), loaded.bounds(6), strict=True))


@pytest.mark.parametrize("n", [*range(1, 30), 97, 500])
@pytest.mark.parametrize("library", [np.asarray, torch.from_numpy])
def test_borders_and_values_are_numpys_order_statistics(n, library):
    """The rank ⌊n·q⌋ is that of the inverted distribution function, counted from the top instead of the bottom."""
    embeddings = EMBEDDINGS[:n]

    def order_statistic(numerator, denominator):
        if n % denominator == 0:  # then n·(1 − q) would be a whole number but for rounding
            return np.quantile(embeddings, numerator / denominator, axis=0, method="higher")
        return -np.quantile(-embeddings, 1 - numerator / denominator, axis=0, method="inverted_cdf")

    ranges = QuantileRange().fit(library(embeddings))
    for count in (3, 4):
        borders, values = ranges.cells(count, 6)
        expected = np.stack([order_statistic(k, count) for k in range(1, count)])
        assert np.array_equal(np.asarray(borders), expected)
        medians = np.stack([order_statistic(2 * k + 1, 2 * count) for k in range(count)])
        medians[1:] = np.where(medians[1:] > expected, medians[1:], np.nextafter(expected, np.float32(np.inf)))
        assert np.array_equal(np.asarray(values), medians)


def test_quartiles_are_near_numpys_interpolated_ones():
    borders, _ = QuantileRange().fit(EMBEDDINGS).cells(4, 6)
    between = np.diff(np.sort(EMBEDDINGS, axis=0), axis=0).max()
    assert np.abs(borders - np.percentile(EMBEDDINGS, [25, 50, 75], axis=0)).max() <= between


@pytest.mark.parametrize("library", [np.asarray, torch.from_numpy])
def test_ties_lift_a_cells_value_above_its_border_and_zero_has_one_sign(library):
    column = np.array([-0.0, 0.0, -0.0, 0.0, 0.0, 0.0, 2.0, 3.0], dtype=np.float32)
    borders, values = (np.asarray(part) for part in QuantileRange().fit(library(column[:, None])).cells(4, 1))
    assert borders.ravel().tolist() == [0.0, 0.0, 2.0]
    smallest = float(np.nextafter(np.float32(0), np.float32(1)))
    assert values.ravel().tolist() == [0.0, smallest, smallest, 3.0]
    assert not np.signbit(borders).any()
    assert not np.signbit(values).any()


def test_a_running_quantile_range_is_a_moving_average_until_it_is_frozen():
    ranges = RunningQuantileRange(momentum=0.75)
    parts = [QuantileRange().fit(EMBEDDINGS * scale).quantiles for scale in (1.0, 2.0, 4.0)]
    for scale in (1.0, 2.0, 4.0):
        ranges.fit(torch.from_numpy(EMBEDDINGS * scale))
    assert np.allclose(ranges.quantiles, 0.75 * (0.75 * parts[0] + 0.25 * parts[1]) + 0.25 * parts[2])
    assert np.allclose(ranges.low, ranges.quantiles[0])
    ranges.freeze()
    with pytest.raises(ValueError, match="RunningQuantileRange is frozen"):
        ranges.fit(torch.zeros(2, 1))


def test_a_file_without_its_quantiles_is_refused(tmp_path):
    np.savez(tmp_path / "ranges.npz", kind=np.array("quantile"), low=np.zeros(2), high=np.ones(2))
    with pytest.raises(ValueError, match="quantiles at 13 fractions are missing; fit and save them again"):
        Range.load(tmp_path / "ranges.npz")


def test_percentiles_are_numpys():
    ranges = PercentileRange(outside=10).fit(EMBEDDINGS)
    assert np.array_equal(ranges.low, np.percentile(EMBEDDINGS.astype(np.float64), 5, axis=0).astype(np.float32))
    assert np.array_equal(ranges.high, np.percentile(EMBEDDINGS.astype(np.float64), 95, axis=0).astype(np.float32))


def test_a_symmetric_range_has_zero_in_its_middle():
    ranges = SymmetricRange().fit(EMBEDDINGS)
    assert np.array_equal(ranges.low, -ranges.high)
    assert np.array_equal(ranges.high, np.abs(EMBEDDINGS).max(axis=0))


def test_a_fixed_range_needs_no_fitting_and_takes_any_dimension():
    low, high = FixedRange(0.18).bounds(4)
    assert low.tolist() == pytest.approx([-0.18] * 4)
    assert high.tolist() == pytest.approx([0.18] * 4)


def test_a_running_range_is_a_moving_average_until_it_is_frozen():
    ranges = RunningRange(momentum=0.75)
    for scale in (1.0, 2.0, 4.0):
        ranges.fit(torch.tensor([[-scale], [scale]]))
    assert float(ranges.high) == pytest.approx(0.75 * (0.75 * 1 + 0.25 * 2) + 0.25 * 4)
    ranges.freeze()
    with pytest.raises(ValueError, match="frozen"):
        ranges.fit(torch.zeros(2, 1))


@pytest.mark.parametrize("kind", [kind for kind in FITTED if kind is not FixedRange])
@pytest.mark.parametrize("library", [np.array, torch.tensor])
def test_nothing_is_fitted_on_nan_infinity_or_no_rows(kind, library):
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="NaN or Inf"):
            kind().fit(library([[0.0, value], [1.0, 1.0]]))
    if kind is not PercentileRange:
        with pytest.raises(ValueError, match="more than float32"):
            kind().fit(library([[-3e38], [3e38]], **({"dtype": np.float32} if library is np.array else {})))
    with pytest.raises(ValueError, match="n ≥ 1"):
        kind().fit(library([[0.0]])[:0])


def test_a_range_that_is_not_fitted_raises_an_error(tmp_path):
    with pytest.raises(ValueError, match="PercentileRange is not fitted yet"):
        PercentileRange().bounds(3)
    with pytest.raises(ValueError, match="before saving"):
        MinMaxRange().save(tmp_path / "ranges.npz")
    with pytest.raises(ValueError, match="QuantileRange is not fitted yet"):
        QuantileRange().cells(4, 3)
    with pytest.raises(ValueError, match="LearnedStep is not fitted"):
        LearnedStep(3).bounds(3)


def test_wrong_settings_are_refused():
    for wrong in (
        lambda: FixedRange(0),
        lambda: PercentileRange(100),
        lambda: RunningRange(1.0),
        lambda: RunningQuantileRange(-1),
    ):
        with pytest.raises(ValueError, match="must be"):
            wrong()
    with pytest.raises(ValueError, match="learned for int8"):
        LearnedStep(3, "binary")
    with pytest.raises(
        ValueError, match="not for ternary, whose cells lie between quantiles; use estimator identity or"
    ):
        LearnedStep(3, "ternary")


def test_a_learned_step_is_a_range_of_its_own_grid(tmp_path):
    step = LearnedStep(6).fit(torch.from_numpy(EMBEDDINGS))
    assert torch.allclose(step.step.detach(), torch.from_numpy(2 * np.abs(EMBEDDINGS).mean(axis=0) / 127**0.5))
    step.save(tmp_path / "step.npz")
    loaded = Range.load(tmp_path / "step.npz")
    assert np.array_equal(
        quantize_embeddings(EMBEDDINGS, "int8", step), quantize_embeddings(EMBEDDINGS, "int8", loaded)
    )


def test_a_fixed_range_is_fitted_like_any_other_and_stays_as_it_is():
    fitted = FixedRange(0.3).fit(np.ones((4, 8), dtype=np.float32))
    low, high = fitted.bounds(8)
    assert low.tolist() == [np.float32(-0.3)] * 8
    assert high.tolist() == [np.float32(0.3)] * 8
    assert FixedRange(0.3).fit(torch.ones(4, 8)).bounds(8)[1].tolist() == high.tolist()
