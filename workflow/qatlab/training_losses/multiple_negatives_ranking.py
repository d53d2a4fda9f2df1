"""Multiple negatives ranking (InfoNCE), which ranks each anchor's positive among those of its batch, with and without cache."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from qatlab.training_losses.loss import LOSSES, Loss

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from torch import nn


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
