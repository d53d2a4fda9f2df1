"""Terms of a loss: scheduled weights of precisions, distillation, margin ranking of codes, regularization, and a float teacher."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import torch
from sentence_transformers.sentence_transformer.losses import GlobalOrthogonalRegularizationLoss
from torch import Tensor, nn
from torch.nn import functional as F

from qatlab.losses.wrapped import EmbeddedOnce, gathers, total_of
from qatlab.machine.processes import count, mean, rows_of_all
from qatlab.quantization.estimators import at_code_length
from qatlab.quantization.precisions import FLOAT_TEACHER

SHAPES = ("linear", "cosine")


@dataclass(frozen=True)
class WeightSchedule:
    """Schedule of a weight that is 0 until the start, rises to `weight` during the warm-up, and then stays constant.

    Without start and warm-up, the weight is constant from the first step.

    Args:
        weight: The weight after the warm-up.
        warmup_steps: Length of the warm-up in optimizer steps.
        warmup_fraction: Length of the warm-up as a fraction of all steps, in place of `warmup_steps`. A warm-up above 1 does not
            complete during training.
        start_steps: Optimizer step at which the warm-up begins (late start).
        start_fraction: Start of the warm-up as a fraction of all steps, in place of `start_steps`.
        shape: 'linear' (hotchpotch's staged warm-up, sentence-transformers pull request 3655) or 'cosine', whose slope is 0 at
            both ends.

    Raises:
        ValueError: For a negative or infinite weight, negative steps or fractions, steps together with a fraction, or an unknown
            shape.
    """

    weight: float = 1.0
    warmup_steps: int | None = None
    warmup_fraction: float | None = None
    start_steps: int | None = None
    start_fraction: float | None = None
    shape: str = "linear"

    def __post_init__(self) -> None:
        if not 0 <= self.weight < math.inf:
            raise ValueError(f"a precision's weight must be ≥ 0, not {self.weight}")
        for name in ("warmup", "start"):
            steps, fraction = getattr(self, f"{name}_steps"), getattr(self, f"{name}_fraction")
            if steps is not None and fraction is not None:
                raise ValueError(f"give {name}_steps or {name}_fraction, not both")
            if min(steps or 0, fraction or 0) < 0:
                raise ValueError(f"{name}_steps and {name}_fraction must be ≥ 0")
        if self.shape not in SHAPES:
            raise ValueError(f"unknown shape '{self.shape}' of a schedule; valid: {', '.join(SHAPES)}")

    def at(self, step: int, total_steps: int | None) -> float:
        """Return the weight at an optimizer step.

        Args:
            step: The step, counted from 0.
            total_steps: Number of steps of the training, which fractions need; None if unknown.

        Raises:
            ValueError: If a fraction is given and `total_steps` is None.
        """
        start = self._steps(self.start_steps, self.start_fraction, total_steps)
        warmup = self._steps(self.warmup_steps, self.warmup_fraction, total_steps)
        if step < start:
            return 0.0
        done = 1.0 if warmup <= 0 else min(1.0, (step - start) / warmup)
        return self.weight * (done if self.shape == "linear" else (1 - math.cos(math.pi * done)) / 2)

    @property
    def varies(self) -> bool:
        """Return whether the weight depends on the step."""
        return any((self.warmup_steps, self.warmup_fraction, self.start_steps, self.start_fraction))

    @staticmethod
    def _steps(steps: int | None, fraction: float | None, total_steps: int | None) -> float:
        if not fraction:
            return steps or 0
        if total_steps is None:
            raise ValueError(
                "a schedule with a fraction needs the total number of steps; call set_progress(step, total_steps)"
            )
        return fraction * total_steps


def schedules_of(names: list[str], weights: Sequence[float | WeightSchedule] | None) -> dict[str, WeightSchedule]:
    """Return the schedule of the weight of each precision, by name.

    Args:
        names: Names of the precisions.
        weights: Their weights, constant or scheduled, in the same order; None gives each the weight 1.

    Raises:
        ValueError: For another number of weights than precisions, and where every weight is 0.
    """
    weights = [1.0] * len(names) if weights is None else list(weights)
    if len(weights) != len(names):
        raise ValueError(f"{len(names)} precisions need as many weights, not {len(weights)}")
    schedules = [weight if isinstance(weight, WeightSchedule) else WeightSchedule(float(weight)) for weight in weights]
    if all(schedule.weight == 0 for schedule in schedules):
        raise ValueError("every weight is 0; give at least one precision a positive weight")
    return dict(zip(names, schedules, strict=True))


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


@dataclass(frozen=True)
class MarginRanking:
    """Margin ranking of the binary codes of queries and documents, the candidate-generation term of BPR.

    It is `weight` times the wrapped loss's scale times :func:`margin_ranking_loss`. In BPR, both terms compare by the same inner product;
    the scale gives this term the magnitude of the wrapped loss's similarities, so that weight 1 keeps the balance of BPR's two terms.

    Args:
        margin: The margin between similarities of codes, which range from −1 to 1. Flipping one bit of d changes a similarity by 2/d.
        weight: Weight of the term.

    Raises:
        ValueError: For a negative margin, or a weight that is not positive and finite.
    """

    margin: float = 0.1
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.margin < math.inf or not 0 < self.weight < math.inf:
            raise ValueError(
                f"margin ranking needs a margin ≥ 0 and a weight above 0, not {self.margin} and {self.weight}"
            )

    def term(self, codes: list[Tensor], scale: float, gathered: bool = False) -> tuple[float, Tensor]:
        """Return the factor of the term, and its value before it.

        Args:
            codes: Codes of each text column, (n, d), queries first.
            scale: Scale of the wrapped loss.
            gathered: Whether the documents are those of all processes.
        """
        return self.weight * scale, margin_ranking_loss(codes, self.margin, gathered)


def margin_ranking_loss(codes: list[Tensor], margin: float, gathered: bool = False) -> Tensor:
    """Compute the mean of max(0, margin − s⁺ + s⁻) over all queries and all documents of the batch that are not their own.

    s = ⟨h, h′⟩ / d is the similarity of two codes of d values between −1 and 1: s⁺ that of a query and its own document, the row
    of the second column, and s⁻ that of a query and another document, a row of any column but the first, such as a hard negative (Yamada
    et al. 2021, "Efficient Passage Retrieval with Hashing for Open-domain Question Answering", arXiv 2106.00882). The authors' code
    (github.com/studio-ousia/bpr) does not divide by d; its margin of 0.1 for 768 bits is 0.1 / 768 here.

    Args:
        codes: Codes of each text column, (n, d), queries first, then their documents, then hard negatives.
        margin: The margin.
        gathered: Whether the documents are those of all processes.

    Returns:
        A scalar.

    Raises:
        ValueError: For fewer than two columns.
    """
    if len(codes) < 2:
        raise ValueError(
            f"margin ranking compares queries with documents, so it needs at least two text columns, not {len(codes)}"
        )
    queries, *documents = (column.float() for column in codes)
    if gathered:
        documents = [rows_of_all(column) for column in documents]
    similarities = queries @ torch.cat(documents).T / queries.shape[1]
    first = torch.distributed.get_rank() * len(queries) if gathered and count() > 1 else 0
    violations = F.relu(margin - similarities.diagonal(first).unsqueeze(1) + similarities)
    others = torch.ones_like(violations)
    others.diagonal(first).fill_(0.0)
    return (violations * others).sum() / others.sum().clamp_min(1.0)


@dataclass(frozen=True)
class Regularization:
    """Weights of the terms that regularize the embeddings of each batch, over all processes; a weight of 0 disables a term.

    Args:
        spread_out: Weight of :func:`spread_out`, which spreads float embeddings over all directions.
        balance: Weight of :func:`balance` of :func:`soft_bits`, by which each bit is 1 for half of the texts.
        decorrelation: Weight of :func:`decorrelation` of :func:`soft_bits`, by which no bit repeats another.

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

    @classmethod
    def of(cls, value: Any) -> "Regularization":
        """Return a regularization unchanged, and a mapping of weights, or None for no term, as a regularization.

        Raises:
            ValueError: For the name of an unknown term.
        """
        if isinstance(value, cls):
            return value
        weights: Mapping[str, float] = value or {}
        for name in weights:
            if name not in REGULARIZATION_TERMS:
                raise ValueError(f"unknown regularization '{name}'; valid: {', '.join(REGULARIZATION_TERMS)}")
        return cls(**weights)

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
        return {name: (weight, REGULARIZATION_TERMS[name](of_all)) for name, weight in weights.items()}


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


def balance(bits: Tensor) -> Tensor:
    """Compute the mean over bits of the squared mean of a bit.

    Balanced bits, each of which is 1 for half of the texts, carry the most information (Weiss et al. 2008, "Spectral Hashing",
    NeurIPS, where balance is a constraint).

    Args:
        bits: Values between −1 and 1, (n, bits): `soft_bits` of embeddings, or the codes of a head.

    Returns:
        A scalar from 0 to 1.
    """
    return bits.mean(dim=0).square().mean()


def decorrelation(bits: Tensor) -> Tensor:
    """Compute the mean over pairs of different bits of the squared mean product of the two: the entries of BᵀB / n off its diagonal.

    BᵀB / n = I is the constraint of Weiss et al. 2008, "Spectral Hashing", NeurIPS, together with balance. For n rows of independent
    bits ±1 the value is about 1 / n, and in d > n dimensions at least (d / n − 1) / (d − 1). Two bits that are equal for all
    texts have 1.

    Args:
        bits: Values between −1 and 1, (n, bits): `soft_bits` of embeddings, or the codes of a head.

    Returns:
        A scalar from 0 to 1; 0 for one bit.
    """
    products = bits.T @ bits / len(bits)
    count_of_bits = len(products)
    off_diagonal = products.square().sum() - products.diagonal().square().sum()
    return off_diagonal / max(count_of_bits * (count_of_bits - 1), 1)


def _of_soft_bits(term: Callable[[Tensor], Tensor]) -> Callable[[list[Tensor]], Tensor]:
    return lambda columns: term(soft_bits(columns))


# Each term is a function of the float embeddings of each text column, (n, dim).
REGULARIZATION_TERMS: dict[str, Callable[[list[Tensor]], Tensor]] = {
    "spread_out": spread_out,
    "balance": _of_soft_bits(balance),
    "decorrelation": _of_soft_bits(decorrelation),
}


class FloatTeacherLoss(nn.Module):
    """Loss to which the divergence from the similarities of a teacher is added.

    The teacher is a model that is not trained, usually the float model from which the training of quantized weights starts.

    Args:
        model: The model that is trained.
        loss: A loss of Sentence Transformers over the model's embeddings that calls the model once per text column.
        teacher: The teacher, whose parameters are frozen; it is neither saved nor trained with the loss.
        weight: Weight of the divergence.
        scale: Scale of the similarities in the divergence.

    References:
        Hinton et al. 2015, "Distilling the Knowledge in a Neural Network", https://arxiv.org/abs/1503.02531
    """

    def __init__(self, model: nn.Module, loss: nn.Module, teacher: nn.Module, weight: float, scale: float) -> None:
        super().__init__()
        self.model, self.loss = model, loss
        # In a tuple, the teacher is not a submodule, whose parameters an optimizer or a checkpoint would include.
        self._teacher = (teacher.eval().requires_grad_(False),)
        self.weight, self.scale = weight, scale
        self._components: dict[str, float | Tensor] = {}

    @property
    def diagnostics(self) -> dict[str, float]:
        """Return the loss and the weighted divergence of the last batch, as averages over all processes."""
        return {f"loss_{name}": float(value) for name, value in self._components.items()}

    def forward(
        self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Compute the loss and the weighted divergence.

        Args:
            sentence_features: Tokenized text columns, at least two.
            labels: Labels of the batch, for losses that need them.

        Returns:
            Two scalars, which the trainer sums and logs: `float32`, the loss of the embeddings, and `float_teacher`.
        """
        features = list(sentence_features)
        with torch.no_grad():
            targets = [self._teacher[0](dict(column))["sentence_embedding"] for column in features]
        with EmbeddedOnce(self.model, features) as embedded, embedded.serve(embedded.floats):
            value = total_of(self.loss(features, labels))
        divergence = similarity_divergence(embedded.floats, targets, self.scale, gathers(self.loss))
        components = {"float32": value, FLOAT_TEACHER: self.weight * divergence}
        self._components = mean({name: component.detach() for name, component in components.items()})
        return components
