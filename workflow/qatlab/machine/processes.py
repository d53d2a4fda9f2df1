"""Communication between the processes of one training, and between those of one node and their launcher.

In a training of one process, each function returns its argument. Processes and launchers exchange files in a folder and signals.
"""

import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def count() -> int:
    """Return the number of processes of the training."""
    from torch import distributed

    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def is_first() -> bool:
    """Return whether this is the process that writes files and log lines for all."""
    from torch import distributed

    return count() == 1 or distributed.get_rank() == 0


def wait_for_all() -> None:
    """Wait until every process has called this function."""
    from torch import distributed

    if count() > 1:
        distributed.barrier()


def largest(values: Sequence[float]) -> list[float]:
    """Return the maximum of each value over the processes, which is the same in all of them."""
    import torch
    from torch import distributed

    if count() == 1:
        return [float(value) for value in values]
    maxima = torch.tensor(values, dtype=torch.float64, device=_device())
    distributed.all_reduce(maxima, distributed.ReduceOp.MAX)
    agreed: list[float] = maxima.tolist()
    return agreed


def mean(values: "Mapping[str, float | Tensor]") -> "dict[str, float | Tensor]":
    """Return the mean of each number or scalar tensor over the processes, as float32 without gradient.

    Args:
        values: Numbers or scalar tensors, with the same names in all processes.
    """
    import torch
    from torch import distributed

    if count() == 1 or not values:
        return dict(values)
    sums = torch.stack([torch.as_tensor(value, device=_device()).detach().float() for value in values.values()])
    distributed.all_reduce(sums)
    return dict(zip(values, sums / count(), strict=True))


def average(values: "Tensor") -> "Tensor":
    """Return the mean of a tensor over the processes, element by element, without gradient."""
    from torch import distributed

    if count() == 1:
        return values.detach()
    total = values.detach().clone().contiguous()
    distributed.all_reduce(total)
    return total / count()


def from_first(value: Any) -> Any:
    """Return the value of the first process in all processes; it consists of builtin types and arrays."""
    from torch import distributed

    if count() == 1:
        return value
    broadcast = [value]
    distributed.broadcast_object_list(broadcast, src=0)
    return broadcast[0]


def extremes_of_all(low: "Tensor", high: "Tensor") -> "tuple[Tensor, Tensor]":
    """Return the minima of `low` and the maxima of `high` over the processes, element by element."""
    from torch import distributed

    if count() > 1:
        low, high = low.contiguous(), high.contiguous()
        distributed.all_reduce(low, distributed.ReduceOp.MIN)
        distributed.all_reduce(high, distributed.ReduceOp.MAX)
    return low, high


def rows_of_all(rows: "Tensor") -> "Tensor":
    """Concatenate the (n, dim) rows of all processes, with the same n in each; gradients flow back to the process of each row.

    The gradients of a row are summed over the processes. If each process's loss is a mean over its own rows, then averaging over
    processes, as DistributedDataParallel does, yields the gradient of the mean over all rows.
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


VARIABLE = "QATLAB_WORKER"  # environment variable of such a process, which holds the folder
TASK, MESSAGES, SIGNAL = "task.json", "messages", "signal"  # the job, lines for the terminal, the received signal


def is_worker() -> bool:
    """Return whether this process belongs to a distributed training, whose launcher handles signals."""
    return VARIABLE in os.environ


def requested_signal() -> int | None:
    """Return the number of the signal that the launcher received, or None if there is no signal or no launcher."""
    if not is_worker():
        return None
    file = Path(os.environ[VARIABLE]) / SIGNAL
    return int(file.read_text()) if file.exists() else None


def report_of(rank: int) -> str:
    """Return the name of the file in which a process reports the error that ended it."""
    return f"rank-{rank}.json"


APART = 2.0  # smallest number of seconds between two presses of Ctrl-C


def is_repeated_interrupt(number: int, first: float) -> bool:
    """Return whether a signal is a second Ctrl-C, by which a person requests the end without waiting for the step to be saved.

    Any other signal repeats the first one: Slurm signals every process of a job whose time is over, and Snakemake, which is one of
    these processes, signals its own job as well.

    Args:
        number: number of the signal.
        first: time of the first signal, by time.monotonic().
    """
    return number == signal.SIGINT and time.monotonic() - first > APART
