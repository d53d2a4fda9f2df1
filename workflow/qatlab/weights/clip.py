"""Clipping of weights: the limit of each row or group, which determines the step of its grid."""

import math

import torch

from qatlab.config.weights import ClipConfig

VALUES_AT_ONCE = 1 << 18  # 1 MB of float32, so that a block of magnitudes stays in the CPU's cache
MSE_CANDIDATES = 64  # limits tried per row, from half the largest magnitude to all of it


def percentile_limit(weight: torch.Tensor, share: float) -> torch.Tensor:
    """Return the `share` quantile of each row's magnitudes: `torch.quantile(weight.abs(), share, dim=1)`, without sorting rows.

    For a share near 1, only the few largest magnitudes of a row determine the quantile. The parameter-golf ablation clips at
    .9999984.

    Args:
        weight: (rows, columns), any float dtype.
        share: The quantile, from 0 to 1.

    Returns:
        (rows,) float32.
    """
    rows, columns = weight.shape
    # The rank is computed in float32, so that it is rounded as in torch.quantile.
    position = (torch.tensor(share, dtype=torch.float32) * (columns - 1)).item()
    below = math.floor(position)
    top = columns - below  # number of magnitudes that are needed, counted from the largest
    limits = torch.empty(rows, device=weight.device)
    at_once = max(1, VALUES_AT_ONCE // columns)
    magnitudes = torch.empty(min(rows, at_once), columns, device=weight.device)
    for start in range(0, rows, at_once):
        block = weight.detach()[start : start + at_once].float()
        largest = torch.topk(torch.abs(block, out=magnitudes[: len(block)]), top, dim=1).values
        low, high = largest[:, -1], largest[:, max(0, top - 2)]
        limits[start : start + at_once] = torch.lerp(low, high, position - below)
    return limits


def mse_limit(weight: torch.Tensor, bits: int) -> torch.Tensor:
    """Return the limit of each row at which rounding to a symmetric grid has the smallest squared error.

    The limit is the best of MSE_CANDIDATES, as in OMSE (Choukroun et al. 2019, https://arxiv.org/abs/1902.06822).

    Args:
        weight: (rows, columns), any float dtype.
        bits: Number of bits of the grid, which ranges from −2^(bits−1) to 2^(bits−1) − 1.

    Returns:
        (rows,) float32, at most the row's largest magnitude.
    """
    values = weight.detach().float()
    largest = values.abs().amax(dim=1, keepdim=True)
    best, least = largest.clone(), torch.full_like(largest, torch.inf)
    levels = 2 ** (bits - 1)
    for candidate in range(MSE_CANDIDATES):
        limit = largest * (1 - candidate / (2 * MSE_CANDIDATES))
        step = (limit / (levels - 0.5)).clamp(min=torch.finfo(torch.float32).tiny)
        rounded = (values.clamp(-limit, limit) / step).round().clamp(-levels, levels - 1) * step
        error = (rounded - values).square().sum(dim=1, keepdim=True)
        best = torch.where(error < least, limit, best)
        least = torch.minimum(error, least)
    return best.squeeze(1)


def clipped(weight: torch.Tensor, config: ClipConfig, bits: int, group_size: int | None = None) -> torch.Tensor:
    """Clip each row of a weight, or each group of a row, at its own limit; gradients pass unchanged.

    Args:
        weight: (rows, columns).
        config: The kind of the limit.
        bits: Number of bits of the grid, which the limit of kind mse depends on.
        group_size: Number of columns that share a limit, a divisor of columns; None for whole rows.

    Returns:
        (rows, columns), in the dtype of `weight`.
    """
    groups = weight if group_size is None else weight.reshape(-1, group_size)
    limit = percentile_limit(groups, config.share) if config.kind == "percentile" else mse_limit(groups, bits)
    limit = limit.to(weight.dtype).unsqueeze(1)
    values = torch.clamp(groups.detach(), -limit, limit).reshape(weight.shape)
    return weight + (values - weight).detach()
