"""How a model is trained (conf/method): the loss, embedding quantization in it, weight quantization around it."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from qatlab.base import Strict, VariantName
from qatlab.config.loss import LossConfig, default_loss
from qatlab.config.precision import FittedRotationConfig, PrecisionName
from qatlab.config.weights import Expression, Scheme
from qatlab.quantization.precisions import QUANTILE, RANGED, UNIFORM, sides, similarity_slope


class WeightScheduleConfig(Strict):
    """A precision's weight in the loss: 0 until the start, reached over the warm-up, then constant."""

    weight: Annotated[float, Field(ge=0)] = 1.0
    warmup_steps: Annotated[int | None, Field(ge=0, description="Optimizer steps until the full weight")] = None
    warmup_fraction: Annotated[
        float | None, Field(ge=0, description="The same as a share of training; above 1 it never completes")
    ] = None
    start_steps: Annotated[int | None, Field(ge=0, description="Optimizer step at which it begins")] = None
    start_fraction: Annotated[float | None, Field(ge=0, description="The same as a share of training")] = None
    shape: Annotated[Literal["linear", "cosine"], Field(description="Of the warm-up")] = "linear"

    @model_validator(mode="after")
    def _one_unit(self) -> "WeightScheduleConfig":
        for what in ("warmup", "start"):
            if getattr(self, f"{what}_steps") is not None and getattr(self, f"{what}_fraction") is not None:
                raise ValueError(f"give {what}_steps or {what}_fraction, not both")
        return self


class RangesConfig(Strict):
    """What the cells of integer precisions are fitted on in training. All but those of batches are saved with the model."""

    kind: Annotated[
        Literal["batch", "running", "learned", "fixed", "minmax", "percentile", "symmetric", "quantile"],
        Field(
            description="Extremes of each batch (int2_quantile and ternary: its quantiles); their moving average; for int8, uint8, "
            "int4 and int2: a step trained with the model (estimator lsq), ±limit, or one of minmax, percentile and symmetric, fitted "
            "before training on the model's embeddings of training documents; for int2_quantile and ternary: quantile, fitted likewise"
        ),
    ] = "batch"
    momentum: Annotated[float, Field(ge=0, lt=1, description="Of running")] = 0.99
    limit: Annotated[float, Field(gt=0, description="Of fixed")] = 0.18


class EstimatorConfig(Strict):
    """How gradients pass the rounding."""

    name: Annotated[
        Literal["identity", "clipped", "tanh", "lsq"],
        Field(description="Straight-through; 0 outside the range; BPR's annealed tanh; learned step size"),
    ] = "identity"
    limit: Annotated[float, Field(gt=0, description="clipped: where binary's gradient ends")] = 1.0
    gamma: Annotated[float, Field(ge=0, description="tanh: sharpness is √(gamma × step + 1) × scale")] = 0.1
    scale: Annotated[float, Field(gt=0, description="tanh: see gamma")] = 1.0


class CentringConfig(Strict):
    """A shift of the embeddings before every precision, which stays with the model as an ordinary module."""

    kind: Annotated[
        Literal["batch", "running", "learned"],
        Field(
            description="What is subtracted: the mean of each batch, whose moving average the model keeps; the moving average "
            "itself; or a bias per dimension that is trained with the model"
        ),
    ]
    momentum: Annotated[
        float, Field(ge=0, lt=1, description="How much of the moving average stays at each step; not for learned")
    ] = 0.9


def _centring(value: Any) -> Any:
    """`running` is short for `{kind: running}`, `none` for null."""
    if value == "none":
        return None
    return {"kind": value} if isinstance(value, str) else value


class EmbeddingQuantizationConfig(Strict):
    """Quantization of the output embeddings inside the loss."""

    precisions: Annotated[dict[PrecisionName, WeightScheduleConfig], Field(min_length=1)]
    ranges: RangesConfig = RangesConfig()
    estimator: EstimatorConfig = EstimatorConfig()
    scales: Annotated[
        dict[PrecisionName, Annotated[float, Field(gt=0)]],
        Field(description="The loss's scale by precision, where it should be another"),
    ] = {}
    match_scales: Annotated[
        bool,
        Field(
            description="Precisions with bits that are not in scales have the loss's scale divided by the slope of their "
            "similarities: times π/2 for binary (31.4 for 20), times √(π/2) for float32_x_binary. false leaves the loss's own"
        ),
    ] = True
    learned_scales: Annotated[list[PrecisionName], Field(description="Precisions whose scale is trained")] = []
    centring: Annotated[
        CentringConfig | None,
        BeforeValidator(_centring),
        Field(
            description="Centring inside the loss: batch, running or learned, or one with its momentum; null for none"
        ),
    ] = None
    diagnose_every: Annotated[
        int,
        Field(ge=0, description="Steps from one comparison of the precisions' gradients to the next; 0 for none"),
    ] = 10
    distillation: Annotated[
        float, Field(ge=0, description="Weight of the KL divergence from the float similarities to the quantized ones")
    ] = 0.0
    variant: Annotated[
        Literal["pr3655", "pr3655_cache_fixed"] | None,
        Field(description="Round as sentence-transformers' pull request 3655 did, to reproduce it"),
    ] = None

    @model_validator(mode="after")
    def _fits_together(self) -> "EmbeddingQuantizationConfig":
        if all(schedule.weight == 0 for schedule in self.precisions.values()):
            raise ValueError("every precision has weight 0; give at least one a positive weight")
        for name in (*self.scales, *self.learned_scales):
            if name not in self.precisions:
                raise ValueError(f"a scale is given for {name}, which is not among the precisions")
        if (self.estimator.name == "lsq") != (self.ranges.kind == "learned"):
            raise ValueError("estimator lsq and ranges.kind learned go together: lsq trains the range's step")
        self._ranges_fit()
        if self.variant and (self.ranges.kind not in ("batch", "running") or self.estimator.name != "identity"):
            raise ValueError(
                f"variant {self.variant} has its own gradients, and ranges of a batch or running ones; leave estimator out"
            )
        if self.variant and self.centring is not None:
            raise ValueError(f"variant {self.variant} has no centring; leave centring or variant out")
        return self

    def scale_of(self, name: str, own: float) -> float:
        """Return the scale that a precision begins with, where the loss has `own`."""
        if name in self.scales:
            return self.scales[name]
        return own if self.variant or not self.match_scales else own / similarity_slope(*sides(name))

    def _ranges_fit(self) -> None:
        if self.ranges.kind in ("batch", "running"):
            return
        used = [side for name in self.precisions for side in sides(name)]
        for precision in used:
            if precision in QUANTILE and self.ranges.kind != "quantile":
                raise ValueError(
                    f"ranges.kind {self.ranges.kind} has no quantiles, which the cells of {precision} lie between; "
                    "choose batch, running or quantile"
                )
            if precision in UNIFORM and self.ranges.kind == "quantile":
                raise ValueError(
                    f"ranges.kind quantile is for {' and '.join(QUANTILE)}, and the cells of {precision} are equally wide; choose "
                    "batch, running, minmax, percentile, symmetric or fixed"
                )


class MethodRotationConfig(FittedRotationConfig):
    """A rotation appended to the model before it is trained, fitted on its own embeddings of training documents."""

    kind: Literal["none", "random", "pca", "itq", "overcomplete"]
    trainable: Annotated[bool, Field(description="Train its matrix with the model, as a head")] = False

    @model_validator(mode="after")
    def _it_changes_something(self) -> "MethodRotationConfig":
        if self.plain:
            raise ValueError(
                "kind none without center appends nothing; set center: mean or median, or leave rotation out"
            )
        return self


class LoraConfig(Strict):
    """Low-rank adapters are trained and everything else is frozen; named as in peft. Merged into the weights in the end."""

    r: Annotated[int, Field(gt=0, description="Rank")] = 64
    lora_alpha: Annotated[float, Field(gt=0, description="The adapters' product is multiplied by lora_alpha / r")] = 64
    lora_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    target_modules: Annotated[
        Expression,
        Field(
            description="Regular expression that a linear layer's whole name must match; never the head that shares the embedding table"
        ),
    ] = ".*"
    quantized: Annotated[
        Literal["base", "merged"],
        Field(
            description="With a scheme of weights: what is fake-quantized. base: the frozen weight, the adapter's share in float "
            "beside it (as unsloth does); merged: the sum of both, so that what is trained is what is merged and shipped"
        ),
    ] = "base"

    @model_validator(mode="after")
    def _a_sum_has_no_dropout(self) -> "LoraConfig":
        if self.quantized == "merged" and self.lora_dropout:
            raise ValueError("quantized: merged adds the adapter to the weight, which leaves no place for lora_dropout")
        return self


class StartConfig(Strict):
    """When fake quantizers begin to quantize; until then they pass values through (late QAT)."""

    steps: Annotated[int | None, Field(ge=0, description="Optimizer step at which they begin")] = None
    fraction: Annotated[float | None, Field(ge=0, lt=1, description="The same as a share of training")] = None

    @model_validator(mode="after")
    def _one_unit(self) -> "StartConfig":
        if self.steps is not None and self.fraction is not None:
            raise ValueError("give steps or fraction, not both")
        return self


class WeightStartConfig(Strict):
    """The start of weight quantization, and apart from it that of the activations."""

    weights: StartConfig = StartConfig()
    activations: StartConfig = StartConfig()


class MethodConfig(Strict):
    """One training recipe."""

    name: Annotated[VariantName, Field(description="As the file is called; stands in tables")]
    train: Annotated[bool, Field(description="false evaluates the model as it comes")] = True
    loss: Annotated[LossConfig, Field(description="What the model learns similarities by, before quantization")] = (
        default_loss()
    )
    rotation: MethodRotationConfig | None = None
    embedding_quantization: EmbeddingQuantizationConfig | None = None
    lora: Annotated[LoraConfig | None, Field(description="Adapters instead of full fine-tuning")] = None
    learning_rate: Annotated[
        float | None, Field(gt=0, description="Instead of trainer.learning_rate: adapters want about ten times as much")
    ] = None
    extra_steps: Annotated[
        float | None,
        Field(
            ge=0,
            description="The method trains for more optimizer steps than the trainer's settings give, by this share of them (0.05 is "
            "5 % more): what the extra time of a recipe's steps would have bought plain training. The learning-rate schedule spans "
            "all steps, and further passes over the rows follow where one is not enough",
        ),
    ] = None
    weights: Annotated[
        Scheme | None,
        Field(
            description="The scheme that weights are fake-quantized to in training: a name, such as int4, or a mapping of fields"
        ),
    ] = None
    weights_start: Annotated[
        WeightStartConfig | None,
        Field(description="When fake quantization begins; null is at the first step"),
    ] = None

    @model_validator(mode="after")
    def _untrained_has_no_recipe(self) -> "MethodConfig":
        given = [
            name
            for name in (
                "rotation",
                "embedding_quantization",
                "lora",
                "learning_rate",
                "extra_steps",
                "weights",
            )
            if getattr(self, name) is not None
        ]
        if not self.train and given:
            raise ValueError(f"train is false, so {' and '.join(given)} would do nothing; remove it or set train: true")
        return self

    @model_validator(mode="after")
    def _what_is_merged_can_be(self) -> "MethodConfig":
        if self.lora is not None and self.lora.quantized == "merged" and self.weights is None:
            raise ValueError(
                "lora.quantized is merged, but there is no scheme of weights; set weights: int4, say, or leave quantized out"
            )
        return self

    @model_validator(mode="after")
    def _blocks_are_whole(self) -> "MethodConfig":
        scheme, start = self.weights, self.weights_start
        if scheme is None or not scheme.in_blocks:
            return self
        if self.lora is not None and self.lora.quantized == "merged":
            raise ValueError(
                f"scheme '{scheme.name}' cannot quantize the sum of weight and adapter; set lora.quantized: base"
            )
        if start is not None and start.activations != StartConfig():
            raise ValueError(
                f"scheme '{scheme.name}' begins with weights and activations at once; leave start.activations out"
            )
        return self

    @model_validator(mode="after")
    def _what_starts_is_there(self) -> "MethodConfig":
        if self.weights_start is None:
            return self
        if self.weights is None:
            raise ValueError(
                "weights_start without weights starts nothing; set a scheme, such as weights: int4, or leave it out"
            )
        late = self.weights_start.activations != StartConfig()
        if late and not self.weights.activated:
            raise ValueError(f"weights_start.activations: scheme '{self.weights.name}' leaves activations in float")
        return self

    @property
    def saved_ranges(self) -> list[str]:
        """The integer precisions whose ranges training leaves with the model."""
        quantization = self.embedding_quantization
        if quantization is None or quantization.ranges.kind == "batch":
            return []
        return [precision for precision in RANGED if any(precision in sides(name) for name in quantization.precisions)]
