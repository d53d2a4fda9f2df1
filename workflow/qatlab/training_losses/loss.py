"""What every loss that a method can choose supplies, and the registry of them."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from qatlab.base import Strict
from qatlab.registry import Registry

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from torch import nn


class Loss(Strict, ABC):
    """A loss of Sentence Transformers over embeddings, as a configuration chooses it by `method.loss.name`.

    A subclass adds its fields and the methods below. Modules of losses import what trains inside of these methods: the plan and other
    stages look at the fields alone.
    """

    name: str
    scale: Annotated[float, Field(gt=0, description="Similarities are multiplied by this (1 / temperature)")] = 20.0

    @abstractmethod
    def build(self, model: "SentenceTransformer") -> "nn.Module":
        """Return the loss over a model. `qatlab.losses.QuantizationAwareLoss` wraps it where a method quantizes embeddings."""

    @abstractmethod
    def class_name(self) -> str:
        """Return the name of the class that `build` makes an instance of, for model cards."""

    def in_words(self) -> str:
        """Return the class and its settings for model cards, in Markdown."""
        return f"{self.class_name()}, similarities × {self.scale:g}"


LOSSES: Registry[type[Loss]] = Registry("loss", "qatlab.training_losses", key="name", group="qatlab.losses")
