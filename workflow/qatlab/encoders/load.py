"""The encoder that runs a deployment, by its configuration."""

from pathlib import Path
from typing import Any

from qatlab.config.deploy import Deployment, OnnxDeployment, TorchDeployment


def load_encoder(folder: Path, threads: int | None, config: Deployment) -> Any:
    """Return the encoder of a deployment: its `encode(texts, batch_size, prompt)` returns (n, dim) float32, its `device` is a name."""
    if isinstance(config, TorchDeployment):
        from qatlab.encoders.torch import TorchEncoder

        return TorchEncoder(folder, threads, config)
    if isinstance(config, OnnxDeployment):
        from qatlab.encoders.onnx import OnnxEncoder

        return OnnxEncoder(folder, threads, config.exact_products)
    from qatlab.encoders.openvino import OpenvinoEncoder

    return OpenvinoEncoder(folder, threads)
