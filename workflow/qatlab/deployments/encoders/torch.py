"""Encoder that runs Sentence Transformers in PyTorch."""

from pathlib import Path

import numpy as np

from qatlab.deployments.torch import TorchDeployment
from qatlab.machine.hardware import claim_gpu, describe_device, device_name, use_threads, visible_gpus


class TorchEncoder:
    """Deployed model in float32 or bfloat16, fake-quantized, or with weights that torchao has quantized.

    Args:
        folder: a Sentence Transformers folder.
        threads: number of CPU threads; None for all.
        config: the deployment.
    """

    def __init__(self, folder: Path, threads: int | None, config: TorchDeployment) -> None:
        if config.runs_on_gpu:
            claim_gpu(visible_gpus())
        use_threads(threads)
        device = device_name() if config.runs_on_gpu else "cpu"
        if config.weights is not None and not config.simulated:
            from qatlab.deployments.builders.torchao import load_quantized

            self.model = load_quantized(folder, config.weights)
        else:
            from qatlab.models.embedding import load_model

            self.model = load_model(folder, device, config.dtype)
        if config.simulated:
            from qatlab.weights.prepare import enable, prepare

            assert config.weights is not None
            prepare(self.model, config.weights)
            if not config.activations:
                enable(self.model, weights=True, activations=False)
        self.model.eval()
        self.device = describe_device(device)

    def encode(self, texts: list[str], batch_size: int, prompt: str = "") -> np.ndarray:
        """Encode texts in batches of similar length, longest first.

        Args:
            texts: the texts.
            batch_size: number of texts per batch.
            prompt: text that is put before each of the texts; a model with include_prompt: false excludes it from pooling.

        Returns:
            Embeddings, (n, dim) float32, in the order of the texts.
        """
        from qatlab.deployments.encoders.tokens import encode_by_length

        def embed(batch: list[str]) -> np.ndarray:
            vectors = self.model.encode(
                batch, batch_size=len(batch), prompt=prompt, convert_to_tensor=True, show_progress_bar=False
            )
            values: np.ndarray = vectors.float().cpu().numpy()
            return values

        return encode_by_length(texts, batch_size, embed)
