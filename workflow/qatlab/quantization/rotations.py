"""Rotations and centring before the grid, fitted without labels: which directions a grid's axes lie along.

Bits keep the sign of each coordinate, so binary embeddings depend on the choice of axes; float similarities don't. A
rotation is an affine map x ↦ (x − mean) · matrix with orthonormal rows: dot products are unchanged where mean is 0.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from qatlab.quantization.backend import is_torch

KINDS = ("random", "pca", "itq", "overcomplete")
NEED_EMBEDDINGS = ("pca", "itq")
ITQ_ITERATIONS = 50


@dataclass(frozen=True)
class Rotation:
    """x ↦ (x − mean) · matrix.

    Attributes:
        kind: one of KINDS.
        matrix: (dim, out) float32 with orthonormal rows, out ≥ dim.
        mean: (dim,) float32, or None: not centred.
    """

    kind: str
    matrix: np.ndarray
    mean: np.ndarray | None = None

    def __call__(self, embeddings: Any) -> Any:
        """(n, dim) → (n, out) float32, NumPy or torch; raises ValueError for another dimension."""
        dim = len(self.matrix)
        if embeddings.ndim != 2 or embeddings.shape[1] != dim:
            raise ValueError(f"this rotation is for shape (n, {dim}), not {tuple(embeddings.shape)}")
        if is_torch(embeddings):
            import torch

            matrix = torch.as_tensor(self.matrix, device=embeddings.device)
            values = embeddings.float()
            return (
                values @ matrix
                if self.mean is None
                else (values - torch.as_tensor(self.mean, device=embeddings.device)) @ matrix
            )
        values = np.asarray(embeddings, dtype=np.float32)
        return (values if self.mean is None else values - self.mean) @ self.matrix

    def as_module(self, trainable: bool = False) -> Any:
        """A `Dense` module of Sentence Transformers (linear, no activation): append it to a model, save and load it.

        Args:
            trainable: whether training changes it.
        """
        import torch

        try:
            from sentence_transformers.base.modules import Dense
        except ImportError:  # before sentence-transformers 5.5
            from sentence_transformers.models import Dense
        dim, out = self.matrix.shape
        module = Dense(
            dim,
            out,
            bias=self.mean is not None,
            activation_function=torch.nn.Identity(),
            init_weight=torch.from_numpy(np.ascontiguousarray(self.matrix.T)),
            init_bias=None if self.mean is None else torch.from_numpy(-self.mean @ self.matrix),
        )
        return module.requires_grad_(trainable)

    def save(self, path: Path) -> None:
        """Writes a .npz file."""
        arrays: dict[str, Any] = {"kind": np.array(self.kind), "matrix": self.matrix}
        np.savez(path, **arrays if self.mean is None else {**arrays, "mean": self.mean})

    @staticmethod
    def load(path: Path) -> "Rotation":
        """Reads what `save` wrote."""
        with np.load(path, allow_pickle=False) as arrays:
            return Rotation(str(arrays["kind"]), arrays["matrix"], arrays.get("mean"))


def fit_rotation(
    kind: str, embeddings: np.ndarray, bits: int | None = None, center: bool = False, seed: int = 0
) -> Rotation:
    """A rotation of embeddings; the same for the same arguments.

    Args:
        kind: 'random': uniform over orthogonal matrices; 'pca': principal axes, by falling variance; 'itq': iterative
            quantization (Gong & Lazebnik, CVPR 2011), which turns principal axes until values lie close to their signs;
            'overcomplete': a random orthonormal frame of more bits than dimensions.
        embeddings: (n, dim) floats to fit on, without labels; random kinds take only the dimension (and the mean) of it.
        bits: dimensions put out, above dim, for overcomplete.
        center: subtract the mean first. Cosine similarities are then those of centred embeddings.
        seed: of what is random.

    Raises:
        ValueError: for an unknown kind, NaN or Inf, fewer embeddings than dimensions for pca and itq, bits not above dim.
    """
    _check(kind, embeddings, bits)
    values = embeddings.astype(np.float64)
    mean = values.mean(axis=0)
    centred = values - mean if center else values
    dim = embeddings.shape[1]
    if kind == "random":
        matrix = _random_orthogonal(dim, seed)
    elif kind == "overcomplete":
        assert bits is not None
        matrix = np.linalg.qr(np.random.default_rng(seed).normal(size=(bits, dim)))[0].T
    else:
        matrix = _principal_axes(centred)
        if kind == "itq":
            matrix = matrix @ _itq(centred @ matrix, seed)
    return Rotation(kind, matrix.astype(np.float32), mean.astype(np.float32) if center else None)


def _check(kind: str, embeddings: np.ndarray, bits: int | None) -> None:
    if kind not in KINDS:
        raise ValueError(f"unknown rotation '{kind}'; valid: {', '.join(KINDS)}")
    if embeddings.ndim != 2 or len(embeddings) == 0:
        raise ValueError(f"rotations are fitted on embeddings of shape (n, dim) with n ≥ 1, not {embeddings.shape}")
    if not np.isfinite(embeddings).all():
        raise ValueError("embeddings hold NaN or Inf, so no rotation can be fitted")
    n, dim = embeddings.shape
    if kind in NEED_EMBEDDINGS and n < dim:
        raise ValueError(f"{kind} in {dim} dimensions needs at least as many embeddings, not {n}")
    if kind == "overcomplete":
        if bits is None or bits <= dim:
            raise ValueError(f"overcomplete needs bits above the {dim} dimensions, not {bits}")
    elif bits is not None:
        raise ValueError(f"bits is for overcomplete; {kind} keeps the number of dimensions")


def _random_orthogonal(dim: int, seed: int) -> np.ndarray:
    if dim == 1:
        return np.ones((1, 1))
    from scipy.stats import ortho_group  # takes half a second to import

    matrix: np.ndarray = ortho_group.rvs(dim, random_state=np.random.default_rng(seed))
    return matrix


def _principal_axes(values: np.ndarray) -> np.ndarray:
    """Columns are eigenvectors of the second moments, largest first, each with its largest entry positive."""
    axes = np.linalg.eigh(values.T @ values)[1][:, ::-1]
    largest = axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])]
    return axes * np.sign(largest)


def _itq(values: np.ndarray, seed: int) -> np.ndarray:
    """The rotation R that makes ‖sign(V R) − V R‖ small, by alternating the signs and an orthogonal Procrustes problem."""
    rotation = _random_orthogonal(values.shape[1], seed)
    for _ in range(ITQ_ITERATIONS):
        signs = np.where(values @ rotation > 0, 1.0, -1.0)
        u, _, vt = np.linalg.svd(values.T @ signs)
        rotation = u @ vt
    return rotation
