"""Encoder that runs ONNX Runtime, without PyTorch."""

import platform
from pathlib import Path

import numpy as np
import onnxruntime

from qatlab.deployments.encoders.tokens import TokenBatches, encode_by_length
from qatlab.deployments.onnx import ONNX_FILE, OUTPUT
from qatlab.errors import UserError


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
