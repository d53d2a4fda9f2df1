"""Gradients of losses that cache them (GradCache), on their way through the fake quantization.

A Cached loss of Sentence Transformers embeds texts in mini-batches without a graph, passes the embeddings to its method
`calculate_loss`, which leaves gradients on them, and later propagates these gradients through the model.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from qatlab.losses.gradients import gradients_of


@contextmanager
def calculate_loss_replaced(cached: Any, calculate_loss: Callable[..., Tensor]) -> Iterator[Callable[..., Tensor]]:
    """Replace the method `calculate_loss` of a Cached loss, and yield its own."""
    original = cached.__dict__.get("calculate_loss")
    own = cached.calculate_loss
    cached.calculate_loss = calculate_loss
    try:
        yield own
    finally:
        if original is None:
            del cached.calculate_loss
        else:
            cached.calculate_loss = original


class GradientsToLeave:
    """Gradients of one batch: those left on embeddings, and those of parameters that the quantized embeddings depend on.

    Args:
        parameters: Parameters of ranges and centring.
        distillation: Factor of the divergence.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], distillation: float) -> None:
        self.parameters, self.distillation = list(parameters), distillation
        self.of_parameters: list[tuple[Tensor, Tensor]] = []

    def leave(
        self,
        weight: float,
        reps: list[list[Tensor]],
        outputs: list[Tensor],
        leaves: list[list[Tensor]],
        scales: tuple[Any, Any],
    ) -> None:
        """Propagate the gradients of the wrapped loss through the fake quantization, and add them to those of `reps`.

        Args:
            weight: The precision's weight, by which the gradients are multiplied.
            reps: Embeddings of the mini-batches of each text column.
            outputs: Quantized columns, followed by the divergence where the precision is distilled.
            leaves: Tensors of the same values as `outputs`, in mini-batches, on which the wrapped loss left its gradients.
            scales: The scale of the precision, and the leaf that the wrapped loss used in its place.
        """
        upstream = [weight * gradient for gradient in gradients_of(leaves)]
        if len(outputs) > len(upstream):
            upstream.append(outputs[-1].new_tensor(weight * self.distillation))
        targets = [rep for column in reps for rep in column]
        # The graph is retained because all precisions share that of centring.
        gradients = torch.autograd.grad(
            outputs, [*targets, *self.parameters], upstream, allow_unused=True, retain_graph=True
        )
        for rep, gradient in zip(targets, gradients, strict=False):
            if gradient is not None:
                rep.grad = gradient if rep.grad is None else rep.grad + gradient
        own = zip(self.parameters, gradients[len(targets) :], strict=True)
        self.of_parameters += [(parameter, gradient) for parameter, gradient in own if gradient is not None]
        scale, leaf = scales
        if isinstance(scale, Tensor) and leaf.grad is not None:
            self.of_parameters.append((scale, weight * leaf.grad))

    def with_parameters(self, loss: Tensor) -> Tensor:
        """Return the loss plus terms of the value 0, by which the parameters get their gradients.

        The trainer's scaling of the loss then applies to these gradients too.
        """
        for tensor, gradient in self.of_parameters:
            surrogate = (tensor * gradient).sum()
            loss = loss + (surrogate - surrogate.detach())
        return loss
