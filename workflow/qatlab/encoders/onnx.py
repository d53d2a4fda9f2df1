"""Encoding with ONNX Runtime and the tokenizers library alone, as a service without PyTorch would."""

import platform
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

from qatlab.artifact import read_json
from qatlab.deploy.onnx_export import ONNX_FILE

OUTPUT = "sentence_embedding"


class OnnxEncoder:
    """An exported model on the CPU."""

    def __init__(self, folder: Path, threads: int | None) -> None:
        self.tokenizer = _tokenizer(folder)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        self.session = onnxruntime.InferenceSession(
            str(folder / ONNX_FILE), options, providers=["CPUExecutionProvider"]
        )
        self.input_names = {entry.name for entry in self.session.get_inputs()}
        self.device = f"cpu ({platform.machine()}, {threads or 'all'} threads)"

    def encode(self, texts: list[str], batch_size: int) -> np.ndarray:
        """(n, dim) float32, in the order of the texts. Batches hold texts of similar length, longest first."""
        order = sorted(range(len(texts)), key=lambda index: (-len(texts[index]), index))
        batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
        encoded = [self._embed([texts[index] for index in batch]) for batch in batches]
        embeddings = np.empty((len(texts), encoded[0].shape[1]), dtype=np.float32)
        for batch, vectors in zip(batches, encoded, strict=True):
            embeddings[batch] = vectors
        return embeddings

    def _embed(self, texts: list[str]) -> np.ndarray:
        tokens = self.tokenizer.encode_batch(texts)
        columns = {
            "input_ids": [t.ids for t in tokens],
            "attention_mask": [t.attention_mask for t in tokens],
            "token_type_ids": [t.type_ids for t in tokens],
        }
        feed = {
            name: np.asarray(values, dtype=np.int64) for name, values in columns.items() if name in self.input_names
        }
        vectors: np.ndarray = self.session.run([OUTPUT], feed)[0]
        return vectors


def _tokenizer(folder: Path) -> Tokenizer:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    settings = read_json(folder / "tokenizer_config.json")
    pad_token = settings.get("pad_token") or "[PAD]"
    pad_token = pad_token["content"] if isinstance(pad_token, dict) else pad_token
    tokenizer.enable_padding(
        pad_id=tokenizer.token_to_id(pad_token), pad_token=pad_token, direction=settings.get("padding_side", "right")
    )
    tokenizer.enable_truncation(_max_tokens(folder, settings))
    return tokenizer


def _max_tokens(folder: Path, tokenizer_settings: dict[str, Any]) -> int:
    """Where Sentence Transformers keeps it: with the module in older versions, with the tokenizer since 5.4."""
    module_settings = read_json(folder / "sentence_bert_config.json")
    return int(module_settings.get("max_seq_length") or tokenizer_settings["model_max_length"])
