"""Losses for embedding models that a method selects by name, and to which embedding quantization may be added.

A subclass of `Loss` adds a loss here; an installed package adds one by the entry point `qatlab.losses`.
"""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from qatlab.registry import Registry, Strict

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from torch import nn


class Loss(Strict, ABC):
    """A loss of Sentence Transformers over embeddings, which a configuration selects by `method.loss.name`.

    A subclass adds its fields and implements the methods below. It imports training libraries inside these methods only, because the
    plan and other stages read nothing but the fields.
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


@LOSSES.register("multiple_negatives_ranking")
class MultipleNegativesRanking(Loss):
    """The cross-entropy of each anchor's positive among all positives of the batch."""

    name: Literal["multiple_negatives_ranking"] = "multiple_negatives_ranking"

    def build(self, model: "SentenceTransformer") -> "nn.Module":
        """Return Sentence Transformers' loss."""
        from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

        loss: nn.Module = MultipleNegativesRankingLoss(model, scale=self.scale)
        return loss

    def class_name(self) -> str:
        """Return the name of Sentence Transformers' class."""
        return "MultipleNegativesRankingLoss"


@LOSSES.register("cached_multiple_negatives_ranking")
class CachedMultipleNegativesRanking(Loss):
    """Multiple negatives ranking that keeps the activations of one mini-batch in memory (GradCache, https://arxiv.org/abs/2101.06983)."""

    name: Literal["cached_multiple_negatives_ranking"]
    mini_batch_size: Annotated[
        int, Field(gt=0, description="Number of examples whose activations are in memory at once.")
    ] = 32

    def build(self, model: "SentenceTransformer") -> "nn.Module":
        """Return Sentence Transformers' loss."""
        from sentence_transformers.sentence_transformer.losses import CachedMultipleNegativesRankingLoss

        loss: nn.Module = CachedMultipleNegativesRankingLoss(
            model, scale=self.scale, mini_batch_size=self.mini_batch_size
        )
        return loss

    def class_name(self) -> str:
        """Return the name of Sentence Transformers' class."""
        return "CachedMultipleNegativesRankingLoss"

    def in_words(self) -> str:
        """Return the class, the scale and the size of mini-batches."""
        return f"{super().in_words()}, in mini-batches of {self.mini_batch_size}"
