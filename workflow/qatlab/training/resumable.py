"""A trainer that resumes from its checkpoints to the same end as an uninterrupted one, and ends when its loss diverges."""

import json
import math
import os
import shutil
import signal
import statistics
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from pickle import UnpicklingError
from types import FrameType
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from qatlab.artifact import read_json, sha256_of, sync, write_json
from qatlab.config.method import MethodConfig
from qatlab.errors import Diverged, Stopped, UserError
from qatlab.job import JobDescription
from qatlab.machine.processes import (
    count,
    from_first,
    is_first,
    is_repeated_interrupt,
    is_worker,
    largest,
    requested_signal,
    wait_for_all,
)
from qatlab.progress import say
from qatlab.quantization.precisions import NotFiniteError
from qatlab.stage_code import stage_meaning
from qatlab.training.callbacks import LogState, TrainingLog

LENGTH_OF = "input_ids"
PADDED = (LENGTH_OF, "attention_mask", "token_type_ids", "labels")
IGNORED = -100  # label that the loss ignores


def sees_padding(method: MethodConfig) -> bool:
    """Return whether padding influences results, as it does if a range covers all activations of a batch."""
    scheme = method.weights
    return scheme is not None and scheme.grid == "onnx_int8"


def pad_to_longest(inputs: dict[str, Tensor], padding: int, left: bool = False) -> dict[str, Tensor]:
    """Pad each column of a collated part to the longest text that any process has in this column.

    Args:
        inputs: tensors, (texts, tokens) int64, by names such as `<column>_input_ids`; other entries are returned unchanged.
        padding: id of the padding token.
        left: whether texts are padded on the left.

    Returns:
        The padded part.
    """
    columns = [name.removesuffix(LENGTH_OF) for name in inputs if name.endswith(LENGTH_OF)]
    lengths = largest([inputs[column + LENGTH_OF].shape[1] for column in columns])
    padded = dict(inputs)
    for column, length in zip(columns, lengths, strict=True):
        for kind in PADDED:
            if (name := column + kind) in inputs:
                missing = int(length) - inputs[name].shape[1]
                value = padding if kind == LENGTH_OF else IGNORED if kind == "labels" else 0
                sides = (missing, 0) if left else (0, missing)
                padded[name] = torch.nn.functional.pad(inputs[name], sides, value=value)
    return padded


# Checkpoints, from which an interrupted training resumes to the same weights as an uninterrupted one.
#
# They are stored beside the folder of the training, which Snakemake empties before each attempt, and deleted when the training is
# complete.

INTERVAL = "QATLAB_CHECKPOINT_SECONDS"  # An environment variable, because the interval depends on the machine, not on the study.
SECONDS = 600.0
KEPT = 2  # the latest checkpoint, and the previous one in case the latest is damaged
LOG, SEAL = "log.json", "complete.json"
PACKAGES = ("torch", "transformers", "sentence-transformers", "torchao", "accelerate")
SIGNALS = (signal.SIGTERM, signal.SIGINT)


def seconds_between() -> float:
    """Return the number of seconds between checkpoints, by QATLAB_CHECKPOINT_SECONDS or ten minutes; 0 means after every step.

    Raises:
        UserError: if the variable is not a number of seconds.
    """
    value = os.environ.get(INTERVAL, str(SECONDS))
    try:
        seconds = float(value)
    except ValueError:
        seconds = -1.0
    if not seconds >= 0:
        raise UserError(f"{INTERVAL} is '{value}'; give seconds, 0 or more")
    return seconds


def provenance(
    stage: str, description: JobDescription, inputs: dict[str, Path], modules: Sequence[str] = ()
) -> dict[str, object]:
    """Return everything that determines a training: its configuration, inputs, code and library versions.

    Args:
        stage: name of the stage.
        description: description of the job, whose `config` is used.
        inputs: artifacts by role.
        modules: modules of the stage's code that its module does not import by name, such as those of the model family.
    """
    manifests = {role: path / "manifest.json" for role, path in inputs.items()}
    versions = {package: version(package) for package in PACKAGES}
    return {
        "config": description.config,
        # Embeddings have no manifest; their files are the content.
        "inputs": {role: sha256_of(file if file.exists() else file.parent) for role, file in manifests.items()},
        "code": stage_meaning(stage, modules),
        "versions": versions,
    }


class Checkpoints(TrainerCallback):
    """Callback that requests checkpoints from the trainer at regular intervals, and when the process receives a signal to end.

    Args:
        folder: folder of the checkpoints, each of which is a folder `checkpoint-STEP`.
        provenance: everything that determines the training; checkpoints with another provenance are not used.
        log: log of the training; the rows and the clock are restored from a checkpoint too.
    """

    def __init__(self, folder: Path, provenance: dict[str, object], log: TrainingLog) -> None:
        self.folder, self.provenance, self.log = folder, provenance, log
        self.seconds = seconds_between()
        self.signal: int | None = None
        self.signalled_at = 0.0  # by time.monotonic()
        self.saved_at = time.monotonic()
        self.warned = False

    def restore_latest(self) -> str | None:
        """Restore the log of the latest complete checkpoint of this training.

        Returns:
            The path of the checkpoint, or None if there is none. Checkpoints that are not used are reported with the reason.
        """
        latest: str | None = from_first(self._latest_usable() if is_first() else None)
        if latest is not None:
            self.log.restore(LogState(**read_json(Path(latest) / LOG)))
            say(f"train {self.log.label}: resuming from {Path(latest).name}")
        return latest

    def _latest_usable(self) -> str | None:
        for path in self._folders():
            damage = self._damage(path)
            if damage is None:
                return str(path)
            say(f"train {self.log.label}: {path} is not used: {damage}")
        return None

    def last(self) -> Path | None:
        """Return the folder of the latest checkpoint, complete or not, or None; for messages."""
        return next(iter(self._folders()), None)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Request a checkpoint if one is due, unless this was the last step. All processes decide alike."""
        due = is_first() and time.monotonic() - self.saved_at >= self.seconds
        due_anywhere, received = largest([due, self.signal or requested_signal() or 0])
        self.signal = int(received) or None
        if (due_anywhere or received) and not control.should_training_stop and state.global_step < state.max_steps:
            control.should_save = self._can_resume_from(args, state, kwargs["train_dataloader"])
            if self.signal is not None and not control.should_save:
                self._stop(state)

    def seal(self, step: int) -> None:
        """Mark the checkpoint of a step as complete, after all its files are written, and delete all but the latest two."""
        path = self.folder / f"{PREFIX_CHECKPOINT_DIR}-{step}"
        (path / LOG).write_text(
            json.dumps(self.log.state()._asdict()), encoding="utf-8"
        )  # This keeps the order of the columns.
        files = sorted(file for file in path.iterdir() if file.is_file())
        for file in files:
            sync(file)
        write_json(path / SEAL, {"made_by": self.provenance, "files": {file.name: sha256_of(file) for file in files}})
        sync(path / SEAL)
        sync(path)
        for old in self._folders()[KEPT:]:
            shutil.rmtree(old)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Restart the interval after a checkpoint, and end the training if a signal requested it."""
        self.saved_at = time.monotonic()
        if self.signal is not None:
            self._stop(state)

    @contextmanager
    def stopping_on_signals(self) -> Iterator[None]:
        """Make SIGTERM and SIGINT complete and save the step first; a second Ctrl-C ends the process immediately.

        The processes of a distributed training ignore both signals, because their launcher handles them. A process cannot tell
        whether a signal was sent by the launcher or to all of them.
        """
        handler = signal.SIG_IGN if is_worker() else self._on_signal
        before = {number: signal.signal(number, handler) for number in SIGNALS}
        try:
            yield
        finally:
            for number, former in before.items():
                signal.signal(number, former)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.signal is None:
            self.signal, self.signalled_at = number, time.monotonic()
        elif is_repeated_interrupt(number, self.signalled_at):
            raise KeyboardInterrupt

    def _stop(self, state: TrainerState) -> None:
        assert self.signal is not None
        saved = self.last()
        outcome = f"resumes from {saved.name}" if saved else "starts again"
        raise Stopped(f"stopped at step {state.global_step}; the same command {outcome}", self.signal)

    def _folders(self) -> list[Path]:
        """Return the folders of all checkpoints, the latest first."""
        paths = self.folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*")
        return sorted(paths, key=lambda path: int(path.name.rpartition("-")[2]), reverse=True)

    def _damage(self, path: Path) -> str | None:
        try:
            sealed = read_json(path / SEAL)
            for name, digest in sealed["files"].items():
                if sha256_of(path / name) != digest:
                    return f"{name} is damaged"
        except (OSError, ValueError, KeyError):
            return "it is incomplete"
        return None if sealed["made_by"] == self.provenance else "it comes from other code, versions or data"

    def _can_resume_from(self, args: TrainingArguments, state: TrainerState, dataloader: Any) -> bool:
        """Return whether a resumed training would continue at the right position in the data.

        Transformers computes the position from the number of steps, which is wrong after an epoch whose sampler skipped batches.
        """
        accumulated, batches = args.gradient_accumulation_steps, len(dataloader)
        steps_per_epoch = max(-(-batches // accumulated), 1)
        epochs, steps = divmod(state.global_step, steps_per_epoch)
        exact = round((state.epoch or 0) * batches) == epochs * batches + steps * accumulated
        if not exact and not self.warned:
            self.warned = True
            say(f"train {self.log.label}: an epoch skipped batches, so no further checkpoints are written")
        return exact


EXPLODED = 1000.0  # largest ratio of a loss to the median of the previous losses
STEPS = 100  # largest number of losses of which the median is taken
FIRST_STEPS = 5  # number of losses below which no median is taken
SMALL = 1.0  # smallest median: a loss near 0 may rise a thousandfold without divergence


def diverged(label: str, step: int, symptom: str, checkpoints: Checkpoints) -> Diverged:
    """Return the error that ends a diverged training.

    Args:
        label: name of the run, for the message.
        step: the optimizer step in which divergence was detected.
        symptom: which value is NaN, infinite or too large.
        checkpoints: the checkpoints of the training, of which the latest is named.
    """
    last = checkpoints.last()
    good = f"the last good checkpoint is {last}" if last else "there is no earlier checkpoint"
    return Diverged(
        f"{label} diverged at step {step}: {symptom}; {good}. "
        "Lower its learning rate or trainer.max_grad_norm, or raise trainer.warmup_ratio",
        step,
        str(last) if last else None,
    )


class StopWhenDiverged(TrainerCallback):
    """Callback that checks the loss and the gradient of each step before a checkpoint of the step is saved.

    It raises Diverged with the run, the step and the last good checkpoint.

    Args:
        label: name of the run, for messages.
        checkpoints: the checkpoints of the training.
    """

    def __init__(self, label: str, checkpoints: Checkpoints) -> None:
        self.label, self.checkpoints = label, checkpoints
        self.losses: deque[float] = deque(maxlen=STEPS)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Check the loss and the norm of the gradient of a step."""
        if not logs or "loss" not in logs:
            return
        loss = float(logs["loss"])
        symptom = self._symptom(loss, float(logs.get("grad_norm") or 0.0))
        if symptom:
            raise diverged(self.label, state.global_step, symptom, self.checkpoints)
        self.losses.append(loss)

    def _symptom(self, loss: float, gradient: float) -> str | None:
        if not math.isfinite(loss):
            return f"the loss is {loss}"
        if not math.isfinite(gradient):
            return f"the norm of the gradient is {gradient}"
        if len(self.losses) >= FIRST_STEPS:
            median = max(statistics.median(self.losses), SMALL)
            if loss > EXPLODED * median:
                return f"the loss is {loss:.4g}, and its median was {median:.4g} before"
        return None


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
