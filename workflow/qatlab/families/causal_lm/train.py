"""Training of a causal language model with Transformers' own trainer."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn
from transformers import PreTrainedTokenizerBase, TrainingArguments

from qatlab.config.encode import CausalTrainingConfig
from qatlab.errors import UserError
from qatlab.machine.hardware import device_name
from qatlab.models.causal_lm import load_model, load_tokenizer
from qatlab.progress import say
from qatlab.training.causal_lm import Blocks, PadRight, translations
from qatlab.training.causal_trainer import CausalTrainer
from qatlab.training.padding import sees_padding
from qatlab.training.resumable import Resumable
from qatlab.training.training import Training
from qatlab.training.wall_clock import UNENDING, WallClock


class CausalTraining(Training):
    """Training of a causal language model on blocks of text, or on translations after their prompt."""

    config: CausalTrainingConfig

    def __init__(self, config: CausalTrainingConfig, inputs: dict[str, Path], label: str) -> None:
        """Load the tokenizer, make the examples and load the model."""
        self.config = config
        folder = inputs["model"] / "model"
        self.tokenizer = load_tokenizer(folder)
        self.rows = _examples(self.tokenizer, pd.read_parquet(inputs["data"] / "train.parquet"), config)
        self.examples = len(self.rows)
        self.model = load_model(folder, device_name())
        seconds = config.trainer.max_seconds
        self.clock = WallClock(seconds) if seconds is not None else None

    def outputs(self) -> torch.Tensor:
        """Return the logits of the first example."""
        tokens = torch.tensor([self.rows[0]["input_ids"]], device=self.model.device)
        with torch.no_grad():
            logits: torch.Tensor = self.model(tokens).logits
        return logits

    def trainer(self, arguments: dict[str, object], loss: nn.Module | None, callbacks: Sequence[Any]) -> Resumable:
        """Return Transformers' trainer, limited by steps or by wall-clock time."""
        return CausalTrainer(
            model=self.model,
            args=TrainingArguments(**arguments | ({"max_steps": UNENDING} if self.clock else {})),
            train_dataset=self.rows,
            data_collator=PadRight(self.tokenizer.pad_token_id),
            callbacks=list(callbacks),
            clock=self.clock,
            pad_alike=sees_padding(self.config.method),
        )

    def save(self, folder: Path, loss: nn.Module | None) -> None:
        """Write a folder of Transformers with its tokenizer."""
        self.model.save_pretrained(str(folder), safe_serialization=True)
        self.tokenizer.save_pretrained(str(folder))


def _examples(tokenizer: PreTrainedTokenizerBase, rows: pd.DataFrame, config: CausalTrainingConfig) -> Any:
    """Return blocks of tokens for one column of texts, or translations for two columns."""
    length, batch_size = config.max_seq_length, config.trainer.batch_size
    texts = [rows[column].tolist() for column in rows.columns]
    examples: Any
    if len(texts) == 1:
        examples = Blocks(tokenizer, texts[0], length)
        say(f"{len(examples):,} blocks of {length} tokens")
    else:
        examples, too_long = translations(tokenizer, texts[0], texts[1], config.prompt, length)
        if too_long:
            say(f"{too_long:,} of {len(rows):,} pairs have more than model.max_seq_length={length} tokens: left out")
    needed = batch_size if config.trainer.dataloader_drop_last else 1
    if len(examples) < needed:
        raise UserError(
            f"trainer.batch_size={batch_size} is more than the {len(examples)} training examples of {length} tokens; lower it, "
            "or raise data.rows"
        )
    return examples


CONFIG, TRAINING = CausalTrainingConfig, CausalTraining
