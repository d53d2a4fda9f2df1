"""Encoding with Sentence Transformers in PyTorch."""

from pathlib import Path

import numpy as np
from sentence_transformers import SentenceTransformer

from qatlab.config.deploy import TORCHAO_FILE
from qatlab.training.device import describe_device, device_name, use_threads
from qatlab.training.gpu import claim_gpu, visible_gpus


class TorchEncoder:
    """A trained model in float32, or with weights that torchao has quantized, on the CPU."""

    def __init__(self, folder: Path, threads: int | None) -> None:
        if (folder / TORCHAO_FILE).exists():
            from qatlab.deploy.torchao import load_quantized

            use_threads(threads)
            self.model = load_quantized(folder)
            self.device = describe_device()
            return
        claim_gpu(visible_gpus())
        use_threads(threads)
        self.model = SentenceTransformer(
            str(folder), device=device_name(), trust_remote_code=False, model_kwargs={"use_safetensors": True}
        )
        self.device = describe_device()

    def encode(self, texts: list[str], batch_size: int) -> np.ndarray:
        """(n, dim) float32, in the order of the texts."""
        return self.model.encode(
            texts, batch_size=batch_size, prompt="", convert_to_numpy=True, show_progress_bar=False
        ).astype(np.float32)
