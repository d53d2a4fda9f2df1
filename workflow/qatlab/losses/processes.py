"""What a loss shares between the processes of a distributed training."""

import torch
from torch import nn

from qatlab.quantization.ranges import Range


def _processes() -> int:
    distributed = torch.distributed
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def same_in_all_processes(ranges: Range) -> Range:
    """The range of all processes' batches together, so that they train on one grid."""
    if _processes() > 1:
        torch.distributed.all_reduce(ranges.low, torch.distributed.ReduceOp.MIN)
        torch.distributed.all_reduce(ranges.high, torch.distributed.ReduceOp.MAX)
    return ranges


def average_over_processes(parameter: nn.Parameter) -> None:
    """DistributedDataParallel averages the model's gradients, not those of a loss's own parameters."""
    if _processes() > 1 and parameter.grad is not None:
        torch.distributed.all_reduce(parameter.grad)
        parameter.grad /= _processes()
