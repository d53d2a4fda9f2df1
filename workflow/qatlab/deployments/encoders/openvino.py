"""Encoder that runs OpenVINO on the CPU."""

import platform
from pathlib import Path

import numpy as np

from qatlab.deployments.builders.openvino import OPENVINO_FILE, import_openvino
from qatlab.deployments.onnx import OUTPUT


class OpenvinoEncoder:
    """Model in OpenVINO's own format on the CPU; activations are computed in float32 unless the file quantizes them.

    Args:
        folder: a folder with an OpenVINO file and a tokenizer.
        threads: number of CPU threads; None for all.
    """

    def __init__(self, folder: Path, threads: int | None) -> None:
        from qatlab.deployments.encoders.tokens import TokenBatches

        core = import_openvino().Core()
        self.tokens = TokenBatches(folder)
        settings = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
        if threads is not None:
            settings["INFERENCE_NUM_THREADS"] = str(threads)
        self.model = core.compile_model(str(folder / OPENVINO_FILE), "CPU", settings)
        self.input_names = {name for entry in self.model.inputs for name in entry.names}
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
        from qatlab.deployments.encoders.tokens import encode_by_length

        return encode_by_length([prompt + text for text in texts], batch_size, self._embed)

    def _embed(self, texts: list[str]) -> np.ndarray:
        vectors: np.ndarray = self.model(self.tokens.feed(texts, self.input_names))[OUTPUT]
        return vectors
