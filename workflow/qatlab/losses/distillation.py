"""Distillation from the similarities of float embeddings to the similarities of quantized embeddings."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from qatlab.machine.processes import rows_of_all


class Term(NamedTuple):
    """The loss of one precision.

    Attributes:
        name: The precision.
        weight: Its weight at this step.
        columns: Its quantized text columns, (n, dim) each.
        value: The wrapped loss on these columns, before the weight; a scalar.
        divergence: The divergence from the float similarities, a scalar; None where the precision is not distilled.
    """

    name: str
    weight: float
    columns: list[Tensor]
    value: Tensor
    divergence: Tensor | None


def similarity_divergence(
    quantized: list[Tensor],
    floats: list[Tensor],
    scale: float,
    gathered: bool = False,
    quantized_scale: Any = None,
) -> Tensor:
    """Compute the KL divergence from the float similarities to the quantized similarities.

    The softmax of a query's scaled cosine similarities to all documents of the batch is a distribution. The float distribution is
    the teacher and receives no gradient (Hinton et al. 2015, arXiv 1503.02531).

    Args:
        quantized: Quantized columns, (n, dim), queries first, then documents.
        floats: Float columns, (n, dim), in the same order; at least two.
        scale: Scale of the float similarities.
        gathered: Whether the documents are those of all processes.
        quantized_scale: Scale of the quantized similarities, a number or a scalar tensor; None for `scale`.

    Returns:
        A scalar, the mean over queries.

    Raises:
        ValueError: For fewer than two columns.
    """
    if len(floats) < 2:
        raise ValueError(
            f"distillation compares queries with documents, so it needs at least two text columns, not {len(floats)}"
        )
    teacher = F.softmax(_similarities([column.detach() for column in floats], gathered) * scale, dim=1)
    student_scale = scale if quantized_scale is None else quantized_scale
    student = F.log_softmax(_similarities(quantized, gathered) * student_scale, dim=1)
    return F.kl_div(student, teacher, reduction="batchmean")


def _similarities(columns: list[Tensor], gathered: bool) -> Tensor:
    queries, *documents = (F.normalize(column.float(), dim=1) for column in columns)
    if gathered:
        documents = [rows_of_all(column) for column in documents]
    return queries @ torch.cat(documents).T
