"""Base class of the trainers, which adds checkpoints from which a training resumes to the same weights."""

import shutil
import time
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import Trainer
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from qatlab.errors import UserError
from qatlab.machine.processes import count, is_first, wait_for_all
from qatlab.quantization.precisions import NotFiniteError
from qatlab.training.checkpoints import Checkpoints
from qatlab.training.divergence import diverged
from qatlab.training.padding import pad_to_longest

TENSORS = "training.safetensors"


class Resumable(Trainer):
    """Trainer whose checkpoints hold the model and the loss in their state during training (fake quantizers, adapters, ranges).

    Transformers' own checkpoints hold the model as users load it, which loses this state.

    Args:
        pad_alike: whether the parts of a batch in a distributed training are padded to the length of the whole batch.
    """

    checkpoints: Checkpoints

    def __init__(self, *args: Any, pad_alike: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.pad_alike = pad_alike and count() > 1

    def _prepare_inputs(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        prepared: dict[str, Tensor] = super()._prepare_inputs(inputs)
        return pad_to_longest(prepared, *self._padding()) if self.pad_alike else prepared

    def _padding(self) -> tuple[int, bool]:
        """Return the id of the padding token, and whether texts are padded on the left."""
        raise NotImplementedError

    def train_resumably(self, checkpoints: Checkpoints) -> None:
        """Train, and resume from the latest complete checkpoint if there is one.

        Raises:
            Diverged: if embeddings become NaN.
            Stopped: if a signal ended the training.
            UserError: if a checkpoint holds more than tensors.
        """
        self.checkpoints = checkpoints
        self.add_callback(checkpoints)
        latest = checkpoints.restore_latest()
        if count() > 1:  # With equal seeds, every process would apply the same dropout to its rows.
            torch.manual_seed(self.args.seed + self.args.process_index)
        with checkpoints.stopping_on_signals():
            try:
                self.train(resume_from_checkpoint=latest)
            except NotFiniteError as error:  # The grid of a step could not be computed, so there is no loss.
                raise diverged(checkpoints.log.label, self.state.global_step + 1, str(error), checkpoints) from None
            except UnpicklingError as error:  # torch.load refuses everything but tensors and plain values.
                reason = str(error).strip().partition("\n")[0]
                raise UserError(f"{latest} holds more than tensors ({reason[:80]}); remove it and run again") from None

    def _get_output_dir(self, trial: Any) -> str:
        return str(self.checkpoints.folder)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        began = time.monotonic()
        if is_first():
            step_folder = self.checkpoints.folder / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
            shutil.rmtree(step_folder, ignore_errors=True)
        wait_for_all()
        super()._save_checkpoint(
            model, trial
        )  # Each process saves its random state, and the first one everything else.
        wait_for_all()
        if is_first():
            self.checkpoints.seal(self.state.global_step)
        wait_for_all()
        if self.checkpoints.log.clock is not None:
            self.checkpoints.log.clock.exclude(time.monotonic() - began)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        assert output_dir is not None
        Path(output_dir).mkdir(parents=True, exist_ok=True)
        tensors = {name: tensor.detach().contiguous() for name, tensor in self._tensors().items()}
        save_file(tensors, Path(output_dir) / TENSORS)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        tensors = load_file(Path(resume_from_checkpoint) / TENSORS)
        assert tensors.keys() == self._tensors().keys()
        for prefix, module in self._parts().items():
            mine = {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
            module.load_state_dict(mine, strict=False)

    def _parts(self) -> dict[str, nn.Module]:
        loss = getattr(self, "loss", None)
        return {"model.": self.model} | ({"loss.": loss} if isinstance(loss, nn.Module) else {})

    def _tensors(self) -> dict[str, torch.Tensor]:
        """Return each tensor once by its first name; tied weights have several names, and the loss refers to the model."""
        tensors: dict[int, tuple[str, torch.Tensor]] = {}
        for prefix, module in self._parts().items():
            for name, tensor in module.state_dict(keep_vars=True).items():
                tensors.setdefault(id(tensor), (prefix + name, tensor))
        return dict(tensors.values())
