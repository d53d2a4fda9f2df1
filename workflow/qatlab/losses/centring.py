"""Centring of embeddings inside a loss, a shift before quantization that is saved with the model as an ordinary module."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from qatlab.machine.processes import average
from qatlab.quantization.rotations import SHIFT, Rotation

KINDS = ("batch", "running", "learned")


class Centring(nn.Module):
    """A shift x ↦ x − centre of the embeddings that a loss compares.

    A bit encodes on which side of 0 a value lies, so a dimension that has the same sign in most texts carries little information.
    Subtracting the mean puts 0 in the middle of the values. The kinds are:

    * ``batch``: the mean of all columns of each batch, as in batch normalization; its moving average becomes the model's centre.
    * ``running``: the moving average itself, which includes the batch of the step.
    * ``learned``: a parameter that is trained with the model and starts as the mean of the first batch.

    The centre of ``batch`` and ``running`` is a constant for the gradient. Outside training (no gradient, or `eval()`), all
    kinds subtract the stored centre. With several processes, the mean is that of the whole batch.

    Args:
        kind: One of KINDS.
        dim: Number of dimensions of the embeddings.
        momentum: Share of the moving average that is kept at each step, from 0 to below 1.
        unit: Whether embeddings are scaled to unit length after the shift; `append_to` then adds this to the model.

    Attributes:
        centre: float32 (dim,).
        started: Whether a batch has been seen.

    Raises:
        ValueError: For an unknown kind, a momentum out of range, or an unknown number of dimensions.
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
            raise ValueError("centring needs a model that reports the number of dimensions of its embeddings")
        self.kind = kind
        self.momentum = momentum
        self.unit = unit
        if kind == "learned":
            self.centre = nn.Parameter(torch.zeros(dim))
        else:
            self.register_buffer("centre", torch.zeros(dim))
        self.register_buffer("started", torch.tensor(False))

    def forward(self, columns: list[Tensor], learn: bool) -> list[Tensor]:
        """Subtract the centre from each column.

        Args:
            columns: Embeddings of each text column, (n, dim).
            learn: Whether this is a training step, whose batch updates the centre.

        Returns:
            Centred columns, (n, dim), of unit length where `unit`.

        Raises:
            ValueError: For embeddings of another dimension.
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
        """Update the stored centre with a batch, and return the vector that this step subtracts."""
        with torch.no_grad():
            batch = average(torch.cat([column.detach().float() for column in columns]).mean(dim=0))
            momentum = 1.0 if self.kind == "learned" else self.momentum
            # A branch on `started` would synchronize with a GPU in every step.
            self.centre.copy_(torch.where(self.started, momentum * self.centre + (1 - momentum) * batch, batch))
            self.started.fill_(True)
        return batch if self.kind == "batch" else self.centre

    def append_to(self, model: nn.Sequential) -> None:
        """Append the shift to a Sentence Transformer as a `Dense` module, and a `Normalize` where `unit`.

        The saved model then works without qatlab, and its float embeddings are those of training.
        """
        from sentence_transformers.sentence_transformer.modules import Normalize

        shift = Rotation(SHIFT, None, self.centre.detach().cpu().numpy()).as_module()
        for module in (shift, Normalize()) if self.unit else (shift,):
            model.append(module.to(self.centre.device))

    def extra_repr(self) -> str:
        """Return the settings that `print(loss)` shows."""
        return f"{self.kind}, dim={len(self.centre)}, momentum={self.momentum}, unit={self.unit}"


def ends_in_unit_length(model: nn.Module) -> bool:
    """Return whether the last module of a Sentence Transformer scales embeddings to unit length."""
    modules = list(model.children())
    return bool(modules) and type(modules[-1]).__name__ == "Normalize"
