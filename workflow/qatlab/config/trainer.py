"""Sizes and rates of a training (conf/trainer), named as in Sentence Transformers' training arguments where they exist there."""

from typing import Annotated, Literal

from pydantic import Field

from qatlab.config.base import Strict


class TrainerConfig(Strict):
    """One training, whatever its method."""

    num_train_epochs: Annotated[float, Field(gt=0)] = 1.0
    max_steps: Annotated[int | None, Field(gt=0, description="Optimizer steps; overrides num_train_epochs")] = None
    batch_size: Annotated[int, Field(ge=2, description="Examples per device and step; in-batch negatives need two")] = (
        64
    )
    gradient_accumulation_steps: Annotated[int, Field(gt=0)] = 1
    learning_rate: Annotated[float, Field(gt=0)] = 5e-5
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup"] = "linear"
    warmup_ratio: Annotated[float, Field(ge=0, lt=1)] = 0.1
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    precision: Annotated[
        Literal["auto", "bf16", "fp32"], Field(description="auto is bf16 autocast where the processor or GPU has it")
    ] = "auto"
    report_to: Annotated[
        list[Literal["tensorboard", "wandb", "trackio"]],
        Field(description="Experiment trackers; each needs its own package"),
    ] = []
