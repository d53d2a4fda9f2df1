"""The plan's interface to embedding models."""

import os
from pathlib import Path
from typing import Any

from qatlab.artifact import read_json
from qatlab.config.evaluate import EvaluateConfig
from qatlab.config.method import TrainingConfig
from qatlab.config.model import EncodeConfig, ModelConfig
from qatlab.families.family import Family
from qatlab.progress import output_to
from qatlab.study.config import RunConfig


class EmbeddingFamily(Family):
    """Family of embedding models."""

    name = "embedding"
    in_words = "an embedding model"
    kinds = ("retrieval", "agreement", "reranking", "similarity")
    has_embeddings = True

    def training(self, config: RunConfig) -> TrainingConfig:
        """Return method, trainer and seed."""
        return TrainingConfig(method=config.method, trainer=config.trainer, seed=config.seed)

    def encoding(self, config: RunConfig) -> EncodeConfig:
        """Return the batch size and threads: one encoding serves every precision."""
        return config.encode

    def scoring(self, config: RunConfig) -> EvaluateConfig:
        """Return the metrics and outputs that are scored."""
        return config.evaluate

    def without_weights(self, folder: Path | None, config: ModelConfig) -> Any:
        """Return a Sentence Transformers folder's modules by their names in the model; None for an unknown architecture."""
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


FAMILY = EmbeddingFamily()
