"""What a training took."""

import statistics
from typing import Any

from qatlab.config.trainer import TrainerConfig
from qatlab.machine.device import describe_device, peak_memory_bytes
from qatlab.machine.processes import count, largest


def cost(step_seconds: list[float], config: TrainerConfig, trained_parameters: int) -> dict[str, Any]:
    """For cost.json. The median step is that without the first, which pays for warming up.

    Every process must ask: memory is that of the one with most, examples are those of all.

    Args:
        step_seconds: of each optimizer step.
        trained_parameters: how many numbers were trained.
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
