"""The exact percentile of each row of a weight, against `torch.quantile`."""

from collections.abc import Iterator
from functools import partial

from qatlab.bench.row import Row, in_turns

SIZE, SHARE, PAIRS = 2048, 0.9999984, 15  # the share of the parameter-golf ablation


def measure_clip(size: int = SIZE, pairs: int = PAIRS) -> Iterator[Row]:
    """Time for a (size, size) weight, and the largest difference."""
    import torch

    from qatlab.weights.clip import percentile_limit

    weight = torch.randn(size, size, generator=torch.Generator().manual_seed(0))

    def reference() -> torch.Tensor:
        return torch.quantile(weight.abs(), SHARE, dim=1)

    ours, theirs = in_turns(partial(percentile_limit, weight, SHARE), reference, pairs)
    what = f"torch.quantile of the magnitudes of {size} × {size}"
    yield Row("percentile_clip_time", ours, theirs, 1 / 20, "s", what)
    difference = (percentile_limit(weight, SHARE) - reference()).abs().max().item()
    yield Row("percentile_clip_difference", difference, 1e-6, 1.0, "", "the difference allowed")
