"""Deployments of an embedding model, each built and compared with Sentence Transformers by its own class."""

from pathlib import Path

from qatlab.deployments.deployment import Deployment
from qatlab.weights.coverage import Coverage


def build(
    config: Deployment, inputs: dict[str, Path], target: Path, threads: int | None, label: str
) -> Coverage | None:
    """Write a folder that Sentence Transformers loads with the same backend.

    Returns:
        How many weights of linear layers are quantized; None where none are.

    Raises:
        UserError: for a model that cannot be deployed so, and where embeddings differ from those of Sentence Transformers.
    """
    counts = config.build(inputs, target, threads, label)
    config.check(inputs, target, threads, f"deploy {label}")
    return counts
