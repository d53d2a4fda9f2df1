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
from qatlab.quantization.backend import NotFiniteError
from qatlab.training.checkpoints import Checkpoints
from qatlab.training.divergence import diverged

TENSORS = "training.safetensors"


class Resumable(Trainer):
    """A trainer whose checkpoints hold the model and the loss as they are in training (fake quantizers, adapters, ranges).

    Transformers' own hold the model as it is loaded by users, which a model in training is not.
    """

    checkpoints: Checkpoints

    def train_resumably(self, checkpoints: Checkpoints) -> None:
        """Trains, from the newest checkpoint where there is one. Raises Diverged where embeddings become NaN."""
        self.checkpoints = checkpoints
        self.add_callback(checkpoints)
        newest = checkpoints.newest()
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
        shutil.rmtree(self.checkpoints.folder / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}", ignore_errors=True)
        super()._save_checkpoint(model, trial)
        self.checkpoints.seal(self.state.global_step)
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
