"""Model families as the plan sees them: the configurations that determine their artifacts, and their capabilities."""

import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

from qatlab.artifact import read_json
from qatlab.config.evaluate import EvaluateConfig
from qatlab.config.method import CausalTrainingConfig, TrainingConfig
from qatlab.config.model import EncodeConfig, ModelConfig, PredictionConfig
from qatlab.config.trainer import TrainerConfig
from qatlab.evaluation.task import Kind
from qatlab.job import DEFAULT_FAMILY, FamilyName
from qatlab.progress import output_to
from qatlab.registry import Strict
from qatlab.study.config import RunConfig


class Family(ABC):
    """Kind of model that studies train: the configurations that determine its artifacts, and its capabilities."""

    name: ClassVar[FamilyName]
    in_words: ClassVar[str]  # name with its article, for messages: 'a causal language model'
    kinds: ClassVar[tuple[Kind, ...]]  # kinds of tasks on which it is evaluated
    has_embeddings: ClassVar[bool]  # whether it yields embeddings, to store at several precisions, compare and search

    @abstractmethod
    def training(self, config: RunConfig) -> TrainingConfig:
        """Return the configuration that determines a training, besides its model and data."""

    @abstractmethod
    def encoding(self, config: RunConfig) -> Strict:
        """Return the configuration that determines one pass over a task, besides the deployed model and the task."""

    @abstractmethod
    def scoring(self, config: RunConfig) -> Strict | None:
        """Return the configuration that determines a task's scores, besides the pass over it; None if there is none."""

    @abstractmethod
    def without_weights(self, folder: Path | None, config: ModelConfig) -> Any:
        """Return the modules of a base model with shapes only; None if no file on this machine describes them.

        Args:
            folder: folder of the model; None if it is not on this machine, or is to be made.
            config: configuration of the model, which describes a model that is to be made.
        """


class EmbeddingFamily(Family):
    """Family of embedding models."""

    name = "embedding"
    in_words = "an embedding model"
    kinds = ("retrieval", "agreement", "reranking", "similarity")
    has_embeddings = True

    def training(self, config: RunConfig) -> TrainingConfig:
        """Return method, trainer and seed; of the trainer only the threads for a head, which has its own steps and rates."""
        head, trainer = config.method.head, config.trainer
        if head is not None:
            trainer = TrainerConfig(
                max_steps=head.steps,
                batch_size=head.anchors,
                learning_rate=head.learning_rate,
                lr_scheduler_type="cosine",
                precision="fp32",
                threads=config.trainer.threads,
            )
        return TrainingConfig(method=config.method, trainer=trainer, seed=config.seed)

    def encoding(self, config: RunConfig) -> EncodeConfig:
        """Return the batch size and threads: one encoding serves every precision."""
        return config.encode

    def scoring(self, config: RunConfig) -> EvaluateConfig:
        """Return the metrics and outputs that are scored, without engines, which jobs of their own measure."""
        return config.evaluate.model_copy(update={"engines": []}) if config.evaluate.engines else config.evaluate

    def without_weights(self, folder: Path | None, config: ModelConfig) -> Any:
        """Return a Sentence Transformers folder's modules by their names in the model; None for an unknown architecture."""
        if config.kind == "static":
            from torch import nn

            return nn.Module()  # vectors are not layers
        return None if folder is None else modules_of(folder)


def modules_of(folder: Path) -> Any:
    """Return a Sentence Transformers folder's modules by their names in the model, with shapes only; None if it cannot be built."""
    with output_to(Path(os.devnull)):  # importing the libraries prints warnings
        import torch
        from torch import nn
        from transformers import AutoConfig, AutoModel

    listed = folder / "modules.json"
    modules = read_json(listed) if listed.exists() else [{"name": "0", "path": "", "type": "Transformer"}]
    built = nn.Module()
    try:
        with output_to(Path(os.devnull)), torch.device("meta"):
            for entry in modules:
                if entry["type"].endswith("Transformer"):
                    config = AutoConfig.from_pretrained(folder / entry["path"], trust_remote_code=False)
                    part = nn.Module()
                    part.add_module("model", AutoModel.from_config(config, trust_remote_code=False))
                    built.add_module(entry["name"], part)
                elif entry["type"].endswith("Dense"):
                    shape = read_json(folder / entry["path"] / "config.json")
                    part = nn.Module()
                    part.add_module("linear", nn.Linear(shape["in_features"], shape["out_features"]))
                    built.add_module(entry["name"], part)
    except (OSError, ValueError, KeyError, ImportError):
        return None  # an unknown architecture; the job checks the loaded model
    return built


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


OF_MODELS: dict[str, Family] = {family.name: family for family in (EmbeddingFamily(), CausalFamily())}


def family_of(name: str) -> Family:
    """Return the family of a model's `kind`; static models and stored embeddings are evaluated as embedding models are."""
    return OF_MODELS[DEFAULT_FAMILY if name in ("static", "vectors") else name]
