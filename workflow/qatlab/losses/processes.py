"""What a loss shares between the processes of a distributed training."""

import torch
from torch import Tensor, nn

from qatlab.machine.processes import average, count, extremes_of_all
from qatlab.quantization.ranges import Range


def same_in_all_processes(ranges: Range) -> Range:
    """The range of all processes' batches together, so that they train on one grid."""
    ranges.low, ranges.high = extremes_of_all(ranges.low, ranges.high)
    return ranges


def average_over_processes(parameter: nn.Parameter) -> None:
    """DistributedDataParallel averages the model's gradients, not those of a loss's own parameters."""
    if count() > 1 and parameter.grad is not None:
        torch.distributed.all_reduce(parameter.grad)
        parameter.grad /= count()


def length_over_codes(floats: list[Tensor]) -> Tensor:
    """Return the root mean square of all rows' lengths, of all processes, over the √d of codes: a scalar without gradient."""
    squares = torch.stack([column.detach().float().square().sum() for column in floats]).sum()
    return average(squares / sum(column.numel() for column in floats)).sqrt()
