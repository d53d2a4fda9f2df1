"""Which array library a value belongs to, without importing torch for those who don't use it, and what no grid can take."""

import sys
from typing import Any


def is_torch(value: Any) -> bool:
    """Whether `value` is a torch tensor."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


class NotFiniteError(ValueError):
    """Embeddings hold NaN or Inf: the model that gave them has diverged."""
