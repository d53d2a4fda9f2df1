"""Interface between the plan and a model family, which the `family` module of the family's package implements."""

from abc import ABC, abstractmethod
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from qatlab.config.method import TrainingConfig
from qatlab.config.model import ModelConfig
from qatlab.evaluation.task import Kind
from qatlab.families.parts import DEFAULT, FamilyName
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


def family_of(name: str) -> Family:
    """Return the family of a model's `kind`; stored embeddings are evaluated as those of embedding models."""
    family: Family = import_module(f"{__package__}.{DEFAULT if name == 'vectors' else name}.family").FAMILY
    return family
