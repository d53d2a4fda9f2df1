"""Regularization of the embeddings of a batch: spread-out directions, and balanced and decorrelated bits."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from sentence_transformers.sentence_transformer.losses import GlobalOrthogonalRegularizationLoss
from torch import Tensor

from qatlab.machine.processes import rows_of_all
from qatlab.quantization.estimators import at_code_length

SMALLEST_VARIANCE = (
    1e-5  # added to the variance of a bit, as in batch normalization, so that a constant bit has no correlation
)


@dataclass(frozen=True)
class Regularization:
    """Weights of the terms that regularize the embeddings of each batch, over all processes; a weight of 0 disables a term.

    Args:
        spread_out: Weight of :func:`spread_out`, which spreads float embeddings over all directions.
        balance: Weight of :func:`balance`, by which each bit is 1 for half of the texts.
        decorrelation: Weight of :func:`decorrelation`, by which no bit repeats another.

    Raises:
        ValueError: For a negative or infinite weight.
    """

    spread_out: float = 0.0
    balance: float = 0.0
    decorrelation: float = 0.0

    def __post_init__(self) -> None:
        for name, weight in self.weights().items():
            if not 0 <= weight < math.inf:
                raise ValueError(f"the weight of {name} must be ≥ 0, not {weight}")

    def weights(self) -> dict[str, float]:
        """Return the weight of each term, by its name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def terms(self, columns: list[Tensor]) -> dict[str, tuple[float, Tensor]]:
        """Return the weight and the value, before the weight, of each term whose weight is above 0.

        Args:
            columns: Float embeddings of each text column, (n, dim).
        """
        weights = {name: weight for name, weight in self.weights().items() if weight > 0}
        if not weights:
            return {}
        of_all = [rows_of_all(column.float()) for column in columns]
        return {name: (weight, TERMS[name](of_all)) for name, weight in weights.items()}


def as_regularization(value: Any) -> Regularization:
    """Return a regularization unchanged, and a mapping of weights, or None for no term, as a regularization.

    Raises:
        ValueError: For the name of an unknown term.
    """
    if isinstance(value, Regularization):
        return value
    weights: Mapping[str, float] = value or {}
    for name in weights:
        if name not in TERMS:
            raise ValueError(f"unknown regularization '{name}'; valid: {', '.join(TERMS)}")
    return Regularization(**weights)


def spread_out(columns: list[Tensor]) -> Tensor:
    """Compute the Global Orthogonal Regularization of embeddings, averaged over columns.

    With M₁ and M₂ the mean and the mean square of the cosine similarities of different texts of one column, which do not match, it is
    M₁² + max(0, M₂ − 1/d). Embeddings that are spread evenly over all directions have M₁ = 0 and M₂ = 1/d (Zhang et al. 2017, "Learning
    Spread-out Local Feature Descriptors", arXiv 1708.06320). The formula is that of Sentence Transformers'
    `GlobalOrthogonalRegularizationLoss`.

    Args:
        columns: Float embeddings of each text column, (n, dim).

    Returns:
        A scalar; 0 for batches of one row.
    """
    if any(len(column) < 2 for column in columns):
        return 0.0 * torch.stack([column.sum() for column in columns]).sum()
    model: Any = None  # it is called on embeddings
    terms = GlobalOrthogonalRegularizationLoss(model).compute_loss_from_embeddings(columns)
    return torch.stack(list(terms.values())).sum()


def soft_bits(columns: list[Tensor]) -> Tensor:
    """Return tanh(√d · x / ‖x‖) of all rows of all columns, (rows, dim): a differentiable form of the bits ±1."""
    return torch.tanh(at_code_length(torch.cat(columns)))


def balance(columns: list[Tensor]) -> Tensor:
    """Compute the mean over dimensions of the squared mean of a bit.

    The bits are `soft_bits`. Balanced bits, each of which is 1 for half of the texts, carry the most information (Weiss et al. 2008,
    "Spectral Hashing", NeurIPS, where balance is a constraint).

    Args:
        columns: Float embeddings of each text column, (n, dim).

    Returns:
        A scalar from 0 to 1.
    """
    return soft_bits(columns).mean(dim=0).square().mean()


def decorrelation(columns: list[Tensor]) -> Tensor:
    """Compute the mean square of the correlation coefficients of two different bits.

    The bits are `soft_bits`, and the coefficients are those of all rows of the batch, with SMALLEST_VARIANCE added to each variance
    (Weiss et al. 2008, "Spectral Hashing", NeurIPS, where uncorrelated bits are a constraint; the penalty on the correlation matrix is
    that of Zbontar et al. 2021, `Barlow Twins`, arXiv 2103.03230, without its diagonal). It is about 1 / (n − 1) for n rows of
    independent bits, and at least (d / (n − 1) − 1) / (d − 1) in d ≥ n dimensions, whose correlations cannot all be 0.

    Args:
        columns: Float embeddings of each text column, (n, dim).

    Returns:
        A scalar from 0 to 1; 0 in one dimension.
    """
    bits = soft_bits(columns)
    centred = bits - bits.mean(dim=0)
    variances = centred.square().mean(dim=0)
    standardized = centred * (variances + SMALLEST_VARIANCE).rsqrt()
    correlations = standardized.T @ standardized / len(bits)
    dim = len(correlations)
    squares = correlations.square()
    return (squares.sum() - squares.diagonal().sum()) / max(dim * (dim - 1), 1)


TERMS = {"spread_out": spread_out, "balance": balance, "decorrelation": decorrelation}
