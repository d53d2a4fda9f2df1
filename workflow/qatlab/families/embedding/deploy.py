"""Deployments of an embedding model: the class of each builds it and compares it with Sentence Transformers."""

from pathlib import Path

from qatlab.config.weights import Coverage
from qatlab.deployments.deployment import Deployment


def build(
    config: Deployment, inputs: dict[str, Path], target: Path, threads: int | None, label: str
) -> Coverage | None:
    """Write a folder that Sentence Transformers loads with the same backend.

    Args:
        config: the deployment.
        inputs: artifacts of the job by role.
        target: folder to write.
        threads: number of CPU threads; None keeps the library's default.
        label: name of the job in messages.

    Returns:
        The number of quantized weights of linear layers, and of all; None for a float model.

    Raises:
        UserError: for a model that cannot be deployed in this way, and if embeddings differ from those of Sentence Transformers.
    """
    counts = config.build(inputs, target, threads, label)
    config.check(inputs, target, threads, f"deploy {label}")
    return counts
