"""One training: its share of the machine, the arguments of its trainer, the interface of a model family to it, and its cost."""

import os
import statistics
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate import PartialState
from torch import nn

from qatlab.config.method import TrainingConfig
from qatlab.config.trainer import TrainerConfig
from qatlab.machine.hardware import (
    claim_gpu,
    describe_device,
    device_name,
    has_bf16,
    peak_memory_bytes,
    use_threads,
    visible_gpus,
)
from qatlab.machine.processes import count, is_worker, largest
from qatlab.training.callbacks import TrainingLog, WallClock
from qatlab.training.resumable import Resumable

SCRATCH = "scratch"


def training_arguments(
    config: TrainerConfig,
    learning_rate: float,
    seed: int,
    output: Path,
    name: str,
    rows: int = 0,
    extra_steps: float | None = None,
) -> dict[str, object]:
    """Return keyword arguments for TrainingArguments, in which a callback requests checkpoints and each step is logged.

    In a distributed training, the processes share one batch, whose rows and order are those of a training with one process.

    Args:
        config: the trainer's configuration.
        learning_rate: learning rate of the method or the trainer.
        seed: random seed of the run.
        output: folder of the stage, in which the trainer has a scratch folder.
        name: name of the run, for trackers.
        rows: number of training examples; it is needed only for `extra_steps` in a training that is counted in epochs.
        extra_steps: number of additional steps of the method, as a share of the trainer's steps.
    """
    counted = config.max_steps is not None or config.max_examples is not None or bool(extra_steps)
    is_distributed = config.distributed.in_all > 1
    return {
        "output_dir": str(output / SCRATCH),
        "run_name": name,
        "num_train_epochs": config.num_train_epochs,
        "max_steps": config.steps(rows, extra_steps) if counted else -1,
        "per_device_train_batch_size": config.batch_size,
        "gradient_accumulation_steps": config.gradient_accumulation_steps,
        "learning_rate": learning_rate,
        "lr_scheduler_type": config.lr_scheduler_type,
        "lr_scheduler_kwargs": config.lr_scheduler_kwargs.model_dump() if config.lr_scheduler_kwargs else {},
        "warmup_steps": config.warmup_ratio
        if config.warmup_steps is None
        else config.warmup_steps,  # A value below 1 is a share of all steps.
        "weight_decay": config.weight_decay,
        "adam_epsilon": config.adam_epsilon,
        "max_grad_norm": config.max_grad_norm,
        "bf16": config.precision == "bf16" or (config.precision == "auto" and has_bf16()),
        "use_cpu": device_name() == "cpu",
        "dataloader_drop_last": config.dataloader_drop_last,
        "seed": seed,
        "data_seed": seed,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,  # The filter would hide a loss that became NaN.
        "save_strategy": "no",
        "disable_tqdm": True,
        "report_to": config.report_to or "none",
        "accelerator_config": {"split_batches": is_distributed},
    }


# Prefix of variables for precision, accumulation and more, which `accelerate launch` sets, or an earlier training in this process.
FOREIGN = "ACCELERATE_"


def claim_resources(config: TrainerConfig, threads: int | None) -> None:
    """Claim a GPU and threads; a process of a distributed training takes its share of those that its launcher has claimed.

    Variables that accelerate would read are removed from the environment, because the configuration alone determines how a model is
    trained. Transformers' training arguments write `bf16` there, and read it if it is not passed to them.

    Args:
        config: the trainer's configuration.
        threads: number of CPU threads on this machine if the configuration does not set it; None for all.
    """
    for name in [name for name in os.environ if name.startswith(FOREIGN)]:
        del os.environ[name]
    is_distributed = config.distributed.in_all > 1
    if is_distributed != is_worker():
        raise RuntimeError("several processes are started by qatlab.training.launch, as `python -m qatlab train` does")
    if is_distributed:
        PartialState(cpu=device_name() == "cpu")  # gloo or nccl; each process has the GPU of its number
        # Accelerate (1.15) names the CPU cpu:0, to which torch.load cannot map the tensors of a checkpoint.
        torch.serialization.register_package(0, lambda storage: None, _on_cpu)
    else:
        claim_gpu(visible_gpus())
    use_threads(config.threads or threads, config.distributed.processes)


def _on_cpu(storage: Any, location: str) -> Any:
    """Return the loaded storage unchanged for the CPU, and None for other devices, which PyTorch's own functions handle."""
    return storage if location.startswith("cpu:") else None


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
        steps_before, seconds_before: steps and their duration in the training that this one starts from, and in those before it.
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
    steps_before: int = 0
    seconds_before: float = 0.0

    def after(self, first: "TrainingCost") -> "TrainingCost":
        """Return this cost together with that of the training that it starts from."""
        return self._replace(
            steps_before=first.steps + first.steps_before, seconds_before=first.seconds + first.seconds_before
        )


def cost(
    step_seconds: list[float], config: TrainerConfig, trained_parameters: int, device: str | None = None
) -> TrainingCost:
    """Return the cost of a training.

    In a distributed training, every process must
    call this function: memory is the largest of all processes, and examples are those of all processes together.

    Args:
        step_seconds: duration of each optimizer step in seconds.
        config: the trainer's configuration.
        trained_parameters: number of trained scalars.
        device: 'cuda' or 'cpu'; None for the device of `device_name`.
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
        device=(f"{count()} × " if count() > 1 else "") + describe_device(device),
    )


class Training(ABC):
    """Base class of the trainings of a family, which load the model and the examples on construction.

    Attributes:
        config: the configuration.
        model: the model in float32, on the device on which it is trained.
        examples: number of examples per epoch.
        clock: callback that ends the training after a given time; None if the number of steps ends it.
    """

    config: TrainingConfig
    model: Any
    examples: int
    clock: WallClock | None = None

    @abstractmethod
    def __init__(self, config: Any, inputs: dict[str, Path], label: str) -> None:
        """Load the model and the examples.

        Args:
            config: the family's configuration, an instance of `CONFIG` of its part.
            inputs: artifacts by role: `model` and `data`.
            label: name of the run, for messages.

        Raises:
            UserError: if there are too few examples for a batch.
        """

    @abstractmethod
    def outputs(self) -> torch.Tensor:
        """Return the model's outputs for a few examples, by which the stage checks that fake quantizers change them."""

    def loss(self) -> nn.Module | None:
        """Return the loss with its own parameters, or None if the model computes it."""
        return None

    def callbacks(self, log: TrainingLog) -> list[Any]:
        """Return additional callbacks of the trainer.

        Args:
            log: log of the training.
        """
        return []

    @abstractmethod
    def trainer(self, arguments: dict[str, object], loss: nn.Module | None, callbacks: Sequence[Any]) -> Resumable:
        """Return the trainer.

        Args:
            arguments: keyword arguments of Transformers' TrainingArguments.
            loss: the loss that `loss` returned.
            callbacks: callbacks of the trainer.
        """

    @abstractmethod
    def save(self, folder: Path, loss: nn.Module | None) -> None:
        """Write the trained model, without fake quantizers and adapters, as a folder that the family's library loads.

        Args:
            folder: the folder to write.
            loss: the trained loss, whose ranges may be saved too.
        """
