"""drift: how far a deployment's embeddings stand from the reference's, text by text."""

from pathlib import Path
from typing import Any

import numpy as np

from qatlab.artifact import write_json
from qatlab.config.drift import DriftConfig


def run(description: dict[str, Any], inputs: dict[str, Path], output: Path, threads: int | None) -> None:
    """Writes drift.json (min, max, mean cosine similarity, mean distance, n) and cosines.npy, (n,) float64."""
    config = DriftConfig.model_validate(description["config"])
    names = {"documents": ("documents",), "queries": ("queries",), "all": ("documents", "queries")}[config.texts]
    before, after = (
        np.concatenate([np.load(inputs[role] / f"{name}.npy", allow_pickle=False) for name in names])
        for role in ("reference", "encode")
    )
    cosines = cosine(before[: config.limit], after[: config.limit])
    np.save(output / "cosines.npy", cosines)
    summary = {"min": cosines.min(), "max": cosines.max(), "mean": cosines.mean(), "mean_distance": 1 - cosines.mean()}
    write_json(
        output / "drift.json",
        {**{key: float(value) for key, value in summary.items()}, "n": len(cosines), "texts": config.texts},
    )


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cosine similarity of each row of a with the same row of b, (n,) float64; raises ValueError for another shape or a zero vector."""
    if a.shape != b.shape:
        raise ValueError(f"embeddings of shape {a.shape} and {b.shape} cannot be compared text by text")
    a, b = a.astype(np.float64), b.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    if not lengths.all():
        raise ValueError("a text has an all-zero embedding, which has no cosine similarity")
    return np.clip((a * b).sum(axis=1) / lengths, -1.0, 1.0)
