"""Cost of a training: time, memory and number of trained parameters."""

import statistics
from typing import Any

from qatlab.config.trainer import TrainerConfig
from qatlab.machine.device import describe_device, peak_memory_bytes
from qatlab.machine.processes import count, largest


def cost(step_seconds: list[float], config: TrainerConfig, trained_parameters: int) -> dict[str, Any]:
    """Return the content of cost.json.

    The median duration of a step excludes the first step, which includes warming up. In a distributed training, every process must
    call this function: memory is the largest of all processes, and examples are those of all processes together.

    Args:
        step_seconds: duration of each optimizer step in seconds.
        config: the trainer's configuration.
        trained_parameters: number of trained scalars.
    """
    median = statistics.median(step_seconds[1:] or step_seconds)
    return {
        "steps": len(step_seconds),
        "seconds": sum(step_seconds),
        "seconds_per_step": median,
        "examples_per_second": config.batch_size * config.gradient_accumulation_steps / median,
        "peak_memory_bytes": int(largest([peak_memory_bytes()])[0]),
        "trained_parameters": trained_parameters,
        "processes": config.distributed.processes,
        "nodes": config.distributed.nodes,
        "device": (f"{count()} × " if count() > 1 else "") + describe_device(),
    }
