"""From a method's configuration to the loss that trains it."""

from collections.abc import Callable
from inspect import signature
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from torch import nn

from qatlab.config.method import (
    CentringConfig,
    EmbeddingQuantizationConfig,
    EstimatorConfig,
    MethodConfig,
)
from qatlab.losses import QuantizationAwareLoss
from qatlab.losses.centring import Centring, ends_in_unit_length
from qatlab.quantization.estimators import ESTIMATORS
from qatlab.quantization.learned_step import LearnedStep
from qatlab.quantization.precisions import PRECISIONS, QUANTILE, RANGED, sides
from qatlab.quantization.ranges import KINDS, FixedRange, RunningQuantileRange, RunningRange
from qatlab.schedules import WeightSchedule


def build_loss(
    model: SentenceTransformer, method: MethodConfig, embeddings: Callable[[], np.ndarray] | None = None
) -> nn.Module:
    """The method's loss over `model`, wrapped in QuantizationAwareLoss where the method quantizes embeddings.

    Args:
        embeddings: gives the model's embeddings of training documents, for ranges that start from them.
    """
    loss: nn.Module = method.loss.build(model)
    config = method.embedding_quantization
    if config is None:
        return loss
    # Not the order of the YAML file, which nobody should have to think about: it decides what pr3655 reads.
    precisions = sorted(config.precisions, key=lambda name: [PRECISIONS.index(side) for side in sides(name)])
    return QuantizationAwareLoss(
        model,
        loss,
        precisions=precisions,
        weights=[WeightSchedule(**config.precisions[name].model_dump()) for name in precisions],
        ranges=_ranges(config, embeddings),
        estimator=_estimator(config.estimator),
        scales=config.scales,
        match_scales=config.match_scales,
        learned_scales=config.learned_scales,
        centring=_centring(config.centring, model),
        diagnose_every=config.diagnose_every,
        distillation=config.distillation,
        variant=config.variant,
    )


def _ranges(config: EmbeddingQuantizationConfig, embeddings: Callable[[], np.ndarray] | None) -> Any:
    used = [p for p in RANGED if any(p in sides(name) for name in config.precisions)]
    if config.ranges.kind == "running":
        equal, between = (kind(config.ranges.momentum) for kind in (RunningRange, RunningQuantileRange))
        return {p: between if p in QUANTILE else equal for p in used}
    if config.ranges.kind == "fixed":
        return FixedRange(config.ranges.limit)
    if config.ranges.kind == "batch":
        return "batch"
    if embeddings is None:
        raise ValueError(f"{config.ranges.kind} ranges start from embeddings of training documents; give embeddings")
    values = embeddings()
    if config.ranges.kind == "learned":
        return {p: LearnedStep(values.shape[1], p).fit(torch.from_numpy(values)) for p in used}
    return KINDS[config.ranges.kind]().fit(values)


def _centring(config: CentringConfig | None, model: SentenceTransformer) -> Centring | None:
    if config is None:
        return None
    return Centring(config.kind, model.get_embedding_dimension(), config.momentum, unit=ends_in_unit_length(model))


def _estimator(config: EstimatorConfig) -> Any:
    """Return the registered estimator, with those of the configuration's fields that it takes."""
    estimator = ESTIMATORS[config.name]
    fields = [field for field in signature(estimator).parameters if field in EstimatorConfig.model_fields]
    return estimator(**{field: getattr(config, field) for field in fields})
