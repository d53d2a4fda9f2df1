"""Configuration of terms that are added to the loss of embedding quantization, once per batch."""

from typing import Annotated

from pydantic import Field

from qatlab.registry import Strict


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
            description="Weight of the mean square of the correlation coefficients of two different bits, by which no bit repeats "
            "another. Bits are tanh(√d · x / ‖x‖) here.",
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
