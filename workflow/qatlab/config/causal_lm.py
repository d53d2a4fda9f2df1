"""What the stages of causal language models read: the slices of a study's configuration that they need."""

from typing import Annotated

from pydantic import Field

from qatlab.base import Strict
from qatlab.config.training import TrainingConfig


class CausalTrainingConfig(TrainingConfig):
    """One training of a causal language model."""

    max_seq_length: Annotated[int, Field(gt=0, description="Tokens of a block of text, or of a pair with its prompt")]
    prompt: str


class PredictConfig(Strict):
    """One pass of a causal language model over a task: its translations, or the probabilities of its texts."""

    batch_size: Annotated[int, Field(gt=0, description="Texts, or windows of a text, at once")] = 32
    max_new_tokens: Annotated[int, Field(gt=0, description="Tokens of a translation at most")] = 128
    num_beams: Annotated[int, Field(gt=0, description="1 takes the likeliest token at each step")] = 1


class PredictionConfig(Strict):
    """One pass over a task, with the prompt of the model."""

    predict: PredictConfig
    max_seq_length: Annotated[int, Field(gt=0, description="Tokens of a window of text")]
    prompt: str
