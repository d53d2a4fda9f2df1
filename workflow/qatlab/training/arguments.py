"""A trainer's configuration in the words of Transformers' training arguments."""

from pathlib import Path
from typing import Any

from qatlab.config.trainer import TrainerConfig
from qatlab.machine.device import device_name, has_bf16

SCRATCH = "scratch"


def training_arguments(
    config: TrainerConfig,
    learning_rate: float,
    seed: int,
    output: Path,
    name: str,
    rows: int = 0,
    extra_steps: float | None = None,
) -> dict[str, Any]:
    """Keyword arguments of TrainingArguments. Checkpoints are asked for by a callback; each step is logged.

    Of several processes each has its part of one batch: the very batch, in rows and order, that one process would have.

    Args:
        learning_rate: the method's, or the trainer's.
        output: the stage's folder; the trainer has a scratch folder in it.
        name: of the run, for trackers.
        rows: training examples; only `extra_steps` of whole epochs need them.
        extra_steps: the method's share of steps beyond the trainer's.
    """
    counted = config.max_steps is not None or config.max_examples is not None or bool(extra_steps)
    several = config.distributed.in_all > 1
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
        "warmup_steps": config.warmup_ratio if config.warmup_steps is None else config.warmup_steps,  # below 1: a share
        "weight_decay": config.weight_decay,
        "adam_epsilon": config.adam_epsilon,
        "max_grad_norm": config.max_grad_norm,
        "bf16": config.precision == "bf16" or (config.precision == "auto" and has_bf16()),
        "use_cpu": device_name() == "cpu",
        "dataloader_drop_last": config.dataloader_drop_last,
        "seed": seed,
        "data_seed": seed,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,  # it would hide a loss that is no number
        "save_strategy": "no",
        "disable_tqdm": True,
        "report_to": config.report_to or "none",
        "accelerator_config": {"split_batches": several},
    }
