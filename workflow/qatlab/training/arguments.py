"""Conversion of a trainer's configuration to Transformers' training arguments."""

from pathlib import Path

from qatlab.config.trainer import TrainerConfig
from qatlab.machine.hardware import device_name, has_bf16

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
