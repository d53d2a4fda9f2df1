"""Which array library a value belongs to, without importing torch for those who don't use it, and what no grid can take."""

import sys
from typing import Any


def is_torch(value: Any) -> bool:
    """Whether `value` is a torch tensor."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def on_host(array: Any) -> Any:
    """A tensor as a NumPy array, without its gradient; anything else as it is."""
    return array.detach().cpu().numpy() if is_torch(array) else array


class NotFiniteError(ValueError):
    """Embeddings hold NaN or Inf: the model that gave them has diverged."""
