"""Training of an embedding model with Sentence Transformers' own trainer."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformerTrainingArguments
from torch import nn

from qatlab.config.method import TrainingConfig
from qatlab.config.trainer import check_batches
from qatlab.errors import UserError
from qatlab.losses import QuantizationAwareCallback, QuantizationAwareLoss
from qatlab.losses.wrapped import gather
from qatlab.machine.hardware import device_name
from qatlab.machine.processes import count, from_first
from qatlab.models.embedding import append_rotation, load_model, training_embeddings
from qatlab.progress import show_warnings
from qatlab.quantization.ranges import RANGES
from qatlab.training.build_loss import build_loss
from qatlab.training.callbacks import TrainingLog
from qatlab.training.padding import sees_padding
from qatlab.training.resumable import Resumable
from qatlab.training.trainer import Trainer
from qatlab.training.training import Training

FIT_ROWS = 2048  # number of training documents on which the initial values of learned ranges are fitted
# Column names that Sentence Transformers does not treat as texts.
RESERVED = ("label", "labels", "score", "scores", "dataset_name", "return_loss")
LIVE_TEXTS = 8  # number of training texts that check that fake quantizers of weights have an effect


class EmbeddingTraining(Training):
    """Training of an embedding model on rows of texts, with one column per role of the loss."""

    config: TrainingConfig

    def __init__(self, config: TrainingConfig, inputs: dict[str, Path], label: str) -> None:
        """Load the rows and the model."""
        self.config, self.inputs, self.label = config, inputs, label
        table = pd.read_parquet(inputs["data"] / "train.parquet")
        self.names = names_of_texts(list(table.columns))
        self.rows = Dataset.from_pandas(table.rename(columns=self.names), preserve_index=False)
        check_batches(len(table), {str(column): table[column].nunique() for column in table}, config.trainer)
        self.examples = len(self.rows)
        self.folder = inputs["model"] / "model"
        self.model = load_model(self.folder, device_name())

    def outputs(self) -> torch.Tensor:
        """Return the embeddings of the first training texts."""
        texts = self.rows[self.rows.column_names[0]][:LIVE_TEXTS]
        embeddings: torch.Tensor = self.model.encode(texts, convert_to_tensor=True, show_progress_bar=False)
        return embeddings

    def loss(self) -> nn.Module:
        """Append the method's rotation to the model, and return its loss over the batches of all processes."""
        method, data = self.config.method, self.inputs["data"]
        if method.rotation is not None:
            append_rotation(self.model, self.folder, method.rotation, data, method.rotation.trainable)
        loss = build_loss(
            self.model, method, lambda: from_first(training_embeddings(self.model, self.folder, data, FIT_ROWS))
        )
        if count() > 1:
            try:
                gather(loss)
            except ValueError as error:
                raise UserError(f"{error}; set trainer.distributed.processes and nodes to 1") from None
        show_warnings("qatlab.losses", f"train {self.label}")
        return loss

    def callbacks(self, log: TrainingLog) -> list[Any]:
        """Return the callback that advances the schedules of a quantization-aware loss."""
        return [QuantizationAwareCallback(log.loss)] if log.loss is not None else []

    def trainer(self, arguments: dict[str, object], loss: nn.Module | None, callbacks: Sequence[Any]) -> Resumable:
        """Return Sentence Transformers' trainer."""
        prompts = self.config.trainer.prompts or {}
        return Trainer(
            model=self.model,
            args=SentenceTransformerTrainingArguments(
                batch_sampler="no_duplicates",
                prompts={self.names.get(column, column): text for column, text in prompts.items()} or None,
                **arguments,
            ),
            train_dataset=self.rows,
            loss=loss,
            pad_alike=sees_padding(self.config.method),
            callbacks=list(callbacks),
        )

    def save(self, folder: Path, loss: nn.Module | None) -> None:
        """Write a Sentence Transformers folder, with the ranges of training beside the weights."""
        self.model.save_pretrained(str(folder), safe_serialization=True, create_model_card=False)
        if isinstance(loss, QuantizationAwareLoss):
            _save_ranges(loss, folder / RANGES)


def names_of_texts(columns: list[str]) -> dict[str, str]:
    """Return new names for the columns whose names Sentence Transformers' trainer does not treat as texts."""
    names = {}
    for column in columns:
        if column in RESERVED:
            name = f"{column}_text"
            while name in columns:
                name += "_text"
            names[column] = name
    return names


def _save_ranges(loss: QuantizationAwareLoss, folder: Path) -> None:
    """Write the frozen ranges as <precision>.npz, for `Range.load`."""
    loss.ranges.freeze()
    for precision, ranges in loss.ranges.lasting().items():
        folder.mkdir(exist_ok=True)
        ranges.save(folder / f"{precision}.npz")


CONFIG, TRAINING = TrainingConfig, EmbeddingTraining
