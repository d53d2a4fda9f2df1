"""Benchmark of the exact percentile of each row of a weight, with `torch.quantile` as the reference."""

from collections.abc import Iterator
from functools import partial

from qatlab.bench.row import Row, in_turns

SIZE, SHARE, PAIRS = 2048, 0.9999984, 15  # SHARE is that of the parameter-golf ablation.


def measure_clip(size: int = SIZE, pairs: int = PAIRS) -> Iterator[Row]:
    """Measure the time for a weight (size, size), as the median of pairs, and the largest difference."""
    import torch

    from qatlab.weights.grids import percentile_limit

    weight = torch.randn(size, size, generator=torch.Generator().manual_seed(0))

    def reference() -> torch.Tensor:
        return torch.quantile(weight.abs(), SHARE, dim=1)

    ours, theirs = in_turns(partial(percentile_limit, weight, SHARE), reference, pairs)
    reference_is = f"torch.quantile of the magnitudes of {size} × {size}"
    yield Row("percentile_clip_time", ours, theirs, 1 / 20, "s", reference_is)
    difference = (percentile_limit(weight, SHARE) - reference()).abs().max().item()
    yield Row("percentile_clip_difference", difference, 1e-6, 1.0, "", "the difference allowed")
