"""Sections of a configuration that stages of encoding and of causal language models read, under the keys `encode` and `predict`."""

from typing import Annotated

from pydantic import Field

from qatlab.config.method import TrainingConfig
from qatlab.registry import Strict


class EncodeConfig(Strict):
    """Settings for encoding texts; one encoding serves every output precision."""

    batch_size: Annotated[int, Field(gt=0, description="Number of texts that a model encodes at once.")] = 32
    threads: Annotated[
        int | None,
        Field(
            gt=0,
            description="Number of CPU cores that an encoding uses; null uses all of them, and no other job runs at the same time.",
        ),
    ] = None


class EncodeTrainingConfig(EncodeConfig):
    """Settings for encoding training documents, on which ranges of integer grids and axes of bits are fitted."""

    rows: Annotated[int, Field(gt=0, description="Number of training documents, from the first, that are encoded.")]


class CausalTrainingConfig(TrainingConfig):
    """Configuration of one training of a causal language model."""

    max_seq_length: Annotated[
        int, Field(gt=0, description="Number of tokens in a block of text, or in a pair together with its prompt.")
    ]
    prompt: Annotated[str, Field(description="Prompt of a translation, in which {source} stands for the text.")]


class PredictConfig(Strict):
    """Settings with which a causal language model translates the texts of a task or computes their probabilities."""

    batch_size: Annotated[
        int, Field(gt=0, description="Number of texts, or of windows of a text, that form one batch.")
    ] = 32
    max_new_tokens: Annotated[int, Field(gt=0, description="Maximum number of tokens in a translation.")] = 128
    num_beams: Annotated[
        int, Field(gt=0, description="Number of beams of the beam search; 1 takes the most likely token at each step.")
    ] = 1


class PredictionConfig(Strict):
    """Configuration of one pass of a causal language model over a task, including the prompt of the model."""

    predict: PredictConfig
    max_seq_length: Annotated[int, Field(gt=0, description="Number of tokens in a window of text.")]
    prompt: Annotated[str, Field(description="Prompt of a translation, in which {source} stands for the text.")]
