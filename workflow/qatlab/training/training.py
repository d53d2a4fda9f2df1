"""What a model family supplies to the stage `train`."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from qatlab.config.training import TrainingConfig
from qatlab.training.callbacks import TrainingLog
from qatlab.training.resumable import Resumable
from qatlab.training.wall_clock import WallClock


class Training(ABC):
    """One training: its model and examples, loaded on construction, and what a family does with them.

    Attributes:
        model: in float32, on the device that it is trained on.
        examples: how many there are in one epoch.
        clock: what ends the training, where steps do not.
    """

    config: TrainingConfig
    model: Any
    examples: int
    clock: WallClock | None = None

    @abstractmethod
    def __init__(self, config: Any, inputs: dict[str, Path], label: str) -> None:
        """Load the model and the examples.

        Args:
            config: the family's own, an instance of its part's `CONFIG`.
            inputs: artifacts by role: `model` and `data`.
            label: what messages call the run.

        Raises:
            UserError: for examples that are too few for a batch.
        """

    @abstractmethod
    def outputs(self) -> torch.Tensor:
        """Return what the model computes for a few examples, to see whether fake quantizers change it."""

    def loss(self) -> nn.Module | None:
        """Return the loss, with its own parameters; None where the model computes it."""
        return None

    def callbacks(self, log: TrainingLog) -> list[Any]:
        """Return callbacks of the trainer that only this family has."""
        return []

    @abstractmethod
    def trainer(self, arguments: dict[str, Any], loss: nn.Module | None, callbacks: Sequence[Any]) -> Resumable:
        """Return the trainer.

        Args:
            arguments: keyword arguments of Transformers' TrainingArguments.
        """

    @abstractmethod
    def save(self, folder: Path, loss: nn.Module | None) -> None:
        """Write the trained model, without fake quantizers and adapters, as the family's library loads it."""
