"""From a method's configuration to the loss that trains it."""

from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from torch import nn

from qatlab.config.method import MethodConfig
from qatlab.losses import QuantizationAwareLoss
from qatlab.quantization.grids import PRECISIONS
from qatlab.schedules import LinearWarmup


def build_loss(model: SentenceTransformer, method: MethodConfig) -> nn.Module:
    """The method's loss over `model`, wrapped in QuantizationAwareLoss where the method quantizes embeddings."""
    loss: nn.Module = {"multiple_negatives_ranking": MultipleNegativesRankingLoss}[method.loss.name](
        model, scale=method.loss.scale
    )
    if method.embedding_quantization is None:
        return loss
    schedules = method.embedding_quantization.precisions
    precisions = sorted(schedules, key=PRECISIONS.index)
    weights = [
        LinearWarmup(s.weight, s.warmup_steps, s.warmup_fraction) for s in map(schedules.__getitem__, precisions)
    ]
    return QuantizationAwareLoss(model, loss, precisions=precisions, weights=weights)
