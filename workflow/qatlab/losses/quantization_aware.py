"""Loss that is computed on quantized embeddings, at several precisions at once."""

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn

from qatlab.losses.gradients import (
    EVERY,
    GradientsAtEmbeddings,
    at_embeddings,
    guard_zero_distances,
    mini_batches,
)
from qatlab.losses.pr3655 import VARIANTS, PublishedColumns, check_variant
from qatlab.losses.ranges import (
    BATCH,
    Centring,
    TrainingRanges,
    average_over_processes,
    check_grids,
    ends_in_unit_length,
    length_over_codes,
)
from qatlab.losses.terms import MarginRanking, Regularization, Term, WeightSchedule, schedules_of, similarity_divergence
from qatlab.losses.wrapped import (
    EmbeddedOnce,
    GradientsToLeave,
    cached_loss,
    calculate_loss_replaced,
    check_over_embeddings,
    gathers,
    needs_scalar,
    scale_replaced,
    scaled_loss,
    scales_by_precision,
    total_of,
)
from qatlab.machine.processes import mean
from qatlab.quantization.estimators import CITATION, as_estimator, fake_quantize
from qatlab.quantization.precisions import CHANGED, LOSS, RANGED, SCALE, WEIGHT, is_binary, named_sides

FLOAT = "float32"


class QuantizationAwareLoss(nn.Module):
    """Loss modifier that trains embeddings for the precisions in which they will be stored.

    The wrapped loss is computed once per precision, on embeddings rounded to that precision's grid
    (:mod:`qatlab.quantization`, the same grid that evaluation uses), and the weighted sum is minimized. The model runs
    once per step for any number of precisions: each precision quantizes the same float embeddings, never the output of another.
    The gradient is exactly the weighted sum of the precisions' gradients; a precision with weight 0 or that is not listed
    contributes nothing.

    **Bits.** The codes of an embedding x of d dimensions are ±1 and have length √d for every length of x. They are scaled to
    the root mean square of the batch's lengths, the same for all rows as for stored bits, so that dot products and Euclidean
    distances have the scale of the float term's too. The gradient at x is √d / ‖x‖ times that
    at the codes (derived in :mod:`qatlab.quantization.estimators`), so that it has the scale of the float term's gradient for
    every length of x. The straight-through gradient without that factor, as in sentence-transformers' pull request 3655, is
    ‖x‖ / √d of it under cosine similarity, a twentieth for a normalized model of 384 dimensions.

    Similarities of bits are flatter: for embeddings spread evenly over all directions, E[cos(sign x, sign y)] =
    (2/π) · asin(cos(x, y)) (Charikar 2002), whose slope where most pairs lie, near 0, is 2/π; for float queries and bits,
    E[cos(x, sign y)] = √(2/π) · cos(x, y). The same differences of similarity therefore need the wrapped loss's scale times
    π/2 for bits with bits (31.4 instead of 20) and times √(π/2) for floats with bits (25.1); this is the default.

    Args:
        model: SentenceTransformer model
        loss: The loss function to be used, e.g. :class:`MultipleNegativesRankingLoss`, :class:`CoSENTLoss`,
            :class:`CachedMultipleNegativesRankingLoss` or :class:`MatryoshkaLoss`.
        precisions: Precisions at which the loss is computed, each listed once: a name for queries and documents, e.g. ``"int8"``,
            or one for each, ``("float32", "binary")`` or ``"float32_x_binary"``. The first text column contains the queries.
            Names: float32, float16, bfloat16, float8_e4m3, int8, uint8, int4, int2, int2_quantile, ternary, binary, ubinary.
        weights: One number or :class:`~qatlab.losses.terms.WeightSchedule` per precision; 1.0 each by default.
        ranges: Ranges of int8, uint8, int4, int2, int2_quantile and ternary: ``"batch"`` (minimum and maximum of all
            columns of the batch, over all processes; quantiles for int2_quantile and ternary), a range of
            :mod:`qatlab.quantization` that is fitted, fixed, running or learned, or a dictionary of these by precision.
        estimator: Gradient estimator of the rounding: ``"identity"`` (straight-through), ``"clipped"``, ``"tanh"``,
            ``"lsq"``, or one of :mod:`qatlab.quantization.estimators`.
        scales: Values of the wrapped loss's ``scale`` (1 / temperature) by precision, for precisions that need another one.
        match_scales: Whether precisions with bits that are not in ``scales`` use the wrapped loss's scale divided by the
            slope of their similarities (see above); otherwise they use the wrapped loss's own.
        learned_scales: Precisions whose scale is trained, starting from the scale that it would otherwise have.
        centring: A shift of the embeddings before every precision, including float32: ``"batch"``, ``"running"``, ``"learned"``,
            a :class:`~qatlab.losses.ranges.Centring`, or None. :class:`QuantizationAwareCallback` appends it to the model as
            an ordinary ``Dense`` module when training ends (and a ``Normalize`` where the model ends in one);
            :meth:`append_centring` does so without the callback.
        diagnose_every: Number of steps between two comparisons of the precisions' gradients at the embeddings
            (:class:`~qatlab.losses.gradients.GradientsAtEmbeddings`); 0 disables them.
        distillation: Weight of the KL divergence from the float similarities to those of each quantized precision; it covers the
            documents of all processes where the wrapped loss has ``gather_across_devices``.
        regularization: Weights of terms on the float embeddings of the batch, such as ``{"spread_out": 1.0, "balance": 0.1,
            "decorrelation": 0.1}`` (:class:`~qatlab.losses.terms.Regularization`); none by default.
        margin_ranking: The candidate-generation term of BPR, :class:`~qatlab.losses.terms.MarginRanking`, on the codes that
            `estimator` gives; row i of the second text column must be the document of query i. None by default.
        variant: ``"pr3655"`` or ``"pr3655_cache_fixed"`` reproduces the rounding of the pull request, with its gradient of
            bits and one scale for all precisions.

    References:
        - sentence-transformers pull request 3655, where a loss of this name was first proposed
        - Straight-through estimator: https://arxiv.org/abs/1308.3432
        - Similarity of signs: Charikar 2002, "Similarity estimation techniques from rounding algorithms", STOC
        - `Embedding Quantization <https://sbert.net/examples/sentence_transformer/applications/embedding-quantization/README.html>`_

    Inputs:
        +-------+--------+
        | Texts | Labels |
        +=======+========+
        | any   | any    |
        +-------+--------+

    Relations:
        - :class:`MatryoshkaLoss` does the same for truncated embeddings. Around this loss it truncates before
          quantizing, as a deployment does; inside this loss it truncates (and normalizes) quantized embeddings.

    Raises:
        ValueError: For empty, repeated or unknown precisions, weights of another length or all zero, a range that is
            not fitted or fitted on another dimension, int4 with an odd dimension, an unknown centring, or a loss that was created
            for another model.
        TypeError: For a loss that is not over embeddings.

    Example:
        ::

            from datasets import Dataset
            from qatlab.losses import QuantizationAwareCallback, QuantizationAwareLoss
            from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, losses

            model = SentenceTransformer("microsoft/mpnet-base")
            train_dataset = Dataset.from_dict({
                "anchor": ["It's nice weather outside today.", "He drove to work."],
                "positive": ["It's so sunny.", "He took the car to the office."],
            })
            loss = losses.MultipleNegativesRankingLoss(model)
            loss = QuantizationAwareLoss(model, loss, precisions=["float32", "int8", "binary"])

            trainer = SentenceTransformerTrainer(
                model=model,
                train_dataset=train_dataset,
                loss=loss,
                callbacks=[QuantizationAwareCallback(loss)],
            )
            trainer.train()
    """

    _scaled: Any
    _inner_calculate_loss: Any

    def __init__(
        self,
        model: SentenceTransformer,
        loss: nn.Module,
        precisions: Sequence[str | tuple[str, str]] = ("float32", "int8", "binary"),
        weights: Sequence[float | WeightSchedule] | None = None,
        *,
        ranges: Any = BATCH,
        estimator: Any = "identity",
        scales: Mapping[str, float] | None = None,
        match_scales: bool = True,
        learned_scales: Sequence[str] = (),
        centring: str | Centring | None = None,
        distillation: float = 0.0,
        regularization: Regularization | Mapping[str, float] | None = None,
        margin_ranking: MarginRanking | None = None,
        diagnose_every: int = EVERY,
        variant: str | None = None,
    ) -> None:
        super().__init__()
        check_over_embeddings(model, loss)
        self.sides = named_sides(precisions)
        self.schedules = schedules_of(list(self.sides), weights)
        self.model = model
        self.loss = loss
        self.estimator = as_estimator(estimator)
        if not 0 <= distillation < math.inf:
            raise ValueError(f"distillation must be ≥ 0, not {distillation}")
        self.distillation = float(distillation)
        self.regularization = Regularization.of(regularization)
        self.margin_ranking = margin_ranking
        self.variant = variant
        self.uses_gradient_cache = bool(getattr(loss, "uses_gradient_cache", False))
        dim = model.get_embedding_dimension()
        used = [precision for precision in RANGED if any(precision in pair for pair in self.sides.values())]
        self.ranges = TrainingRanges(ranges, used, dim)
        self.centring = (
            Centring(centring, dim, unit=ends_in_unit_length(model)) if isinstance(centring, str) else centring
        )
        check_grids(self.sides, self.ranges, self.estimator, dim)
        self._take_scales(dict(scales or {}), learned_scales, match_scales and variant is None)
        if variant is not None:
            check_variant(self)
        self.gradients = GradientsAtEmbeddings(diagnose_every)
        self.step: int | None = None
        self.total_steps: int | None = None
        self._diagnostics: dict[str, float | Tensor] = {}
        for parameter in (*self.log_scales.parameters(), *self._embedding_parameters()):
            parameter.register_post_accumulate_grad_hook(average_over_processes)

    def set_progress(self, step: int, total_steps: int | None) -> None:
        """Set the optimizer step for schedules and annealed estimators; QuantizationAwareCallback calls it.

        Args:
            step: The step, counted from 0.
            total_steps: Number of steps of the training, which schedules given as fractions need; None if unknown.
        """
        self.step, self.total_steps = step, total_steps

    def own_parameters(self) -> list[nn.Parameter]:
        """Return the trained parameters that are not the model's: scales, learned ranges, and those of the wrapped loss."""
        model_parameters = {id(parameter) for parameter in self.model.parameters()}
        return [parameter for parameter in self.parameters() if id(parameter) not in model_parameters]

    def _embedding_parameters(self) -> list[nn.Parameter]:
        """Return the parameters of ranges and centring, on which the embeddings depend that the wrapped loss gets."""
        return [*self.ranges.parameters(), *(self.centring.parameters() if self.centring is not None else ())]

    def append_centring(self, model: SentenceTransformer) -> None:
        """Append the centring to the trained model as ordinary modules, and remove it from the loss.

        The method does nothing if the loss has no centring, or none any longer.
        """
        if self.centring is not None:
            self.centring.append_to(model)
            self.centring = None

    def _current_step(self) -> int:
        if self.step is None and (self.estimator.anneals or any(s.varies for s in self.schedules.values())):
            raise ValueError(
                "schedules and annealed estimators need the number of the step; give the trainer "
                "callbacks=[QuantizationAwareCallback(loss)], or call loss.set_progress(step, total_steps) before each step"
            )
        return self.step or 0

    @property
    def diagnostics(self) -> dict[str, float]:
        """Return the weights, losses, learned scales and shares of changed embedding values of the last step.

        They are averages over the batches of all processes. Every `diagnose_every` steps they include the ratio and the cosine of
        each precision's gradient at the embeddings to the float term's (`gradients.latest` keeps the last ones).

        A share of changed values of 0 would mean that quantization has no effect.
        """
        return {name: float(value) for name, value in self._diagnostics.items()}

    def forward(
        self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor | None = None
    ) -> dict[str, Tensor] | Tensor:
        """Compute the weighted loss of each precision whose weight is above 0 at this step.

        Args:
            sentence_features: Tokenized text columns.
            labels: Labels of the batch, for losses that need them.

        Returns:
            Scalars by the name of the precision, which the trainer sums and logs; one scalar where the wrapped loss is a Cached
            one, or inside MatryoshkaLoss.
        """
        features = list(sentence_features)
        if self.uses_gradient_cache:
            return self._forward_cached(features, labels)
        with EmbeddedOnce(self.model, features) as embedded:
            floats, columns_at = self._begin(embedded.floats)

            def wrapped(columns: list[Tensor], name: str | None = None) -> Tensor:
                scale = self._scale(name) if name else None
                with embedded.serve(columns), scale_replaced(self._scaled, scale):
                    value = total_of(self.loss(features, labels))
                if name and all(map(is_binary, self.sides[name])):
                    guard_zero_distances(value, columns)
                return value

            components: dict[str, Tensor] = {}
            values: dict[str, Tensor] = {}
            for term in self._terms(self._weights_now(), columns_at, floats, wrapped):
                values[term.name], components[term.name] = term.value, term.weight * term.value
                if term.divergence is not None:
                    components[f"{term.name}_distillation"] = term.weight * self.distillation * term.divergence
            if not components:  # no warm-up has begun yet, but a loss needs a graph
                components[next(iter(self.sides))] = 0.0 * wrapped(floats)
            elif self._compares(values):
                self._compare(values, embedded.floats, lambda: wrapped(floats))
            components |= self._batch_terms(floats)
        self._diagnostics = {**mean(self._diagnostics), **self._compared}
        return total_of(components) if needs_scalar(self.model) else components

    def _begin(self, floats: list[Tensor]) -> tuple[list[Tensor], Callable[[str], list[Tensor]]]:
        """Update the centre and the ranges with this batch.

        Returns:
            The centred columns of embeddings, and a function that returns the columns of a precision.
        """
        self._compared: dict[str, float] = {}
        estimator = self.estimator.at(self._current_step())
        learn = self.training and torch.is_grad_enabled()
        if self.variant in VARIANTS:
            moving = self.ranges.for_batch(floats, learn) if self.ranges.lasting() else {}
            return floats, PublishedColumns(floats, self.variant, moving).at
        if self.centring is not None:
            floats = self.centring(floats, learn)
        by_precision = self.ranges.for_batch(floats, learn)
        code_scale: Tensor | float = length_over_codes(floats) if self._has_bits else 1.0

        def quantized(column: Tensor, precision: str) -> Tensor:
            values: Tensor = fake_quantize(column, precision, by_precision.get(precision), estimator)
            return values * code_scale if is_binary(precision) else values

        def columns_at(name: str) -> list[Tensor]:
            query, document = self.sides[name]
            return [quantized(column, document if index else query) for index, column in enumerate(floats)]

        return floats, columns_at

    def _terms(
        self,
        weights: Mapping[str, float],
        columns_at: Callable[[str], list[Tensor]],
        floats: list[Tensor],
        wrapped: Callable[[list[Tensor], str], Tensor],
    ) -> Iterator[Term]:
        """Compute the loss of each precision, store its diagnostics, and yield it.

        Args:
            weights: The weights above 0, by precision.
            columns_at: Returns the columns of a precision.
            floats: Float columns.
            wrapped: Computes the wrapped loss on the columns of a precision, at the scale of the precision.
        """
        for name, weight in weights.items():
            columns = columns_at(name)
            value = wrapped(columns, name)
            self._note(name, value, columns, floats)
            divergence = None
            if self.distillation > 0 and self.sides[name] != (FLOAT, FLOAT):
                divergence = self._divergence(name, columns, floats)
                self._diagnostics[f"distillation_{name}"] = divergence.detach()
            yield Term(name, weight, columns, value, divergence)

    def _batch_terms(self, floats: list[Tensor]) -> dict[str, Tensor]:
        """Compute the terms that do not depend on a precision, store their values as diagnostics, and return them weighted.

        Args:
            floats: Float columns.
        """
        terms = self.regularization.terms(floats)
        if self.margin_ranking is not None:
            estimator = self.estimator.at(self._current_step())
            codes = [fake_quantize(column, "binary", None, estimator) for column in floats]
            terms["margin_ranking"] = self.margin_ranking.term(codes, self._teacher_scale, gathers(self.loss))
        self._diagnostics |= {name: value.detach() for name, (_, value) in terms.items()}
        return {name: weight * value for name, (weight, value) in terms.items()}

    @property
    def _has_bits(self) -> bool:
        return any(is_binary(side) for pair in self.sides.values() for side in pair)

    def _divergence(self, name: str, columns: list[Tensor], floats: list[Tensor]) -> Tensor:
        """Return the divergence from the float similarities to those of a precision, each at its own scale."""
        scale = self._scale(name)
        own = scale.detach() if isinstance(scale, Tensor) else scale
        return similarity_divergence(columns, floats, self._teacher_scale, gathers(self.loss), own)

    def _compares(self, values: Collection[str]) -> bool:
        """Return whether gradients at the embeddings are compared in this step."""
        differentiable = self.training and torch.is_grad_enabled() and set(values) != {FLOAT}
        return differentiable and bool(values) and self.gradients.due(self.step)

    def _compare(self, values: dict[str, Tensor], embeddings: list[Tensor], float_loss: Callable[[], Tensor]) -> None:
        """Compare the gradient of each precision's loss at the embeddings with that of the float32 loss."""
        if FLOAT not in values:
            values = {**values, FLOAT: float_loss()}
        self._keep_comparison(self.gradients.of_losses(values, embeddings))

    def _keep_comparison(self, gradients: dict[str, Tensor]) -> None:
        reference = gradients.pop(FLOAT)
        self._compared = self.gradients.compare(gradients, reference, published=self.variant is not None)

    def _weights_now(self) -> dict[str, float]:
        """Return the weights above 0 at this step; store all weights in the diagnostics."""
        step = self._current_step()
        weights = {name: schedule.at(step, self.total_steps) for name, schedule in self.schedules.items()}
        self._diagnostics = {WEIGHT + name: weight for name, weight in weights.items()}
        return {name: weight for name, weight in weights.items() if weight > 0}

    def _note(self, name: str, value: Tensor, columns: list[Tensor], floats: list[Tensor]) -> None:
        """Store the diagnostics of a precision as tensors, which synchronize with a GPU only when they are read.

        Args:
            name: The precision.
            value: Its loss, before its weight.
            columns: Quantized columns.
            floats: Float columns.
        """
        self._diagnostics[LOSS + name] = value.detach()
        if name in self.log_scales:
            self._diagnostics[SCALE + name] = self.log_scales[name].detach().exp()
        if self.sides[name] != ("float32", "float32"):
            with torch.no_grad():
                changed = torch.stack([(c != f).sum() for c, f in zip(columns, floats, strict=True)]).sum()
                self._diagnostics[CHANGED + name] = changed / sum(column.numel() for column in floats)

    def _forward_cached(self, features: list[dict[str, Tensor]], labels: Tensor | None) -> Tensor:
        self._cached_gradients = GradientsToLeave(self._embedding_parameters(), self.distillation)
        with calculate_loss_replaced(cached_loss(self.loss), self.calculate_loss) as self._inner_calculate_loss:
            loss: Tensor = self.loss(features, labels)
        return self._cached_gradients.with_parameters(loss)

    def calculate_loss(self, reps: list[list[Tensor]], *args: Any, **kwargs: Any) -> Tensor:
        """Compute the weighted sum of all precisions in place of the Cached loss's own method.

        Args:
            reps: Embeddings of the mini-batches of each text column, on which the gradients are left.
            *args: Further arguments of the Cached loss's method.
            **kwargs: Further keyword arguments of the Cached loss's method; `with_backward` requests gradients.

        Returns:
            A scalar, without graph if gradients were requested.
        """
        floats, columns_at = self._begin([torch.cat(column) for column in reps])
        backward = kwargs.get("with_backward", False) and torch.is_grad_enabled()
        leaves: list[list[Tensor]] = []  # what the wrapped loss is computed on, and leaves its gradients on
        scales: tuple[Any, Any] = (None, None)

        def wrapped(columns: list[Tensor], name: str) -> Tensor:
            nonlocal leaves, scales
            leaves = [mini_batches(column, like, detached=backward) for column, like in zip(columns, reps, strict=True)]
            scale = self._scale(name)
            scales = (scale, scale.detach().requires_grad_() if isinstance(scale, Tensor) else scale)
            with scale_replaced(self._scaled, scales[1]):
                return self._inner_calculate_loss(leaves, *args, **kwargs)

        total = floats[0].new_zeros((), dtype=torch.float32)
        gradients: dict[str, Tensor] = {}
        weights = self._weights_now()
        compares = backward and self._compares(weights)
        if not weights:  # no warm-up has begun yet, but a loss needs a graph
            weights, columns_at = {next(iter(self.sides)): 0.0}, lambda name: floats
        for term in self._terms(weights, columns_at, floats, wrapped):
            total, outputs = total + term.weight * term.value, list(term.columns)
            if term.divergence is not None:
                divergence = term.divergence.detach() if backward else term.divergence
                total = total + term.weight * self.distillation * divergence
                outputs.append(term.divergence)
            if compares:
                gradients[term.name] = at_embeddings(term.columns, leaves, reps)
            if backward:
                self._cached_gradients.leave(term.weight, reps, outputs, leaves, scales)
        total = self._cached_gradients.add_terms(total, self._batch_terms(floats), reps, backward)
        if compares:
            if FLOAT not in gradients:
                leaves = [mini_batches(column, like, detached=True) for column, like in zip(floats, reps, strict=True)]
                self._inner_calculate_loss(leaves, *args, **kwargs)
                gradients[FLOAT] = at_embeddings(floats, leaves, reps)
            self._keep_comparison(gradients)
        self._diagnostics = {**mean(self._diagnostics), **self._compared}
        return total.detach() if backward else total

    def _take_scales(self, scales: dict[str, float], learned: Sequence[str], match: bool) -> None:
        # `_scaled` is part of self.loss, so it must not be registered as a module a second time.
        object.__setattr__(self, "_scaled", scaled_loss(self.loss))
        self._teacher_scale, scales = scales_by_precision(self.loss, self.sides, scales, learned, match)
        self.scales = {name: scale for name, scale in scales.items() if name not in learned}
        self.log_scales = nn.ParameterDict(
            {name: nn.Parameter(torch.tensor(math.log(scales.get(name, self._teacher_scale)))) for name in learned}
        )

    def _scale(self, name: str) -> Any:
        """Return the scale of a precision; a learned one is trained as its logarithm, as in CLIP, so that it stays positive."""
        return self.log_scales[name].exp() if name in self.log_scales else self.scales.get(name)

    def get_config_dict(self) -> dict[str, object]:
        """Return the settings of the loss that the model card shows."""
        config: dict[str, object] = {
            "loss": type(self.loss).__name__,
            "precisions": list(self.sides),
            "weights": [schedule.weight for schedule in self.schedules.values()],
            "ranges": self.ranges.names(),
            "estimator": type(self.estimator).__name__,
            "centring": None if self.centring is None else self.centring.kind,
            "scales": {**self.scales, **dict.fromkeys(self.log_scales, "learned")},
            "distillation": self.distillation,
            "regularization": self.regularization.weights(),
            "margin_ranking": None if self.margin_ranking is None else asdict(self.margin_ranking),
        }
        return config if self.variant is None else {**config, "variant": self.variant}

    @property
    def citation(self) -> str:
        """Return the BibTeX entry of the straight-through estimator."""
        return CITATION
