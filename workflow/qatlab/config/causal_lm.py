"""Parts of a study's configuration that the stages of causal language models read."""

from typing import Annotated

from pydantic import Field

from qatlab.config.training import TrainingConfig
from qatlab.registry import Strict


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
