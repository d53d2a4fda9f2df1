"""A linear head that is trained on cached embeddings: the key `head` of a method."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from qatlab.config.precision import AxesConfig, axes_by_name
from qatlab.registry import Strict

Fitted = Literal["pairs", "corpus", "both"]


class HeadConfig(Strict):
    """A linear head trained on cached embeddings while the encoder is frozen (BEBR, arXiv 2302.08714).

    The head is a matrix with orthonormal rows, so that float similarities of embeddings that it does not centre are unchanged.
    """

    fitted_on: Annotated[
        Fitted,
        Field(
            description="Embeddings that the head is trained on. pairs is the training pairs; corpus is the documents of the study's "
            "tasks, without queries and labels; both is pairs and corpus. The method's name must end in it, so that each row of a "
            "table shows it."
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
        float, Field(ge=0, description="Weight of the mean squared product of two different bits.")
    ] = 0.1
    balance: Annotated[float, Field(ge=0, description="Weight of the mean squared mean of a bit.")] = 0.1
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
