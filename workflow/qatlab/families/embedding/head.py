"""The training of a head on cached embeddings, which the stage `train` runs in place of the training of the model."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import TrainerControl, TrainerState
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from qatlab.artifact import load_array
from qatlab.config.method import TrainingConfig
from qatlab.errors import UserError
from qatlab.job import begins_with
from qatlab.models.embedding import load_model
from qatlab.progress import say
from qatlab.quantization.precisions import NotFiniteError
from qatlab.training.head import HeadTraining
from qatlab.training.resumable import Checkpoints, diverged
from qatlab.training.training import Training

STATE = "head.pt"
PAIRS, CORPUS = "pairs", "corpus_"  # roles of the inputs; that of a corpus ends in the name of its task


class HeadTrainer:
    """Loop over the steps of a head's training, with the callbacks and checkpoints of any training.

    Args:
        training: the training of the head.
        callbacks: callbacks of Transformers' trainer.
    """

    def __init__(self, training: HeadTraining, callbacks: Sequence[Any]) -> None:
        self.training, self.callbacks = training, list(callbacks)

    def add_callback(self, callback: Any) -> None:
        """Add a callback after the others."""
        self.callbacks.append(callback)

    def train_resumably(self, checkpoints: Checkpoints) -> None:
        """Train, and resume from the latest complete checkpoint if there is one.

        Raises:
            Diverged: if the loss becomes NaN or infinite.
            Stopped: if a signal ended the training.
            UserError: if a checkpoint holds more than tensors.
        """
        training, log = self.training, checkpoints.log
        self.add_callback(checkpoints)
        latest = checkpoints.restore_latest()
        if latest is None:
            log.rows.append({"step": 0, **training.first})  # the scores of the start; no loss was computed
        else:
            training.restore(_read_state(Path(latest)))
        steps = training.config.steps
        state = TrainerState(global_step=training.step, max_steps=steps)
        self._call("on_train_begin", state)
        with checkpoints.stopping_on_signals():
            while not training.done:
                self._call("on_step_begin", state)
                try:
                    row = training.advance()
                except NotFiniteError as error:
                    raise diverged(log.label, training.step + 1, str(error), checkpoints) from None
                state.global_step, state.epoch = training.step, training.step / steps
                control = self._call("on_step_end", state, train_dataloader=range(steps))
                self._call("on_log", state, logs=row)
                log.rows[-1] |= row
                if control.should_save:
                    self._save(checkpoints, state)

    def _call(self, event: str, state: TrainerState, **values: Any) -> TrainerControl:
        """Call one event of every callback and return the control that they changed."""
        control, arguments = TrainerControl(), SimpleNamespace(gradient_accumulation_steps=1)
        for callback in self.callbacks:
            getattr(callback, event)(arguments, state, control, **values)
        return control

    def _save(self, checkpoints: Checkpoints, state: TrainerState) -> None:
        folder = checkpoints.folder / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(self.training.state(), folder / STATE)
        checkpoints.seal(state.global_step)
        self._call("on_save", state)


def _read_state(checkpoint: Path) -> dict[str, Any]:
    try:
        state: dict[str, Any] = torch.load(checkpoint / STATE, weights_only=True)
    except UnpicklingError as error:  # torch.load refuses everything but tensors and plain values
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"{checkpoint} holds more than tensors ({reason[:80]}); remove it and run again") from None
    return state


class HeadOfEmbeddings(Training):
    """Training of a head on embeddings of training pairs, of the documents of tasks, or of both."""

    config: TrainingConfig

    def __init__(self, config: TrainingConfig, inputs: dict[str, Path], label: str) -> None:
        """Load the embeddings, and fit the start of the head."""
        self.config, self.inputs, self.label = config, inputs, label
        assert config.method.head is not None
        documents, queries = cached_embeddings(inputs, config.method.head.rows)
        with _explained(config.method.name):
            self.training = HeadTraining(documents, queries, config.method.head, config.seed)
        self.model = self.training.codes
        self.examples = len(documents)

    def outputs(self) -> torch.Tensor:
        """Return the outputs of the head for the first documents."""
        return self.model.outputs(self.training.documents[:8]).detach()

    def trainer(self, arguments: dict[str, object], loss: nn.Module | None, callbacks: Sequence[Any]) -> Any:
        """Return the loop over the steps of the head."""
        return HeadTrainer(self.training, callbacks)

    def save(self, folder: Path, loss: nn.Module | None) -> None:
        """Write the model with the head as its last module, as a Sentence Transformers folder; report what was gained."""
        training = self.training
        start, end = training.first, f"score {training.best_score:.4f}, objective {training.best_objective:.4f}"
        verdict = (
            ""
            if training.improved
            else "; not both are better than those of the start, so do not expect more of its bits"
        )
        say(
            f"train {self.label}: the head of step {training.best_step} has the best bits of held-out texts: {end} (start: "
            f"{start['held_out_score']:.4f}, {start['held_out_objective']:.4f}){verdict}"
        )
        model = load_model(begins_with(self.inputs))
        model.append(training.best.as_module())
        model.save_pretrained(str(folder), safe_serialization=True, create_model_card=False)


def cached_embeddings(inputs: dict[str, Path], rows: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the embeddings of documents, (n, dim) float32, and of the queries of the first of them, or None for a corpus alone.

    Args:
        inputs: folders of embeddings by role; those of tasks hold queries too, which are not read.
        rows: number of pairs, and of documents of each task, from the first.
    """
    folders = [folder for role, folder in inputs.items() if role == PAIRS]
    folders += [folder for role, folder in sorted(inputs.items()) if role.startswith(CORPUS)]
    documents = np.concatenate([load_array(folder / "documents.npy")[:rows] for folder in folders])
    queries = load_array(inputs[PAIRS] / "queries.npy")[:rows] if PAIRS in inputs else None
    return documents, queries


@contextmanager
def _explained(method: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise UserError(f"method '{method}': {error}") from None


CONFIG, TRAINING = TrainingConfig, HeadOfEmbeddings
