"""Encoding with OpenVINO on the processor."""

import platform
from pathlib import Path

import numpy as np

from qatlab.deployments.builders.openvino import OPENVINO_FILE, import_openvino
from qatlab.deployments.onnx import OUTPUT


class OpenvinoEncoder:
    """A model in OpenVINO's own format, computed in the precision it is stored in."""

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
        """(n, dim) float32, in the order of the texts, each behind the prompt. Batches hold texts of similar length, longest first."""
        from qatlab.deployments.encoders.tokens import encode_by_length

        return encode_by_length([prompt + text for text in texts], batch_size, self._embed)

    def _embed(self, texts: list[str]) -> np.ndarray:
        vectors: np.ndarray = self.model(self.tokens.feed(texts, self.input_names))[OUTPUT]
        return vectors
