"""Encoding with ONNX Runtime and the tokenizers library alone, as a service without PyTorch would."""

import platform
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

from qatlab.artifact import read_json
from qatlab.deployments.onnx import ONNX_FILE, OUTPUT
from qatlab.errors import UserError

NO_LIMIT = 1_000_000  # tokens; some tokenizers state a limit of 10^30


class TokenBatches:
    """Tokenizer of a Sentence Transformers folder.

    Attributes:
        max_tokens: largest number of tokens per text; longer texts are truncated.
    """

    def __init__(self, folder: Path) -> None:
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        settings = read_json(folder / "tokenizer_config.json")
        pad_token = settings.get("pad_token") or "[PAD]"
        pad_token = pad_token["content"] if isinstance(pad_token, dict) else pad_token
        self._padding = {
            "pad_id": self.tokenizer.token_to_id(pad_token),
            "pad_token": pad_token,
            "direction": settings.get("padding_side", "right"),
        }
        self.max_tokens = _max_tokens(folder, settings)
        self.tokenizer.enable_truncation(self.max_tokens, direction=settings.get("truncation_side", "right"))
        self.pad_to(None)

    def pad_to(self, length: int | None) -> None:
        """Pad every text to `length` tokens from now on; None pads to the longest text of the batch."""
        self.tokenizer.enable_padding(length=length, **self._padding)

    def feed(self, texts: list[str], names: set[str]) -> dict[str, np.ndarray]:
        """Return the arrays, (texts, tokens) int64, of those inputs that are in `names`, by name."""
        tokens = self.tokenizer.encode_batch(texts)
        columns = {
            "input_ids": [t.ids for t in tokens],
            "attention_mask": [t.attention_mask for t in tokens],
            "token_type_ids": [t.type_ids for t in tokens],
        }
        return {name: np.asarray(values, dtype=np.int64) for name, values in columns.items() if name in names}


def by_length(texts: list[str], batch_size: int) -> Iterator[list[int]]:
    """Yield the indices of texts in batches of similar length, longest first; batches do not depend on the runtime."""
    order = sorted(range(len(texts)), key=lambda index: (-len(texts[index]), index))
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


def encode_by_length(texts: list[str], batch_size: int, embed: Callable[[list[str]], np.ndarray]) -> np.ndarray:
    """Encode texts in batches of similar length.

    Args:
        texts: at least one text.
        batch_size: number of texts per batch.
        embed: computes the embeddings, (batch, dim), of a batch of texts.

    Returns:
        Embeddings, (n, dim) float32, in the order of the texts.
    """
    embeddings: np.ndarray | None = None
    for batch in by_length(texts, batch_size):
        vectors = embed([texts[index] for index in batch])
        if embeddings is None:
            embeddings = np.empty((len(texts), vectors.shape[1]), dtype=np.float32)
        embeddings[batch] = vectors
    assert embeddings is not None
    return embeddings


def _max_tokens(folder: Path, tokenizer_settings: dict[str, Any]) -> int:
    """Return the largest number of tokens per text, at most the number of positions.

    Sentence Transformers stores it with the module in older versions, and with the tokenizer since 5.4.
    """
    module_settings = read_json(folder / "sentence_bert_config.json")
    limit = module_settings.get("max_seq_length") or tokenizer_settings.get("model_max_length") or NO_LIMIT
    positions = read_json(folder / "config.json").get("max_position_embeddings") or NO_LIMIT
    return int(min(limit, positions if positions > 0 else NO_LIMIT, NO_LIMIT))


class OnnxEncoder:
    """Exported model on the CPU.

    Args:
        folder: a folder with an ONNX file and a tokenizer.
        threads: number of CPU threads; None for all.
        exact_products: whether sums of integer products must not saturate on x86 CPUs without VNNI.

    Raises:
        UserError: for a file that is not a complete ONNX model.
    """

    def __init__(self, folder: Path, threads: int | None, exact_products: bool = False) -> None:
        self.tokens = TokenBatches(folder)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        if exact_products:
            options.add_session_config_entry("session.x64quantprecision", "1")
        path = folder / ONNX_FILE
        try:
            self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's errors have no common base class.
            reason = str(error).strip().splitlines()[0]
            raise UserError(
                f"{path} is not a complete ONNX file ({reason}); delete its folder, {folder.parent}, and run again"
            ) from None
        self.input_names = {entry.name for entry in self.session.get_inputs()}
        self.device = f"cpu ({platform.machine()}, {threads or 'all'} threads)"

    def encode(self, texts: list[str], batch_size: int, prompt: str = "") -> np.ndarray:
        """Encode texts in batches of similar length, longest first.

        Args:
            texts: the texts.
            batch_size: number of texts per batch.
            prompt: text that is put before each of the texts.

        Returns:
            Embeddings, (n, dim) float32, in the order of the texts.
        """
        return encode_by_length([prompt + text for text in texts], batch_size, self._embed)

    def _embed(self, texts: list[str]) -> np.ndarray:
        vectors: np.ndarray = self.session.run([OUTPUT], self.tokens.feed(texts, self.input_names))[0]
        return vectors
