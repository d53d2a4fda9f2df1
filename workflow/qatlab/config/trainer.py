"""Sizes and rates of a training (conf/trainer), and whether its rows fill a batch.

Keys are named as in Sentence Transformers' training arguments where they have a name there.
"""

import math
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator

from qatlab.errors import UserError
from qatlab.registry import Strict


class LrSchedulerKwargs(Strict):
    """Arguments of a learning-rate schedule in addition to the number of steps."""

    num_cycles: Annotated[
        float, Field(gt=0, description="cosine_with_restarts: number of cycles in the whole training.")
    ] = 1.0


class DistributedConfig(Strict):
    """The processes that share each batch of a training; each has one GPU, or an equal share of the CPU cores."""

    processes: Annotated[
        int, Field(gt=0, description="Number of processes on each node; it needs as many GPUs if it has any.")
    ] = 1
    nodes: Annotated[
        int, Field(gt=0, description="Number of machines; each must start its processes, as Slurm's srun does.")
    ] = 1

    @property
    def in_all(self) -> int:
        """Return the number of processes on all nodes."""
        return self.processes * self.nodes


class TrainerConfig(Strict):
    """Settings of a training that do not depend on its method."""

    num_train_epochs: Annotated[float, Field(gt=0, description="Number of passes over the training data.")] = 1.0
    max_steps: Annotated[
        int | None, Field(gt=0, description="Number of optimizer steps; overrides num_train_epochs.")
    ] = None
    max_examples: Annotated[
        int | None,
        Field(
            gt=0,
            description="Number of examples trained on, counting repetitions; overrides num_train_epochs.",
        ),
    ] = None
    max_seconds: Annotated[
        float | None,
        Field(
            gt=0,
            description="Length of training in seconds of wall-clock time instead of steps; the learning rate and late starts follow "
            "the clock. Supported for causal_lm.",
        ),
    ] = None
    batch_size: Annotated[
        int,
        Field(
            ge=2,
            description="Number of examples per batch over all processes; in-batch negatives require at least two.",
        ),
    ] = 64
    distributed: Annotated[
        DistributedConfig, Field(description="Numbers of processes and nodes that share each batch.")
    ] = DistributedConfig()
    gradient_accumulation_steps: Annotated[
        int, Field(gt=0, description="Number of batches whose gradients are accumulated for one optimizer step.")
    ] = 1
    learning_rate: Annotated[float, Field(gt=0, description="Peak learning rate.")] = 5e-5
    lr_scheduler_type: Annotated[
        Literal["linear", "cosine", "cosine_with_restarts", "constant", "constant_with_warmup"],
        Field(description="Learning-rate schedule, as Transformers names it."),
    ] = "linear"
    lr_scheduler_kwargs: Annotated[
        LrSchedulerKwargs | None,
        Field(description="Further arguments of the learning-rate schedule, for cosine_with_restarts."),
    ] = None
    warmup_ratio: Annotated[
        float, Field(ge=0, lt=1, description="Length of the learning-rate warm-up as a fraction of training.")
    ] = 0.1
    warmup_steps: Annotated[
        int | None,
        Field(ge=0, description="Length of the learning-rate warm-up in optimizer steps, in place of warmup_ratio."),
    ] = None
    dataloader_drop_last: Annotated[
        bool,
        Field(
            description="Whether an incomplete last batch is dropped; its examples would have fewer in-batch negatives."
        ),
    ] = True
    weight_decay: Annotated[float, Field(ge=0, description="Weight decay of AdamW.")] = 0.0
    adam_epsilon: Annotated[
        float,
        Field(
            gt=0,
            description="Epsilon of AdamW. Gradients much smaller than it make steps much smaller than the learning rate.",
        ),
    ] = 1e-8
    max_grad_norm: Annotated[
        float, Field(gt=0, description="Norm to which the gradient of all parameters is clipped.")
    ] = 1.0
    precision: Annotated[
        Literal["auto", "bf16", "fp32"],
        Field(description="Number format of training; auto is bf16 autocast where the CPU or GPU supports it."),
    ] = "auto"
    threads: Annotated[
        int | None,
        Field(
            gt=0,
            description="Number of CPU cores that a training uses on each node; null uses all of them. Another number rounds sums "
            "differently, so set it for a study whose results must be identical on every machine.",
        ),
    ] = None
    length_groups: Annotated[
        int,
        Field(
            ge=1,
            exclude_if=lambda groups: groups == 1,
            description="Number of groups of texts of similar length into which each column of a batch is divided in the model's forward "
            "pass, so that short texts are not padded to the longest of the batch. The loss still covers the whole batch. More groups "
            "are faster, and draw other dropout masks. It has no effect on causal language models, nor on training for the scheme "
            "onnx_int8, whose ranges of activations cover the whole batch.",
        ),
    ] = 1
    prompts: Annotated[
        dict[str, Annotated[str, Field(min_length=1)]] | None,
        Field(
            description="Prompt that precedes the texts of each column, by the column's name, as in Sentence Transformers. Supported "
            "for embedding models."
        ),
    ] = None
    report_to: Annotated[
        list[Literal["tensorboard", "wandb", "trackio"]],
        Field(description="Experiment trackers that receive training metrics; each requires the package of its name."),
    ] = []

    @model_validator(mode="after")
    def _one_budget(self) -> "TrainerConfig":
        given = [name for name in ("max_steps", "max_examples", "max_seconds") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"set only one of {' and '.join(given)}")
        if self.max_seconds is not None and self.warmup_steps is not None:
            raise ValueError(
                "max_seconds cannot be combined with warmup_steps; set warmup_ratio, which is a fraction of the time"
            )
        return self

    @model_validator(mode="after")
    def _batches_can_be_shared(self) -> "TrainerConfig":
        processes = self.distributed.in_all
        if processes == 1:
            return self
        if self.batch_size % processes:
            below = self.batch_size // processes * processes
            near = f"{below} or {below + processes}" if below else f"{processes}"
            raise ValueError(
                f"batch_size={self.batch_size} cannot be divided equally among {processes} processes; set a multiple of {processes}, "
                f"such as {near}"
            )
        if not self.dataloader_drop_last:
            raise ValueError(
                f"dataloader_drop_last=false leaves a last batch that {processes} processes cannot share; set it to true"
            )
        return self

    @model_validator(mode="after")
    def _cycles_are_restarts(self) -> "TrainerConfig":
        if self.lr_scheduler_kwargs is not None and self.lr_scheduler_type != "cosine_with_restarts":
            raise ValueError(f"lr_scheduler_kwargs are for cosine_with_restarts, not for {self.lr_scheduler_type}")
        return self

    def steps(self, rows: int, extra: float | None = None) -> int:
        """Return the number of optimizer steps of a training, counted as Transformers' trainer does.

        Args:
            rows: Number of training examples in one epoch.
            extra: A method's `extra_steps`: the share of these steps that is added to them, rounded up.
        """
        steps = self._steps(rows)
        # Round before taking the ceiling: 700 steps and 7 % of them are 749, but 700 × 0.07 is 49.00000000000001.
        return steps + math.ceil(round(steps * (extra or 0.0), 6))

    def _steps(self, rows: int) -> int:
        if self.max_steps is not None:
            return self.max_steps
        if self.max_examples is not None:
            return math.ceil(self.max_examples / (self.batch_size * self.gradient_accumulation_steps))
        batches = rows // self.batch_size if self.dataloader_drop_last else math.ceil(rows / self.batch_size)
        steps_per_epoch = max(math.ceil(batches / self.gradient_accumulation_steps), 1)
        return math.ceil(self.num_train_epochs * steps_per_epoch)


def check_batches(count: int, distinct: Mapping[str, int], trainer: TrainerConfig) -> None:
    """Raise a UserError if no batch can be filled, given that a batch of pairs or tuples contains no text twice.

    Args:
        count: number of training rows.
        distinct: number of distinct texts in the training rows by column.
        trainer: batch size, and whether incomplete batches are dropped; the check applies only if they are.
    """
    size = trainer.batch_size
    if not trainer.dataloader_drop_last:
        return
    if count < size:
        raise UserError(
            f"trainer.batch_size={size} is more than the {count} training rows; lower it or raise data.rows"
        )
    column = min(distinct, key=lambda name: distinct[name])
    if distinct[column] < size:
        raise UserError(
            f"column '{column}' has {distinct[column]} different text{'s'[: distinct[column] != 1]} in {count} training rows, fewer "
            f"than trainer.batch_size={size}, and a batch has no text twice; lower it, or provide more different texts"
        )
