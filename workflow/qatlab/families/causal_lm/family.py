"""The plan's interface to causal language models."""

import os
from pathlib import Path
from typing import Any

from qatlab.config.method import CausalTrainingConfig
from qatlab.config.model import ModelConfig, PredictionConfig
from qatlab.families.family import Family
from qatlab.progress import output_to
from qatlab.study.config import RunConfig


class CausalFamily(Family):
    """Family of causal language models."""

    name = "causal_lm"
    in_words = "a causal language model"
    kinds = ("translation", "language_modelling")
    has_embeddings = False

    def training(self, config: RunConfig) -> CausalTrainingConfig:
        """Return method, trainer and seed, and the sequence length and prompt of examples."""
        return CausalTrainingConfig(
            method=config.method,
            trainer=config.trainer,
            seed=config.seed,
            max_seq_length=config.model.max_seq_length,
            prompt=config.model.prompt,
        )

    def encoding(self, config: RunConfig) -> PredictionConfig:
        """Return the settings of prediction, the sequence length of windows and the prompt."""
        return PredictionConfig(
            predict=config.predict, max_seq_length=config.model.max_seq_length, prompt=config.model.prompt
        )

    def scoring(self, config: RunConfig) -> None:
        """Return None, because chrF, BLEU and bits per byte have no settings."""

    def without_weights(self, folder: Path | None, config: ModelConfig) -> Any:
        """Return the modules of a folder's model, or of a decoder that is to be made; None for an unknown architecture."""
        if folder is None and config.decoder is None:
            return None
        with output_to(Path(os.devnull)):  # importing the libraries prints warnings
            from qatlab.models.causal_lm import without_weights

            return without_weights(folder, config.decoder)


FAMILY = CausalFamily()
