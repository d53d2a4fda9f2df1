"""How far each row of a weight reaches before it is clipped, and so how wide the steps of its grid are."""

import math

import torch

from qatlab.config.weights import ClipConfig

VALUES_AT_ONCE = 1 << 18  # 1 MB of float32: a block of magnitudes stays in the processor's cache
MSE_CANDIDATES = 64  # limits tried per row, from half the largest magnitude to all of it


def percentile_limit(weight: torch.Tensor, share: float) -> torch.Tensor:
    """The `share` quantile of each row's magnitudes: `torch.quantile(weight.abs(), share, dim=1)`, without sorting rows.

    Near 1 only a row's few largest magnitudes decide it. As in the parameter-golf ablation, which clips at .9999984.

    Args:
        weight: (rows, columns), any float dtype.
        share: from 0 to 1.

    Returns:
        (rows,) float32.
    """
    rows, columns = weight.shape
    position = (
        torch.tensor(share, dtype=torch.float32) * (columns - 1)
    ).item()  # torch.quantile's rank, rounded as there
    below = math.floor(position)
    top = columns - below  # so many magnitudes are needed, counted from the largest
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
    """The limit of each row at which rounding to a symmetric grid of `bits` has the least squared error.

    A search over MSE_CANDIDATES limits, as in OMSE (Choukroun et al. 2019, https://arxiv.org/abs/1902.06822).

    Args:
        weight: (rows, columns), any float dtype.
        bits: of the grid from −2^(bits−1) to 2^(bits−1) − 1.

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
    """The weight with every row, or group of a row, clipped at its own limit; gradients pass as if it were not.

    Args:
        weight: (rows, columns).
        group_size: columns that share a limit; None for a whole row. It divides columns.
    """
    groups = weight if group_size is None else weight.reshape(-1, group_size)
    limit = percentile_limit(groups, config.share) if config.kind == "percentile" else mse_limit(groups, bits)
    limit = limit.to(weight.dtype).unsqueeze(1)
    values = torch.clamp(groups.detach(), -limit, limit).reshape(weight.shape)
    return weight + (values - weight).detach()
