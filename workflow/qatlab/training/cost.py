"""Cost of a training: time, memory and number of trained parameters."""

import statistics
from typing import NamedTuple

from qatlab.config.trainer import TrainerConfig
from qatlab.machine.hardware import describe_device, peak_memory_bytes
from qatlab.machine.processes import count, largest


class TrainingCost(NamedTuple):
    """The content of a training's cost.json.

    Attributes:
        steps: number of optimizer steps.
        seconds: duration of all steps.
        seconds_per_step: median duration of a step, without the first one, which includes warming up.
        examples_per_second: examples of all processes per median step.
        peak_memory_bytes: the largest of all processes.
        trained_parameters: number of trained scalars.
        processes, nodes: processes on each node, and nodes.
        device: name of the device.
    """

    steps: int
    seconds: float
    seconds_per_step: float
    examples_per_second: float
    peak_memory_bytes: int
    trained_parameters: int
    processes: int
    nodes: int
    device: str


def cost(step_seconds: list[float], config: TrainerConfig, trained_parameters: int) -> TrainingCost:
    """Return the cost of a training.

    In a distributed training, every process must
    call this function: memory is the largest of all processes, and examples are those of all processes together.

    Args:
        step_seconds: duration of each optimizer step in seconds.
        config: the trainer's configuration.
        trained_parameters: number of trained scalars.
    """
    median = statistics.median(step_seconds[1:] or step_seconds)
    return TrainingCost(
        steps=len(step_seconds),
        seconds=sum(step_seconds),
        seconds_per_step=median,
        examples_per_second=config.batch_size * config.gradient_accumulation_steps / median,
        peak_memory_bytes=int(largest([peak_memory_bytes()])[0]),
        trained_parameters=trained_parameters,
        processes=config.distributed.processes,
        nodes=config.distributed.nodes,
        device=(f"{count()} × " if count() > 1 else "") + describe_device(),
    )
