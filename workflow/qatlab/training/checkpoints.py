"""Checkpoints: what a training that was killed goes on from, to the same end as an unbroken one.

They stand beside the training's folder, which Snakemake empties before each try, and go when the training is complete.
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
from qatlab.training.callbacks import TrainingLog
from qatlab.training.ending import insists
from qatlab.training.worker_folder import is_worker, told_to_end

INTERVAL = "QATLAB_CHECKPOINT_SECONDS"  # how often is a question of the machine, not of the study
SECONDS = 600.0
KEPT = 2  # the newest, and the one before it for when the newest is damaged
LOG, SEAL = "log.json", "complete.json"
PACKAGES = ("torch", "transformers", "sentence-transformers", "torchao", "accelerate")
SIGNALS = (signal.SIGTERM, signal.SIGINT)


def seconds_between() -> float:
    """QATLAB_CHECKPOINT_SECONDS, or ten minutes; 0 is after every step."""
    said = os.environ.get(INTERVAL, str(SECONDS))
    try:
        seconds = float(said)
    except ValueError:
        seconds = -1.0
    if not seconds >= 0:
        raise UserError(f"{INTERVAL} is '{said}'; give seconds, 0 or more")
    return seconds


def made_by(
    stage: str, description: JobDescription, inputs: dict[str, Path], modules: Sequence[str] = ()
) -> dict[str, Any]:
    """Return all that a training follows from: its configuration, what it is made from, this code and the libraries below it.

    Args:
        modules: those of the stage's code that its module does not import by name, such as the model family's.
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
    """Asks the trainer for a checkpoint every so often, and when the process is told to end.

    Args:
        folder: where they stand, each in a folder `checkpoint-STEP`.
        made_by: all that the training follows from; a checkpoint of something else is not gone on from.
        log: of the training; it goes on too, and its clock does where it has one.
    """

    def __init__(self, folder: Path, made_by: dict[str, Any], log: TrainingLog) -> None:
        self.folder, self.made_by, self.log = folder, made_by, log
        self.seconds = seconds_between()
        self.signal: int | None = None
        self.told = 0.0  # when, by time.monotonic()
        self.saved = time.monotonic()
        self.said = False

    def newest(self) -> str | None:
        """The newest that is whole and of this very training, or None; says which are not, and takes its log."""
        newest: str | None = from_first(self._newest() if is_first() else None)
        if newest is not None:
            self.log.restore(read_json(Path(newest) / LOG))
            say(f"train {self.log.label}: going on from {Path(newest).name}")
        return newest

    def _newest(self) -> str | None:
        for path in self._found():
            damage = self._damage(path)
            if damage is None:
                return str(path)
            say(f"train {self.log.label}: {path} is not used: {damage}")
        return None

    def last(self) -> Path | None:
        """The newest, for a message."""
        return next(iter(self._found()), None)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Asks for a checkpoint, unless this was the last step: all processes do, or none."""
        due = is_first() and time.monotonic() - self.saved >= self.seconds
        due_anywhere, told = largest([due, self.signal or told_to_end() or 0])
        self.signal = int(told) or None
        if (due_anywhere or told) and not control.should_training_stop and state.global_step < state.max_steps:
            control.should_save = self._can_go_on_from(args, state, kwargs["train_dataloader"])
            if self.signal is not None and not control.should_save:
                self._stop(state)

    def seal(self, step: int) -> None:
        """Marks what the trainer wrote as whole, last of all, and removes the ones before the last."""
        path = self.folder / f"{PREFIX_CHECKPOINT_DIR}-{step}"
        (path / LOG).write_text(json.dumps(self.log.state()), encoding="utf-8")  # in the order of its columns
        files = sorted(file for file in path.iterdir() if file.is_file())
        for file in files:
            sync(file)
        write_json(path / SEAL, {"made_by": self.made_by, "files": {file.name: sha256_of(file) for file in files}})
        sync(path / SEAL)
        sync(path)
        for old in self._found()[KEPT:]:
            shutil.rmtree(old)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """The time of saving is not the training's."""
        self.saved = time.monotonic()
        if self.signal is not None:
            self._stop(state)

    @contextmanager
    def stopping_on_signals(self) -> Iterator[None]:
        """While open, SIGTERM and SIGINT let the step end and be saved; a person's second Ctrl-C ends the process at once.

        One of several processes leaves them to its launcher: it may get them too, but who can say whether from there.
        """
        handler = signal.SIG_IGN if is_worker() else self._asked
        before = {number: signal.signal(number, handler) for number in SIGNALS}
        try:
            yield
        finally:
            for number, former in before.items():
                signal.signal(number, former)

    def _asked(self, number: int, frame: FrameType | None) -> None:
        if self.signal is None:
            self.signal, self.told = number, time.monotonic()
        elif insists(number, self.told):
            raise KeyboardInterrupt

    def _stop(self, state: TrainerState) -> None:
        assert self.signal is not None
        saved = self.last()
        begins = f"from {saved.name}" if saved else "from the start"
        raise Stopped(f"stopped at step {state.global_step}; the same command goes on {begins}", self.signal)

    def _found(self) -> list[Path]:
        """Newest first."""
        paths = self.folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*")
        return sorted(paths, key=lambda path: int(path.name.rpartition("-")[2]), reverse=True)

    def _damage(self, path: Path) -> str | None:
        try:
            sealed = read_json(path / SEAL)
            for name, digest in sealed["files"].items():
                if sha256_of(path / name) != digest:
                    return f"{name} is damaged"
        except (OSError, ValueError, KeyError):
            return "it was not written to its end"
        return None if sealed["made_by"] == self.made_by else "it is of other code, versions or data"

    def _can_go_on_from(self, args: TrainingArguments, state: TrainerState, dataloader: Any) -> bool:
        """Transformers finds the place in the data by counting steps: wrong behind an epoch whose sampler left batches out."""
        accumulated, batches = args.gradient_accumulation_steps, len(dataloader)
        an_epoch = max(-(-batches // accumulated), 1)
        epochs, steps = divmod(state.global_step, an_epoch)
        exact = round((state.epoch or 0) * batches) == epochs * batches + steps * accumulated
        if not exact and not self.said:
            self.said = True
            say(f"train {self.log.label}: batches were left out in an epoch, so there are no checkpoints from here on")
        return exact
