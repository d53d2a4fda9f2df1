"""Centring of embeddings inside a loss: a shift before every grid, which stays with the model as an ordinary module."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from qatlab.machine.processes import average
from qatlab.quantization.rotations import SHIFT, Rotation

KINDS = ("batch", "running", "learned")


class Centring(nn.Module):
    """A shift x ↦ x − centre of the embeddings that a loss compares.

    A bit says on which side of 0 a value lies, so a dimension that has the same sign in most texts says little. Subtracting
    the mean puts 0 in the middle of the values. Kinds:

    * ``batch``: the mean of all columns of each batch, as batch normalization does; what is kept is its moving average.
    * ``running``: the moving average itself, with the batch of the step in it.
    * ``learned``: a parameter, trained with the model, that begins as the first batch's mean.

    The centre of ``batch`` and ``running`` is a constant for the gradient. Without training (no gradient, or `eval()`), all
    kinds subtract what is kept. Over several processes the mean is that of the whole batch.

    Args:
        kind: one of KINDS.
        dim: dimensions of the embeddings.
        momentum: how much of the moving average stays at each step, from 0 to below 1.
        unit: whether embeddings are scaled to unit length after the shift, as `append_to` lets the model do.

    Attributes:
        centre: float32 (dim,).
        started: whether a batch has been seen.

    Raises:
        ValueError: for an unknown kind, a momentum out of range, or an unknown number of dimensions.
    """

    centre: Tensor
    started: Tensor

    def __init__(self, kind: str, dim: int | None, momentum: float = 0.9, unit: bool = False) -> None:
        super().__init__()
        if kind not in KINDS:
            raise ValueError(f"unknown centring '{kind}'; valid: {', '.join(KINDS)}, or None")
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must be from 0 to below 1, not {momentum}")
        if dim is None:
            raise ValueError("centring needs a model that knows the dimensions of its embeddings")
        self.kind = kind
        self.momentum = momentum
        self.unit = unit
        if kind == "learned":
            self.centre = nn.Parameter(torch.zeros(dim))
        else:
            self.register_buffer("centre", torch.zeros(dim))
        self.register_buffer("started", torch.tensor(False))

    def forward(self, columns: list[Tensor], learn: bool) -> list[Tensor]:
        """Subtract the centre from each column (n, dim); raise ValueError for another dimension.

        Args:
            learn: whether this is a step of training, whose batch counts.
        """
        dim = len(self.centre)
        for column in columns:
            if column.shape[1] != dim:
                raise ValueError(
                    f"centring is for {dim} dimensions, the embeddings have {column.shape[1]}; "
                    "put MatryoshkaLoss inside QuantizationAwareLoss, not around it"
                )
        centre = self._centre(columns) if learn else self.centre.detach()
        shifted = [column - centre.to(column.dtype) for column in columns]
        return [F.normalize(column, dim=1) for column in shifted] if self.unit else shifted

    def _centre(self, columns: list[Tensor]) -> Tensor:
        """Return what this step subtracts, after the batch has moved what is kept."""
        with torch.no_grad():
            batch = average(torch.cat([column.detach().float() for column in columns]).mean(dim=0))
            stays = 1.0 if self.kind == "learned" else self.momentum
            # No branch on `started`: on a GPU it would wait for the device in every step.
            self.centre.copy_(torch.where(self.started, stays * self.centre + (1 - stays) * batch, batch))
            self.started.fill_(True)
        return batch if self.kind == "batch" else self.centre

    def append_to(self, model: nn.Sequential) -> None:
        """Append the shift to a Sentence Transformer as a `Dense` module, and a `Normalize` where `unit`.

        The model that is saved then needs no qatlab, and its float embeddings are those that training has seen.
        """
        from sentence_transformers.sentence_transformer.modules import Normalize

        shift = Rotation(SHIFT, None, self.centre.detach().cpu().numpy()).as_module()
        for module in (shift, Normalize()) if self.unit else (shift,):
            model.append(module.to(self.centre.device))

    def extra_repr(self) -> str:
        """Describe it for print(loss)."""
        return f"{self.kind}, dim={len(self.centre)}, momentum={self.momentum}, unit={self.unit}"


def ends_in_unit_length(model: nn.Module) -> bool:
    """Whether a Sentence Transformer's last module scales embeddings to unit length."""
    modules = list(model.children())
    return bool(modules) and type(modules[-1]).__name__ == "Normalize"
