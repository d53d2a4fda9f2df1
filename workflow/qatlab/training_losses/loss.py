"""Base class and registry of the losses that a method can select."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from qatlab.registry import Registry, Strict

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from torch import nn


class Loss(Strict, ABC):
    """A loss of Sentence Transformers over embeddings, which a configuration selects by `method.loss.name`.

    A subclass adds its fields and implements the methods below. Its module imports training libraries inside these methods only,
    because the plan and other stages read nothing but the fields.
    """

    name: str
    scale: Annotated[
        float, Field(gt=0, description="Factor of the similarities, which is 1 / temperature, such as 20.0.")
    ] = 20.0

    @abstractmethod
    def build(self, model: "SentenceTransformer") -> "nn.Module":
        """Return the loss over a model; `qatlab.losses.QuantizationAwareLoss` wraps it where a method quantizes embeddings."""

    @abstractmethod
    def class_name(self) -> str:
        """Return the name of the class whose instance `build` returns, for model cards."""

    def in_words(self) -> str:
        """Return the class and its settings for model cards, in Markdown."""
        return f"{self.class_name()}, similarities × {self.scale:g}"


LOSSES: Registry[type[Loss]] = Registry("loss", "qatlab.training_losses", key="name", group="qatlab.losses")
