"""Sizes and rates of a training (conf/trainer), named as in Sentence Transformers' training arguments where they exist there."""

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from qatlab.base import Strict


class LrSchedulerKwargs(Strict):
    """What a scheduler takes besides steps."""

    num_cycles: Annotated[float, Field(gt=0, description="cosine_with_restarts: cycles in all of training")] = 1.0


class DistributedConfig(Strict):
    """The processes that share each batch of a training: one a GPU, or some of the processor's cores."""

    processes: Annotated[int, Field(gt=0, description="On each node: as many GPUs, where it has any")] = 1
    nodes: Annotated[int, Field(gt=0, description="Machines; each must be told to start, as Slurm's srun does")] = 1

    @property
    def in_all(self) -> int:
        """Processes on all nodes."""
        return self.processes * self.nodes


class TrainerConfig(Strict):
    """One training, whatever its method."""

    num_train_epochs: Annotated[float, Field(gt=0)] = 1.0
    max_steps: Annotated[int | None, Field(gt=0, description="Optimizer steps; overrides num_train_epochs")] = None
    max_examples: Annotated[
        int | None, Field(gt=0, description="Examples trained on, counted each time; overrides num_train_epochs")
    ] = None
    max_seconds: Annotated[
        float | None,
        Field(
            gt=0,
            description="Seconds of training, whatever the steps; the learning rate and late starts follow the clock. For causal_lm",
        ),
    ] = None
    batch_size: Annotated[
        int, Field(ge=2, description="Examples per step, of all processes together; in-batch negatives need two")
    ] = 64
    distributed: DistributedConfig = DistributedConfig()
    gradient_accumulation_steps: Annotated[int, Field(gt=0)] = 1
    learning_rate: Annotated[float, Field(gt=0)] = 5e-5
    lr_scheduler_type: Literal["linear", "cosine", "cosine_with_restarts", "constant", "constant_with_warmup"] = (
        "linear"
    )
    lr_scheduler_kwargs: LrSchedulerKwargs | None = None
    warmup_ratio: Annotated[float, Field(ge=0, lt=1)] = 0.1
    warmup_steps: Annotated[int | None, Field(ge=0, description="Instead of warmup_ratio")] = None
    dataloader_drop_last: Annotated[
        bool, Field(description="Leave out a last batch that is not full, whose examples have fewer in-batch negatives")
    ] = True
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    adam_epsilon: Annotated[
        float,
        Field(
            gt=0,
            description="Of AdamW: gradients much smaller than this make steps much smaller than the learning rate",
        ),
    ] = 1e-8
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    precision: Annotated[
        Literal["auto", "bf16", "fp32"], Field(description="auto is bf16 autocast where the processor or GPU has it")
    ] = "auto"
    threads: Annotated[
        int | None,
        Field(
            gt=0,
            description="Processor cores that a training computes with on a node; null for all that there are. Sums are rounded otherwise "
            "with another number, so a study that must be the same on every machine says it",
        ),
    ] = None
    prompts: Annotated[
        dict[str, Annotated[str, Field(min_length=1)]] | None,
        Field(
            description="What stands before the texts of a column, by its name, as in Sentence Transformers. For embedding models"
        ),
    ] = None
    report_to: Annotated[
        list[Literal["tensorboard", "wandb", "trackio"]],
        Field(description="Experiment trackers; each needs its own package"),
    ] = []

    @model_validator(mode="after")
    def _one_budget(self) -> "TrainerConfig":
        given = [name for name in ("max_steps", "max_examples", "max_seconds") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"give one of {' and '.join(given)}, not both")
        if self.max_seconds is not None and self.warmup_steps is not None:
            raise ValueError("max_seconds goes with warmup_ratio, a share of the time, not with warmup_steps")
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
                f"batch_size={self.batch_size} cannot be shared by {processes} processes alike; take a multiple of {processes}, "
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
        """Count the optimizer steps over this many rows, as Transformers' trainer does.

        Args:
            rows: training examples in one epoch.
            extra: a method's `extra_steps`: the share of these steps that is added to them, rounded up.
        """
        steps = self._steps(rows)
        # Rounded first: 700 steps and 7 % of them are 749, and 700 × 0.07 is 49.00000000000001.
        return steps + math.ceil(round(steps * (extra or 0.0), 6))

    def _steps(self, rows: int) -> int:
        if self.max_steps is not None:
            return self.max_steps
        if self.max_examples is not None:
            return math.ceil(self.max_examples / (self.batch_size * self.gradient_accumulation_steps))
        batches = rows // self.batch_size if self.dataloader_drop_last else math.ceil(rows / self.batch_size)
        an_epoch = max(math.ceil(batches / self.gradient_accumulation_steps), 1)
        return math.ceil(self.num_train_epochs * an_epoch)
