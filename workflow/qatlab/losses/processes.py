"""Synchronization of a loss's ranges and parameters between the processes of a distributed training."""

import torch
from torch import Tensor, nn

from qatlab.machine.processes import average, count, extremes_of_all
from qatlab.quantization.ranges import Range


def same_in_all_processes(ranges: Range) -> Range:
    """Extend a range to the batches of all processes, so that they train on the same grid."""
    ranges.low, ranges.high = extremes_of_all(ranges.low, ranges.high)
    return ranges


def average_over_processes(parameter: nn.Parameter) -> None:
    """Average the gradient of a loss's own parameter over all processes.

    DistributedDataParallel averages the gradients of the model only.
    """
    if count() > 1 and parameter.grad is not None:
        torch.distributed.all_reduce(parameter.grad)
        parameter.grad /= count()


def length_over_codes(floats: list[Tensor]) -> Tensor:
    """Return the root mean square length of all rows of all processes, divided by the length √d of codes.

    The result is a scalar without gradient.
    """
    squares = torch.stack([column.detach().float().square().sum() for column in floats]).sum()
    return average(squares / sum(column.numel() for column in floats)).sqrt()
