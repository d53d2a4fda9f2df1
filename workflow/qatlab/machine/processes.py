"""What the processes of one training tell one another. Where there is one alone, each of these gives back what it got."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def count() -> int:
    """How many processes train together."""
    from torch import distributed

    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def is_first() -> bool:
    """Whether this is the one that writes and speaks for all."""
    from torch import distributed

    return count() == 1 or distributed.get_rank() == 0


def wait_for_all() -> None:
    """Returns when every process has come here."""
    from torch import distributed

    if count() > 1:
        distributed.barrier()


def largest(values: Sequence[float]) -> list[float]:
    """Each value's largest over the processes, on which they so agree."""
    import torch
    from torch import distributed

    if count() == 1:
        return [float(value) for value in values]
    found = torch.tensor(values, dtype=torch.float64, device=_device())
    distributed.all_reduce(found, distributed.ReduceOp.MAX)
    agreed: list[float] = found.tolist()
    return agreed


def mean(values: dict[str, Any]) -> dict[str, Any]:
    """Each number's or scalar tensor's mean over the processes, which must have the same names; in float32, without gradient."""
    import torch
    from torch import distributed

    if count() == 1 or not values:
        return values
    found = torch.stack([torch.as_tensor(value, device=_device()).detach().float() for value in values.values()])
    distributed.all_reduce(found)
    return dict(zip(values, found / count(), strict=True))


def average(values: "Tensor") -> "Tensor":
    """Return a tensor's mean over the processes, element by element, without gradient."""
    from torch import distributed

    if count() == 1:
        return values.detach()
    total = values.detach().clone().contiguous()
    distributed.all_reduce(total)
    return total / count()


def from_first(value: Any) -> Any:
    """What the first process gave, for all; of builtin types and arrays."""
    from torch import distributed

    if count() == 1:
        return value
    held = [value]
    distributed.broadcast_object_list(held, src=0)
    return held[0]


def extremes_of_all(low: "Tensor", high: "Tensor") -> "tuple[Tensor, Tensor]":
    """Minima and maxima over the processes, from each one's own."""
    from torch import distributed

    if count() > 1:
        low, high = low.contiguous(), high.contiguous()
        distributed.all_reduce(low, distributed.ReduceOp.MIN)
        distributed.all_reduce(high, distributed.ReduceOp.MAX)
    return low, high


def rows_of_all(rows: "Tensor") -> "Tensor":
    """The (n, dim) rows of every process one below the other, as many of each; gradients go back to where they came from.

    They are summed over the processes, so a loss that is a mean over a process's own rows has, averaged over processes as
    DistributedDataParallel does, the gradient of the mean over all rows.
    """
    import torch

    if count() == 1:
        return rows
    from torch.distributed.nn.functional import all_gather

    return torch.cat(all_gather(rows.contiguous()))


def _device() -> "torch.device":
    import torch
    from torch import distributed

    on_gpu = "nccl" in str(distributed.get_backend())
    return torch.device("cuda", torch.cuda.current_device()) if on_gpu else torch.device("cpu")
