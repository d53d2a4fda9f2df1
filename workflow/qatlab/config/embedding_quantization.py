"""Quantization of output embeddings inside the loss: the key `embedding_quantization` of a method."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from qatlab.config.precision import PrecisionName
from qatlab.quantization.precisions import QUANTILE, UNIFORM, sides, similarity_slope
from qatlab.registry import Strict


class WeightScheduleConfig(Strict):
    """Schedule of a precision's weight in the loss: 0 until the start, rising during the warm-up, then constant."""

    weight: Annotated[float, Field(ge=0, description="Weight of the precision's loss after the warm-up.")] = 1.0
    warmup_steps: Annotated[
        int | None,
        Field(ge=0, description="Length of the warm-up in optimizer steps, after which the weight is reached."),
    ] = None
    warmup_fraction: Annotated[
        float | None,
        Field(
            ge=0,
            description="Length of the warm-up as a fraction of training; a warm-up above 1 does not complete during training.",
        ),
    ] = None
    start_steps: Annotated[int | None, Field(ge=0, description="Optimizer step at which the warm-up begins.")] = None
    start_fraction: Annotated[
        float | None, Field(ge=0, description="Start of the warm-up as a fraction of training.")
    ] = None
    shape: Annotated[Literal["linear", "cosine"], Field(description="Shape of the warm-up curve.")] = "linear"

    @model_validator(mode="after")
    def _one_unit(self) -> "WeightScheduleConfig":
        for key in ("warmup", "start"):
            if getattr(self, f"{key}_steps") is not None and getattr(self, f"{key}_fraction") is not None:
                raise ValueError(f"give {key}_steps or {key}_fraction, not both")
        return self


class RangesConfig(Strict):
    """Ranges of integer precisions during training. All kinds except `batch` save the ranges with the model."""

    kind: Annotated[
        Literal["batch", "running", "learned", "fixed", "tanh", "minmax", "percentile", "symmetric", "quantile"],
        Field(
            description="batch takes the extremes of each batch (int2_quantile and ternary: its quantiles); running takes their moving "
            "average. For int8, uint8, int4 and int2, learned trains a step size with the model (estimator lsq), fixed takes ±limit, "
            "tanh takes the fixed grid of int8 that belongs to activation tanh, and minmax, percentile and symmetric are fitted before "
            "training on the model's embeddings of training documents. quantile is fitted in the same way, for int2_quantile and ternary."
        ),
    ] = "batch"
    momentum: Annotated[
        float, Field(ge=0, lt=1, description="running: share of the moving average that is kept at each step.")
    ] = 0.99
    limit: Annotated[float, Field(gt=0, description="fixed: every dimension ranges from -limit to limit.")] = 0.18


class EstimatorConfig(Strict):
    """The gradient estimator of the rounding in embedding quantization."""

    name: Annotated[
        Literal["identity", "clipped", "tanh", "lsq"],
        Field(
            description="identity is the straight-through estimator; clipped sets the gradient to 0 outside the range; tanh is BPR's "
            "annealed tanh; lsq is learned step size quantization."
        ),
    ] = "identity"
    limit: Annotated[
        float, Field(gt=0, description="clipped: magnitude of a value above which the gradient of binary is 0.")
    ] = 1.0
    gamma: Annotated[
        float, Field(ge=0, description="tanh: bits become tanh(β · √d · x / ‖x‖) with β = √(gamma × step + 1).")
    ] = 0.1
    scale: Annotated[
        float | None,
        Field(gt=0, description="tanh: a constant factor in place of √d / ‖x‖; null keeps √d / ‖x‖ of each row."),
    ] = None


class CentringConfig(Strict):
    """Centring of the embeddings before every precision; the shift is saved with the model as an ordinary module."""

    kind: Annotated[
        Literal["batch", "running", "learned"],
        Field(
            description="Vector that is subtracted: batch is the mean of each batch, and the model keeps the moving average of these "
            "means; running is the moving average itself; learned is a bias per dimension that is trained with the model."
        ),
    ]
    momentum: Annotated[
        float,
        Field(
            ge=0,
            lt=1,
            description="batch, running: share of the moving average that is kept at each step, such as 0.9.",
        ),
    ] = 0.9


def _centring(value: Any) -> Any:
    """Expand the short forms of centring: `running` is `{kind: running}`, and `none` is null."""
    if value == "none":
        return None
    return {"kind": value} if isinstance(value, str) else value


class RegularizationConfig(Strict):
    """Weights of terms that regularize the float embeddings of each batch; a weight of 0 disables a term."""

    spread_out: Annotated[
        float,
        Field(
            ge=0,
            description="Weight of the Global Orthogonal Regularization of Zhang et al. 2017, which spreads embeddings over all "
            "directions: M₁² + max(0, M₂ − 1/d), of the mean and the mean square of the cosine similarities of texts that do not match.",
        ),
    ] = 0.0
    balance: Annotated[
        float,
        Field(
            ge=0,
            description="Weight of the mean over dimensions of the squared mean of a bit, by which each bit is 1 for half of the "
            "texts. Bits are tanh(√d · x / ‖x‖) here.",
        ),
    ] = 0.0
    decorrelation: Annotated[
        float,
        Field(
            ge=0,
            description="Weight of the mean over pairs of different bits of their squared mean product, by which no bit repeats another. "
            "Bits are tanh(√d · x / ‖x‖) here.",
        ),
    ] = 0.0


class MarginRankingConfig(Strict):
    """Margin ranking of the binary codes of queries and documents, the candidate-generation term of BPR (Yamada et al. 2021)."""

    margin: Annotated[
        float,
        Field(
            ge=0,
            description="Margin between the similarity of a query to its own document and to any other document of the batch, hard "
            "negatives included. Similarities of codes range from −1 to 1, and a flipped bit of d changes one by 2/d.",
        ),
    ] = 0.1
    weight: Annotated[
        float,
        Field(gt=0, description="Weight of the term, which is also multiplied by the scale of the loss."),
    ] = 1.0


class EmbeddingQuantizationConfig(Strict):
    """Configuration of the quantization of output embeddings inside the loss."""

    precisions: Annotated[
        dict[PrecisionName, WeightScheduleConfig],
        Field(
            min_length=1,
            description="Precisions at which the loss is computed, each with its weight, such as {float32: {weight: 1.0}, int8: {}}.",
        ),
    ]
    activation: Annotated[
        Literal["tanh"] | None,
        Field(
            exclude_if=lambda activation: activation is None,
            description="Activation that is appended to the model before training and deployed with it, as ordinary modules. tanh "
            "computes tanh(√d · x / ‖x‖), scaled to length 1 again, and has a fixed grid of int8 (ranges.kind tanh); null appends none.",
        ),
    ] = None
    ranges: Annotated[RangesConfig, Field(description="Ranges of integer precisions during training.")] = RangesConfig()
    estimator: Annotated[EstimatorConfig, Field(description="Gradient estimator of the rounding.")] = EstimatorConfig()
    scales: Annotated[
        dict[PrecisionName, Annotated[float, Field(gt=0)]],
        Field(
            description="Scale of the loss for precisions that need another one than the loss's own, such as {binary: 30.0}."
        ),
    ] = {}
    match_scales: Annotated[
        bool,
        Field(
            description="Whether binary precisions that are not in `scales` use the loss's scale divided by the slope of their "
            "similarities: times π/2 for binary (31.4 instead of 20), times √(π/2) for float32_x_binary. false uses the loss's own."
        ),
    ] = True
    learned_scales: Annotated[
        list[PrecisionName], Field(description="Precisions whose scale is a trained parameter.")
    ] = []
    centring: Annotated[
        CentringConfig | None,
        BeforeValidator(_centring),
        Field(
            description="Centring inside the loss: batch, running or learned, or a mapping such as {kind: running, momentum: 0.9}; "
            "null disables it."
        ),
    ] = None
    diagnose_every: Annotated[
        int,
        Field(
            ge=0,
            description="Number of steps between two comparisons of the precisions' gradients; 0 disables the comparisons.",
        ),
    ] = 10
    distillation: Annotated[
        float,
        Field(
            ge=0, description="Weight of the KL divergence from the float similarities to the quantized similarities."
        ),
    ] = 0.0
    regularization: Annotated[
        RegularizationConfig,
        Field(
            exclude_if=lambda weights: weights == RegularizationConfig(),
            description="Weights of terms that regularize embeddings, such as {spread_out: 1.0, balance: 0.1}.",
        ),
    ] = RegularizationConfig()
    margin_ranking: Annotated[
        MarginRankingConfig | None,
        Field(
            exclude_if=lambda ranking: ranking is None,
            description="Margin ranking of binary codes, of which row i of the second text column must be the document of query i; "
            "null adds none.",
        ),
    ] = None
    variant: Annotated[
        Literal["pr3655", "pr3655_cache_fixed"] | None,
        Field(
            description="Reproduces the rounding of sentence-transformers' pull request 3655; null uses qatlab's own."
        ),
    ] = None

    @model_validator(mode="after")
    def _fits_together(self) -> "EmbeddingQuantizationConfig":
        if all(schedule.weight == 0 for schedule in self.precisions.values()):
            raise ValueError("every precision has weight 0; give at least one a positive weight")
        for name in (*self.scales, *self.learned_scales):
            if name not in self.precisions:
                raise ValueError(f"a scale is given for {name}, which is not among the precisions; add it there")
        if (self.estimator.name == "lsq") != (self.ranges.kind == "learned"):
            raise ValueError(
                "estimator lsq and ranges.kind learned require each other, because lsq trains the step of the range; set both"
            )
        if (self.activation == "tanh") != (self.ranges.kind == "tanh"):
            raise ValueError(
                "activation tanh and ranges.kind tanh require each other, because the grid is that of tanh's values; set both"
            )
        self._ranges_fit()
        added = self.margin_ranking is not None or self.regularization != RegularizationConfig()
        if self.variant and (added or self.activation):
            raise ValueError(
                f"variant {self.variant} reproduces the pull request's loss; leave activation, regularization and margin_ranking out"
            )
        if self.variant and (self.ranges.kind not in ("batch", "running") or self.estimator.name != "identity"):
            raise ValueError(
                f"variant {self.variant} has its own gradients and supports only ranges.kind batch and running; set one of these "
                "kinds, and leave estimator out"
            )
        if self.variant and self.centring is not None:
            raise ValueError(f"variant {self.variant} does not support centring; leave centring or variant out")
        return self

    def scale_of(self, name: str, own: float) -> float:
        """Return the scale with which a precision starts training.

        Args:
            name: The precision.
            own: The scale of the loss itself.
        """
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
                    f"ranges.kind {self.ranges.kind} fits no quantiles, between which the cells of {precision} lie; "
                    "choose batch, running or quantile"
                )
            if precision in UNIFORM and precision not in ("int8", "uint8") and self.ranges.kind == "tanh":
                raise ValueError(
                    f"ranges.kind tanh is a grid of int8, not of {precision}; leave {precision} out, or activation and ranges"
                )
            if precision in UNIFORM and self.ranges.kind == "quantile":
                raise ValueError(
                    f"ranges.kind quantile is for {' and '.join(QUANTILE)}, but the cells of {precision} have equal widths; choose "
                    "batch, running, minmax, percentile, symmetric or fixed"
                )
