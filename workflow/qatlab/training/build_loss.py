"""Construction of the loss from a method's configuration."""

from collections.abc import Callable
from inspect import signature
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from torch import nn

from qatlab.config.method import CentringConfig, EmbeddingQuantizationConfig, EstimatorConfig, MethodConfig
from qatlab.losses import QuantizationAwareLoss
from qatlab.losses.ranges import Centring, ends_in_unit_length
from qatlab.losses.terms import WeightSchedule
from qatlab.quantization.estimators import ESTIMATORS, LearnedStep
from qatlab.quantization.precisions import PRECISIONS, QUANTILE, RANGED, sides
from qatlab.quantization.ranges import KINDS, FixedRange, RunningQuantileRange, RunningRange


def build_loss(
    model: SentenceTransformer, method: MethodConfig, embeddings: Callable[[], np.ndarray] | None = None
) -> nn.Module:
    """Build the method's loss, wrapped in QuantizationAwareLoss if the method quantizes embeddings.

    Args:
        model: the model to train.
        method: the method's configuration.
        embeddings: returns the model's embeddings of training documents, (n, dim) float32; required for ranges that are
            initialized from them.

    Raises:
        ValueError: if such ranges are configured and `embeddings` is None.
    """
    loss: nn.Module = method.loss.build(model)
    config = method.embedding_quantization
    if config is None:
        return loss
    # The order matters for the variant pr3655, so it is fixed here and does not depend on the order in the YAML file.
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
    used = [precision for precision in RANGED if any(precision in sides(name) for name in config.precisions)]
    if config.ranges.kind == "running":
        uniform, quantile = (kind(config.ranges.momentum) for kind in (RunningRange, RunningQuantileRange))
        return {precision: quantile if precision in QUANTILE else uniform for precision in used}
    if config.ranges.kind == "fixed":
        return FixedRange(config.ranges.limit)
    if config.ranges.kind == "batch":
        return "batch"
    if embeddings is None:
        raise ValueError(f"{config.ranges.kind} ranges start from embeddings of training documents; give embeddings")
    values = embeddings()
    if config.ranges.kind == "learned":
        return {name: LearnedStep(values.shape[1], name).fit(torch.from_numpy(values)) for name in used}
    return KINDS[config.ranges.kind]().fit(values)


def _centring(config: CentringConfig | None, model: SentenceTransformer) -> Centring | None:
    if config is None:
        return None
    return Centring(config.kind, model.get_embedding_dimension(), config.momentum, unit=ends_in_unit_length(model))


def _estimator(config: EstimatorConfig) -> Any:
    """Return the registered estimator, constructed with those fields of the configuration that are its parameters."""
    estimator = ESTIMATORS[config.name]
    fields = [field for field in signature(estimator).parameters if field in EstimatorConfig.model_fields]
    return estimator(**{field: getattr(config, field) for field in fields})
