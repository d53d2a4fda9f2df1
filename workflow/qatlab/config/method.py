"""How a model is trained (conf/method): the loss, embedding quantization in it, weight quantization around it."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from qatlab.config.base import Strict

Precision = Literal["float32", "int8", "binary"]


class LossConfig(Strict):
    """A loss of Sentence Transformers over embeddings."""

    name: Literal["multiple_negatives_ranking"] = "multiple_negatives_ranking"
    scale: Annotated[float, Field(gt=0, description="Similarities are multiplied by this (1 / temperature)")] = 20.0


class WeightSchedule(Strict):
    """A precision's weight in the loss, reached linearly from 0."""

    weight: Annotated[float, Field(ge=0)] = 1.0
    warmup_steps: Annotated[int | None, Field(ge=0, description="Optimizer steps until the full weight")] = None
    warmup_fraction: Annotated[
        float | None, Field(ge=0, description="The same as a share of training; above 1 it never completes")
    ] = None

    @model_validator(mode="after")
    def _one_unit(self) -> "WeightSchedule":
        if self.warmup_steps is not None and self.warmup_fraction is not None:
            raise ValueError("give warmup_steps or warmup_fraction, not both")
        return self


class EmbeddingQuantizationConfig(Strict):
    """Quantization of the output embeddings inside the loss (straight-through gradients)."""

    precisions: Annotated[dict[Precision, WeightSchedule], Field(min_length=1)]

    @model_validator(mode="after")
    def _some_weight(self) -> "EmbeddingQuantizationConfig":
        if all(schedule.weight == 0 for schedule in self.precisions.values()):
            raise ValueError("every precision has weight 0; give at least one a positive weight")
        return self


class WeightQuantizationConfig(Strict):
    """Fake quantization of the weights of linear layers during training (torchao)."""

    scheme: Literal["int8"]
    granularity: Literal["per_axis"] = "per_axis"


class MethodConfig(Strict):
    """One training recipe."""

    name: Annotated[str, Field(min_length=1, description="As the file is called; stands in tables")]
    train: Annotated[bool, Field(description="false evaluates the model as it comes")] = True
    loss: LossConfig = LossConfig()
    embedding_quantization: EmbeddingQuantizationConfig | None = None
    weight_quantization: WeightQuantizationConfig | None = None

    @model_validator(mode="after")
    def _untrained_has_no_recipe(self) -> "MethodConfig":
        if not self.train and (self.embedding_quantization or self.weight_quantization):
            raise ValueError(
                "train is false, so embedding_quantization and weight_quantization would do nothing; remove them or set train: true"
            )
        return self
