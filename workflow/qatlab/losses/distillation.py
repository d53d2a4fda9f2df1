"""Distillation from the similarities of float embeddings to those of quantized ones."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from qatlab.machine.processes import rows_of_all


def similarity_divergence(
    quantized: list[Tensor],
    floats: list[Tensor],
    scale: float,
    gathered: bool = False,
    quantized_scale: Any = None,
) -> Tensor:
    """Compute the KL divergence from the float similarities to the quantized ones: a scalar, the mean over queries.

    Each query's cosine similarities to all documents of the batch, times `scale`, make a distribution (softmax); the
    float one is the teacher and gets no gradient (Hinton et al. 2015, arXiv 1503.02531).

    Args:
        quantized, floats: columns (n, dim), queries first, then documents; at least two.
        scale: of the float similarities.
        gathered: whether the documents are those of all processes.
        quantized_scale: of the quantized similarities, a number or a scalar tensor, where it is another.
    """
    if len(floats) < 2:
        raise ValueError(f"distillation compares queries with documents: it needs two text columns, not {len(floats)}")
    teacher = F.softmax(_similarities([column.detach() for column in floats], gathered) * scale, dim=1)
    student_scale = scale if quantized_scale is None else quantized_scale
    student = F.log_softmax(_similarities(quantized, gathered) * student_scale, dim=1)
    return F.kl_div(student, teacher, reduction="batchmean")


def _similarities(columns: list[Tensor], gathered: bool) -> Tensor:
    queries, *documents = (F.normalize(column.float(), dim=1) for column in columns)
    if gathered:
        documents = [rows_of_all(column) for column in documents]
    return queries @ torch.cat(documents).T
