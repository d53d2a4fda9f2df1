"""Checkpoints, from which an interrupted training resumes to the same weights as an uninterrupted one.

They are stored beside the folder of the training, which Snakemake empties before each attempt, and deleted when the training is
complete.
"""

import json
import os
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from qatlab.artifact import read_json, sha256_of, sync, write_json
from qatlab.errors import Stopped, UserError
from qatlab.job import JobDescription
from qatlab.machine.processes import from_first, is_first, largest
from qatlab.progress import say
from qatlab.stage_code import stage_meaning
from qatlab.training.callbacks import LogState, TrainingLog
from qatlab.training.ending import is_repeated_interrupt
from qatlab.training.worker_folder import is_worker, requested_signal

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
    manifests = {role: sha256_of(path / "manifest.json") for role, path in inputs.items()}
    versions = {package: version(package) for package in PACKAGES}
    return {
        "config": description.config,
        "inputs": manifests,
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
