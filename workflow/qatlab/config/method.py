"""How a model is trained (conf/method): the loss, embedding quantization in it, weight quantization around it."""

import math
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import BeforeValidator, Field, model_validator

from qatlab.config.embedding_quantization import EmbeddingQuantizationConfig
from qatlab.config.precision import AxesConfig, FittedRotationConfig, axes_by_name
from qatlab.config.trainer import TrainerConfig
from qatlab.config.weights import Expression, Scheme, StartConfig, WeightStartConfig
from qatlab.quantization.precisions import RANGED, sides
from qatlab.quantization.rotations import NEED_EMBEDDINGS
from qatlab.registry import Strict, VariantName
from qatlab.training_losses import LOSSES, Loss

DEFAULT = "multiple_negatives_ranking"
Fitted = Literal["pairs", "corpus", "both"]


def _named(value: Any) -> Any:
    return {"name": DEFAULT, **value} if isinstance(value, dict) else value


if TYPE_CHECKING:
    LossConfig: TypeAlias = Loss
else:
    LossConfig = Annotated[LOSSES.config_type(), BeforeValidator(_named)]


def default_loss() -> Loss:
    """Return the configuration of the loss that a method has if it names none."""
    return LOSSES.get(DEFAULT).model_validate({"name": DEFAULT})


class MethodRotationConfig(FittedRotationConfig):
    """A rotation appended to the model before it is trained, fitted on its own embeddings of training documents."""

    kind: Annotated[
        Literal["none", "random", "pca", "itq", "overcomplete"],
        Field(description="Rotation of the embeddings; none keeps the model's own axes and only subtracts the centre."),
    ]
    trainable: Annotated[
        bool, Field(description="Whether the matrix of the rotation is trained with the model, as a linear head.")
    ] = False

    @model_validator(mode="after")
    def _it_changes_something(self) -> "MethodRotationConfig":
        if self.plain:
            raise ValueError(
                "kind none without center has no effect; set center: mean or median, or leave rotation out"
            )
        return self


class HeadConfig(Strict):
    """A linear head trained on cached embeddings while the encoder is frozen (BEBR, arXiv 2302.08714).

    The head is a matrix with orthonormal rows, so that float similarities of embeddings that it does not centre are unchanged.
    """

    cutoff: ClassVar[int] = 10  # Number of documents that the score of held-out queries counts.

    fitted_on: Annotated[
        Fitted,
        Field(
            description="Embeddings that the head is trained on. pairs is the training pairs; corpus is the documents of all tasks of "
            "the study together, without queries and labels, because one model is scored on all of them (a study of one task has a head "
            "for this task); both is pairs and corpus. The method's name must end in it, so that each row of a table shows it."
        ),
    ]
    start: Annotated[
        AxesConfig,
        BeforeValidator(axes_by_name),
        Field(
            description="Axes from which training starts, by their kind or as a mapping such as {kind: overcomplete, bits: 1024}. A centre "
            "is trained further; without one, float similarities are unchanged."
        ),
    ] = AxesConfig(kind="itq")
    rows: Annotated[
        int,
        Field(gt=1, description="Largest number of training pairs, and of documents of each task, that are used."),
    ] = 16384
    steps: Annotated[int, Field(gt=0, description="Largest number of optimizer steps.")] = 2000
    learning_rate: Annotated[
        float, Field(gt=0, description="Peak learning rate of Adam; it falls along a cosine to 0.")
    ] = 1e-3
    anchors: Annotated[
        int,
        Field(
            gt=1,
            description="Number of queries per batch, each with its document. The neighbours of other queries are the "
            "random documents that each query is compared with.",
        ),
    ] = 48
    neighbours: Annotated[
        int,
        Field(
            gt=0,
            description="Number of nearest documents in the float space that each of these documents adds to the batch.",
        ),
    ] = 7
    query_cosine: Annotated[
        float,
        Field(
            gt=0,
            lt=1,
            description="Cosine similarity between a document without a query and the random query that stands for one, which is the "
            "document plus noise with the second moments of the documents.",
        ),
    ] = 0.6
    temperature: Annotated[
        float, Field(gt=0, description="Factor of the float similarities before the softmax that gives the targets.")
    ] = 20.0
    distillation: Annotated[
        float, Field(ge=0, description="Weight of the KL divergence from the float similarities to those of codes.")
    ] = 1.0
    contrastive: Annotated[
        float,
        Field(ge=0, description="Weight of the cross-entropy of each query's own document, random queries included."),
    ] = 0.1
    decorrelation: Annotated[
        float,
        Field(ge=0, description="Weight of the mean over pairs of different bits of their squared mean product."),
    ] = 0.1
    balance: Annotated[float, Field(ge=0, description="Weight of the mean over bits of the squared mean of a bit.")] = (
        0.1
    )
    sharpness: Annotated[
        tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]],
        Field(
            description="First and last value of β in the codes tanh(β·√bits·x), which rises geometrically until signs replace them."
        ),
    ] = (1.0, 8.0)
    hard_fraction: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="Last share of the steps in which codes are signs, whose gradient is that of the tanh (straight-through).",
        ),
    ] = 0.3
    held_out: Annotated[
        float,
        Field(gt=0, lt=1, description="Share of the queries that are held out to measure the retrieval score of bits."),
    ] = 0.1
    evaluate_every: Annotated[
        int, Field(gt=0, description="Number of steps between two measurements of the held-out score.")
    ] = 100
    patience: Annotated[
        int,
        Field(
            gt=0,
            description="Number of measurements without a better score after which training stops. The head with the best score is kept.",
        ),
    ] = 8

    @model_validator(mode="after")
    def _it_teaches_something(self) -> "HeadConfig":
        if not self.distillation and not self.contrastive:
            raise ValueError("distillation and contrastive are both 0, so nothing would be learned; set one above 0")
        return self

    def check_documents(self, count: int, dim: int) -> None:
        """Raise ValueError for too few documents to train a head on.

        Args:
            count: number of documents.
            dim: number of dimensions of their embeddings.
        """
        axes = dim if self.start.kind in NEED_EMBEDDINGS else 0
        trained = needed = max(self.anchors, self.neighbours + 1, self.cutoff + 1, axes)
        if self.fitted_on != "corpus":  # documents without a query are not held out
            needed = max(trained, math.floor(trained / (1 - self.held_out)) - 1)
            while needed - math.ceil(self.held_out * needed) < trained:
                needed += 1
        if count < needed:
            raise ValueError(
                f"a head with {self.anchors} anchors, {self.neighbours} neighbours and the start '{self.start.label}' in {dim} dimensions "
                f"needs at least {needed} documents, and there are {count} for fitted_on: {self.fitted_on}; raise "
                f"{'the number of documents' if self.fitted_on == 'corpus' else 'data.rows'}"
                + (", or set head.start to none" if axes == trained else ", or lower head.anchors or head.neighbours")
            )


class LoraConfig(Strict):
    """Low-rank adapters, which are trained while all other weights are frozen, and are merged into the weights after training.

    The keys have their names in peft.
    """

    r: Annotated[int, Field(gt=0, description="Rank of the adapters.")] = 64
    lora_alpha: Annotated[
        float, Field(gt=0, description="Scaling numerator: the adapters' product is multiplied by lora_alpha / r.")
    ] = 64
    lora_dropout: Annotated[float, Field(ge=0, lt=1, description="Dropout probability of the adapters' inputs.")] = 0.0
    target_modules: Annotated[
        Expression,
        Field(
            description="Regular expression that the whole name of a linear layer must match to get an adapter. A head that shares "
            "the embedding table never gets one."
        ),
    ] = ".*"
    quantized: Annotated[
        Literal["base", "merged"],
        Field(
            description="Weights that are fake-quantized where `weights` sets a scheme. base quantizes the frozen weight and adds "
            "the adapter's product in float (as unsloth does); merged quantizes the sum of both, which is the weight that is "
            "merged and deployed."
        ),
    ] = "base"

    @model_validator(mode="after")
    def _a_sum_has_no_dropout(self) -> "LoraConfig":
        if self.quantized == "merged" and self.lora_dropout:
            raise ValueError(
                "quantized: merged adds the adapter to the weight, to whose sum dropout cannot be applied; set lora_dropout: 0, "
                "or quantized: base"
            )
        return self


class StartFromConfig(Strict):
    """The method whose trained model a training starts from, in place of the base model."""

    method: Annotated[
        VariantName,
        Field(
            description="Method that is trained first, with the model, data, trainer and seed of the run; METHOD:SCHEME too. All "
            "methods of a study that start from it share its training."
        ),
    ]
    rows: Annotated[
        int | None,
        Field(
            gt=0,
            description="Number of training rows, which follow those of the first training in the shuffled order, so that no row is "
            "in both; null trains on the rows of the first training again.",
        ),
    ] = None
    fraction: Annotated[
        float | None,
        Field(
            gt=0,
            lt=1,
            description="Share of the trainer's steps that the first training has; this one has the rest, so that both together are as "
            "long as the training of a method without start_from. null gives all steps to each.",
        ),
    ] = None


def _start_by_name(value: Any) -> Any:
    return {"method": value} if isinstance(value, str) else value


class LearningRatesConfig(Strict):
    """Peak learning rates by part of an embedding model; the schedule is the same for all."""

    encoder: Annotated[
        float | None, Field(gt=0, description="Learning rate of the base model's modules; null is that of the method.")
    ] = None
    head: Annotated[
        float | None,
        Field(
            gt=0,
            description="Learning rate of the modules that this method or the one that it starts from has appended to the base model. With "
            "null, trainable modules of this method have its learning rate, and those of the earlier method are not trained.",
        ),
    ] = None


# Keys of a method that are about the training of the model itself.
TRAIN_THE_MODEL = (
    "rotation", "embedding_quantization", "lora", "learning_rate", "learning_rates", "extra_steps", "weights", "float_teacher",
)  # fmt: skip


class MethodConfig(Strict):
    """Configuration of a method, which is one training recipe."""

    name: Annotated[
        VariantName,
        Field(description="Name of the method in tables; it is the name of the method's configuration file."),
    ]
    train: Annotated[bool, Field(description="Whether the model is trained; false evaluates the base model.")] = True
    loss: Annotated[
        LossConfig, Field(description="Training loss of the model, to which embedding quantization is added.")
    ] = default_loss()
    start_from: Annotated[
        StartFromConfig | None,
        BeforeValidator(_start_by_name),
        Field(
            exclude_if=lambda start: start is None,
            description="Method from whose trained model this training starts (two stages): its name, or a mapping such as {method: "
            "baseline, rows: 1024}; null starts from the base model.",
        ),
    ] = None
    rotation: Annotated[
        MethodRotationConfig | None,
        Field(description="Rotation that is appended to the model before training; null appends none."),
    ] = None
    head: Annotated[
        HeadConfig | None,
        Field(
            exclude_if=lambda head: head is None,  # so that trainings of other methods keep their names
            description="Linear head that is trained on cached embeddings in place of the model, whose weights stay as they are; null "
            "trains the model.",
        ),
    ] = None
    embedding_quantization: Annotated[
        EmbeddingQuantizationConfig | None,
        Field(description="Quantization of output embeddings inside the loss; null trains on float embeddings only."),
    ] = None
    lora: Annotated[
        LoraConfig | None, Field(description="Low-rank adapters that are trained; null is full fine-tuning.")
    ] = None
    learning_rate: Annotated[
        float | None,
        Field(
            gt=0,
            description="Learning rate of the method in place of trainer.learning_rate; adapters need one about ten times as large.",
        ),
    ] = None
    learning_rates: Annotated[
        LearningRatesConfig | None,
        Field(
            exclude_if=lambda rates: rates is None,
            description="Learning rates by part of the model, such as {encoder: 1.0e-5, head: 1.0e-3}; null trains all with one. Supported "
            "for embedding models.",
        ),
    ] = None
    extra_steps: Annotated[
        float | None,
        Field(
            ge=0,
            description="Share of the trainer's optimizer steps that is added to them (0.05 is 5 % more). It gives plain training the "
            "steps that it could take in the extra time of another recipe. The learning-rate schedule spans all steps, and "
            "training continues with further passes over the rows where one is not enough.",
        ),
    ] = None
    weights: Annotated[
        Scheme | None,
        Field(
            description="Scheme by which weights are fake-quantized in training: a name, such as int4, or a mapping of its fields."
        ),
    ] = None
    float_teacher: Annotated[
        float | None,
        Field(
            gt=0,
            exclude_if=lambda weight: weight is None,
            description="Weight of the KL divergence from a float teacher's similarities to those of the trained model, over the texts of "
            "a batch. The teacher is the model that the training starts from, and stays as it is; null trains without one. "
            "Supported for embedding models, with a scheme of weights.",
        ),
    ] = None
    weights_start: Annotated[
        WeightStartConfig | None,
        Field(description="Start of the fake quantization of weights and activations; null is the first step."),
    ] = None

    @model_validator(mode="after")
    def _untrained_has_no_recipe(self) -> "MethodConfig":
        given = [name for name in ("start_from", "head", *TRAIN_THE_MODEL) if getattr(self, name) is not None]
        if not self.train and given:
            raise ValueError(
                f"train is false, so {' and '.join(given)} would have no effect; remove it or set train: true"
            )
        return self

    @model_validator(mode="after")
    def _a_head_is_trained_alone(self) -> "MethodConfig":
        if self.head is None:
            return self
        given = [name for name in TRAIN_THE_MODEL if getattr(self, name) is not None]
        if given or self.loss != default_loss():
            raise ValueError(
                f"{' and '.join(given or ['loss'])} would have no effect, because a head is trained on the embeddings of the model as it "
                "is; leave it out, or use the keys of head"
            )
        if not self.name.endswith(f"_{self.head.fitted_on}"):
            raise ValueError(
                f"the head of method '{self.name}' is fitted on {self.head.fitted_on}, which its name must say in every table; name it "
                f"'{self.name}_{self.head.fitted_on}', for example"
            )
        return self

    @model_validator(mode="after")
    def _merged_adapters_have_a_scheme(self) -> "MethodConfig":
        if self.lora is not None and self.lora.quantized == "merged" and self.weights is None:
            raise ValueError(
                "lora.quantized is merged, but the method sets no scheme of weights; set one, such as weights: int4, or leave "
                "quantized out"
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
                f"scheme '{scheme.name}' quantizes weights and activations from the same step on; leave weights_start.activations out"
            )
        return self

    @model_validator(mode="after")
    def _a_teacher_has_a_scheme(self) -> "MethodConfig":
        if self.float_teacher is None:
            return self
        if self.weights is None:
            raise ValueError(
                "float_teacher has no effect without weights, because the trained model starts as its own teacher; set a scheme, such as "
                "weights: int4, or leave float_teacher out"
            )
        if self.embedding_quantization is not None:
            raise ValueError(
                "float_teacher is for float embeddings; leave it out, or use embedding_quantization.distillation, whose teacher is the "
                "model's own float embeddings"
            )
        if self.loss.name.startswith("cached_"):
            raise ValueError(
                f"float_teacher compares the embeddings of a whole batch, and loss '{self.loss.name}' computes them in parts; choose "
                f"another loss, such as {DEFAULT}"
            )
        return self

    @model_validator(mode="after")
    def _start_has_a_scheme(self) -> "MethodConfig":
        if self.weights_start is None:
            return self
        if self.weights is None:
            raise ValueError(
                "weights_start has no effect without weights; set a scheme, such as weights: int4, or leave weights_start out"
            )
        late = self.weights_start.activations != StartConfig()
        if late and not self.weights.activated:
            raise ValueError(
                f"weights_start.activations: scheme '{self.weights.name}' leaves activations in float; leave the key out"
            )
        return self

    @model_validator(mode="after")
    def _a_rate_of_the_head_has_a_head(self) -> "MethodConfig":
        if self.start_from is None and self.lacks_a_head:
            raise ValueError(
                "learning_rates.head has no layer to train: append one, such as rotation: {kind: itq, trainable: true}, start from a "
                "method that has one, or leave it out"
            )
        return self

    @property
    def lacks_a_head(self) -> bool:
        """Return whether the method sets a learning rate for a head, but appends no layer that is trained."""
        rates, rotation = self.learning_rates, self.rotation
        return rates is not None and rates.head is not None and (rotation is None or not rotation.trainable)

    @property
    def appends_a_layer(self) -> bool:
        """Return whether the trained model ends in a linear layer that the base model does not have."""
        return self.rotation is not None or self.head is not None

    @property
    def saved_ranges(self) -> list[str]:
        """Return the integer precisions whose ranges training saves with the model."""
        quantization = self.embedding_quantization
        if quantization is None or quantization.ranges.kind == "batch":
            return []
        return [precision for precision in RANGED if any(precision in sides(name) for name in quantization.precisions)]


class TrainingConfig(Strict):
    """Configuration of one training of a model of any family."""

    method: MethodConfig
    trainer: TrainerConfig
    seed: Annotated[int, Field(description="Random seed of the run.")]

    @property
    def learning_rate(self) -> float:
        """Return the learning rate of the method, or that of the trainer where the method sets none."""
        return self.method.learning_rate or self.trainer.learning_rate


class CausalTrainingConfig(TrainingConfig):
    """Configuration of one training of a causal language model."""

    max_seq_length: Annotated[
        int, Field(gt=0, description="Number of tokens in a block of text, or in a pair together with its prompt.")
    ]
    prompt: Annotated[str, Field(description="Prompt of a translation, in which {source} stands for the text.")]
