"""Interface between a model family and the stage `train`."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from qatlab.config.method import TrainingConfig
from qatlab.training.callbacks import TrainingLog
from qatlab.training.resumable import Resumable
from qatlab.training.wall_clock import WallClock


class Training(ABC):
    """Base class of the trainings of a family, which load the model and the examples on construction.

    Attributes:
        config: the configuration.
        model: the model in float32, on the device on which it is trained.
        examples: number of examples per epoch.
        clock: callback that ends the training after a given time; None if the number of steps ends it.
    """

    config: TrainingConfig
    model: Any
    examples: int
    clock: WallClock | None = None

    @abstractmethod
    def __init__(self, config: Any, inputs: dict[str, Path], label: str) -> None:
        """Load the model and the examples.

        Args:
            config: the family's configuration, an instance of `CONFIG` of its part.
            inputs: artifacts by role: `model` and `data`.
            label: name of the run, for messages.

        Raises:
            UserError: if there are too few examples for a batch.
        """

    @abstractmethod
    def outputs(self) -> torch.Tensor:
        """Return the model's outputs for a few examples, by which the stage checks that fake quantizers change them."""

    def loss(self) -> nn.Module | None:
        """Return the loss with its own parameters, or None if the model computes it."""
        return None

    def callbacks(self, log: TrainingLog) -> list[Any]:
        """Return additional callbacks of the trainer.

        Args:
            log: log of the training.
        """
        return []

    @abstractmethod
    def trainer(self, arguments: dict[str, object], loss: nn.Module | None, callbacks: Sequence[Any]) -> Resumable:
        """Return the trainer.

        Args:
            arguments: keyword arguments of Transformers' TrainingArguments.
            loss: the loss that `loss` returned.
            callbacks: callbacks of the trainer.
        """

    @abstractmethod
    def save(self, folder: Path, loss: nn.Module | None) -> None:
        """Write the trained model, without fake quantizers and adapters, as a folder that the family's library loads.

        Args:
            folder: the folder to write.
            loss: the trained loss, whose ranges may be saved too.
        """
