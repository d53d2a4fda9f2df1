"""What our trainers add to Transformers': checkpoints that a training goes on from to the same end."""

import shutil
import time
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import Trainer
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from qatlab.errors import UserError
from qatlab.machine.processes import count, is_first, wait_for_all
from qatlab.quantization.backend import NotFiniteError
from qatlab.training.checkpoints import Checkpoints
from qatlab.training.divergence import diverged
from qatlab.training.padding import as_long_as_the_longest

TENSORS = "training.safetensors"


class Resumable(Trainer):
    """A trainer whose checkpoints hold the model and the loss as they are in training (fake quantizers, adapters, ranges).

    Transformers' own hold the model as it is loaded by users, which a model in training is not.

    Args:
        pad_alike: whether in several processes all parts of a batch are padded as the whole would be.
    """

    checkpoints: Checkpoints

    def __init__(self, *args: Any, pad_alike: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.pad_alike = pad_alike and count() > 1

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        prepared: dict[str, Any] = super()._prepare_inputs(inputs)
        return as_long_as_the_longest(prepared, *self._padding()) if self.pad_alike else prepared

    def _padding(self) -> tuple[int, bool]:
        """The token that texts are padded with, and whether they are on the left."""
        raise NotImplementedError

    def train_resumably(self, checkpoints: Checkpoints) -> None:
        """Trains, from the newest checkpoint where there is one. Raises Diverged where embeddings become NaN."""
        self.checkpoints = checkpoints
        self.add_callback(checkpoints)
        newest = checkpoints.newest()
        if count() > 1:  # or the same dropout would fall on each process's rows
            torch.manual_seed(self.args.seed + self.args.process_index)
        with checkpoints.stopping_on_signals():
            try:
                self.train(resume_from_checkpoint=newest)
            except NotFiniteError as error:  # of a step whose loss a grid could not even be computed for
                raise diverged(checkpoints.log.label, self.state.global_step + 1, str(error), checkpoints) from None
            except UnpicklingError as error:  # torch.load reads tensors and plain values, and nothing that runs
                reason = str(error).strip().partition("\n")[0]
                raise UserError(f"{newest} holds more than tensors ({reason[:80]}); remove it and run again") from None

    def _get_output_dir(self, trial: Any) -> str:
        return str(self.checkpoints.folder)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        began = time.monotonic()
        if is_first():
            here = self.checkpoints.folder / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
            shutil.rmtree(here, ignore_errors=True)
        wait_for_all()
        super()._save_checkpoint(model, trial)  # each process's random state; the rest is the first one's
        wait_for_all()
        if is_first():
            self.checkpoints.seal(self.state.global_step)
        wait_for_all()
        if self.checkpoints.log.clock is not None:
            self.checkpoints.log.clock.leave_out(time.monotonic() - began)

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
        """Each once: tied weights have several names, and the loss knows the model too."""
        found: dict[int, tuple[str, torch.Tensor]] = {}
        for prefix, module in self._parts().items():
            for name, tensor in module.state_dict(keep_vars=True).items():
                found.setdefault(id(tensor), (prefix + name, tensor))
        return dict(found.values())
