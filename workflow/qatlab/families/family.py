"""What a model family supplies to the plan: the class in the `family` module of its package."""

from abc import ABC, abstractmethod
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from qatlab.base import Strict
from qatlab.config.kind import Kind
from qatlab.config.model import ModelConfig
from qatlab.config.training import TrainingConfig
from qatlab.families.parts import FamilyName
from qatlab.study.config import RunConfig


class Family(ABC):
    """A kind of model that studies train: the configuration that its artifacts follow from, and what can be asked of it."""

    name: ClassVar[FamilyName]
    in_words: ClassVar[str]  # with its article, for messages: 'a causal language model'
    kinds: ClassVar[tuple[Kind, ...]]  # of tasks that it is evaluated on
    has_embeddings: ClassVar[bool]  # which are stored at several precisions, compared and searched

    @abstractmethod
    def training(self, config: RunConfig) -> TrainingConfig:
        """Return what a training follows from, besides its model and data."""

    @abstractmethod
    def encoding(self, config: RunConfig) -> Strict:
        """Return what one pass over a task follows from, besides the deployed model and the task."""

    @abstractmethod
    def scoring(self, config: RunConfig) -> Strict | None:
        """Return what the scores of a task follow from, besides the pass over it; None where nothing else does."""

    @abstractmethod
    def without_weights(self, folder: Path | None, config: ModelConfig) -> Any:
        """Return the modules of a base model with shapes only; None where nothing on this machine describes them.

        Args:
            folder: of the model; None where it is not on this machine, or made by its training.
        """


def family_of(name: str) -> Family:
    """Return the family of a model's `kind`."""
    family: Family = import_module(f"{__package__}.{name}.family").FAMILY
    return family
