"""Distinction of NumPy and torch arrays without importing torch, and the error that grids raise for NaN and infinity."""

import sys
from typing import Any


def is_torch(value: Any) -> bool:
    """Return whether `value` is a torch tensor."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def on_host(array: Any) -> Any:
    """Copy a torch tensor to a NumPy array without gradient; return any other value unchanged."""
    return array.detach().cpu().numpy() if is_torch(array) else array


class NotFiniteError(ValueError):
    """Error for embeddings with NaN or infinity, which show that the model that computed them has diverged."""
