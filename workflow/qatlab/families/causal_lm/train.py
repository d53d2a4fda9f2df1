"""The training of a causal language model, by Transformers' own trainer: blocks of text, or translations behind their prompt."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerBase, TrainingArguments

from qatlab.config.method import CausalTrainingConfig
from qatlab.errors import UserError
from qatlab.job import begins_with
from qatlab.machine.hardware import device_name
from qatlab.models.causal_lm import IGNORED, beginning_token, fill_prompt, load_model, load_tokenizer, tokens_of
from qatlab.progress import say
from qatlab.training.callbacks import UNENDING, WallClock
from qatlab.training.resumable import Resumable, sees_padding
from qatlab.training.training import Training

TOKENIZED_AT_ONCE = 1000


class Blocks(Dataset[dict[str, object]]):
    """Data set of blocks of equal length, which are cut from the concatenation of all texts; one example per block.

    Each text starts with the beginning token. The remainder at the end, which is shorter than a block, is dropped. Tokens are stored
    in two bytes each if the vocabulary allows it.

    Args:
        tokenizer: the tokenizer.
        texts: the texts.
        length: number of tokens per block.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, texts: list[str], length: int) -> None:
        dtype = np.uint16 if len(tokenizer) <= 2**16 else np.int32
        first_token = beginning_token(tokenizer)
        parts = [
            np.concatenate([np.array([first_token, *tokens], dtype) for tokens in tokens_of(tokenizer, batch)])
            for batch in (texts[first : first + TOKENIZED_AT_ONCE] for first in range(0, len(texts), TOKENIZED_AT_ONCE))
        ]
        stream = np.concatenate(parts)
        self.tokens = stream[: len(stream) // length * length].reshape(-1, length)

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, index: int) -> dict[str, object]:
        tokens = self.tokens[index].tolist()
        return {"input_ids": tokens, "labels": tokens}


def translations(
    tokenizer: PreTrainedTokenizerBase, sources: list[str], targets: list[str], prompt: str, length: int
) -> tuple[list[dict[str, list[int]]], int]:
    """Build examples of a prompt, its target and the end of text; the loss covers only target and end.

    Args:
        tokenizer: the tokenizer.
        sources: the texts to translate.
        targets: their translations.
        prompt: the prompt, in which {source} stands for the source.
        length: largest number of tokens of an example.

    Returns:
        The examples, and the number of pairs that are left out because they are longer than `length` tokens.
    """
    examples = []
    for first in range(0, len(sources), TOKENIZED_AT_ONCE):
        batch = slice(first, first + TOKENIZED_AT_ONCE)
        prompts = tokens_of(tokenizer, [fill_prompt(prompt, source) for source in sources[batch]])
        answers = tokens_of(tokenizer, targets[batch])
        for prompt_tokens, answer in zip(prompts, answers, strict=True):
            context, predicted = [beginning_token(tokenizer), *prompt_tokens], [*answer, tokenizer.eos_token_id]
            if len(context) + len(predicted) <= length:
                examples.append({"input_ids": context + predicted, "labels": [IGNORED] * len(context) + predicted})
    return examples, len(sources) - len(examples)


class PadRight:
    """Collator that pads examples on the right to the length of the longest one.

    Args:
        padding: id of the padding token.
    """

    def __init__(self, padding: int) -> None:
        self.padding = padding

    def __call__(self, examples: Iterable[dict[str, list[int]]]) -> dict[str, object]:
        """Return `input_ids`, `labels` and `attention_mask`, (examples, tokens) int64 each."""
        rows = list(examples)
        longest = max(len(row["input_ids"]) for row in rows)

        def padded(key: str, value: int) -> torch.Tensor:
            return torch.tensor([row[key] + [value] * (longest - len(row[key])) for row in rows])

        lengths = torch.tensor([len(row["input_ids"]) for row in rows])
        return {
            "input_ids": padded("input_ids", self.padding),
            "labels": padded("labels", IGNORED),
            "attention_mask": (torch.arange(longest) < lengths[:, None]).long(),
        }


UNITS = 10_000  # number of points of the whole training at which a schedule of Transformers is evaluated


class CausalTrainer(Resumable):
    """Transformers' trainer. With a clock, the learning rate follows the elapsed time in the shape that it has over steps.

    Args:
        clock: callback that ends the training after a given time; None if the number of steps ends it.
    """

    def __init__(self, *args: Any, clock: WallClock | None = None, **kwargs: Any) -> None:
        self.clock = clock
        super().__init__(*args, **kwargs)
        if clock is not None:
            self.add_callback(clock)

    def _padding(self) -> tuple[int, bool]:
        return self.data_collator.padding, False

    def create_scheduler(self, num_training_steps: int, optimizer: Optimizer | None = None) -> Any:
        """Create a scheduler over steps, or with a clock one of the same shape over the given time."""
        clock = self.clock
        if clock is None:
            return super().create_scheduler(num_training_steps, optimizer)
        over_steps: Any = super().create_scheduler(UNITS, optimizer)
        shape = over_steps.lr_lambdas[0]
        self.lr_scheduler = LambdaLR(over_steps.optimizer, lambda _: shape(round(clock.progress() * UNITS)))
        return self.lr_scheduler


class CausalTraining(Training):
    """Training of a causal language model on blocks of text, or on translations after their prompt."""

    config: CausalTrainingConfig

    def __init__(self, config: CausalTrainingConfig, inputs: dict[str, Path], label: str) -> None:
        """Load the tokenizer, make the examples and load the model."""
        self.config = config
        folder = begins_with(inputs)
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
