"""Rotations and centring before the grid, fitted without labels: which directions a grid's axes lie along.

Bits keep the sign of each coordinate, so binary embeddings depend on the choice of axes; float similarities don't. A
rotation is an affine map x ↦ (x − center) · matrix with orthonormal rows: dot products are unchanged where center is 0.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from qatlab.quantization.backend import is_torch

KINDS = ("random", "pca", "itq", "overcomplete")
SHIFT = "none"  # the kind of a rotation that only subtracts its centre
NEED_EMBEDDINGS = ("pca", "itq")
ITQ_ITERATIONS = 50
Center = Literal["mean", "median"] | bool


class TooFewEmbeddings(ValueError):
    """Fewer embeddings than dimensions, which principal axes cannot be fitted on."""


@dataclass(frozen=True)
class Rotation:
    """x ↦ (x − center) · matrix; of the kind SHIFT, x ↦ x − center.

    Attributes:
        kind: one of KINDS, or SHIFT.
        matrix: (dim, out) float32 with orthonormal rows, out ≥ dim; None for the identity.
        center: (dim,) float32, or None: not centred.

    Raises:
        ValueError: where it has neither a matrix nor a centre.
    """

    kind: str
    matrix: np.ndarray | None
    center: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.matrix is None and self.center is None:
            raise ValueError("a rotation needs a matrix or a center; without both it changes nothing")

    @property
    def shape(self) -> tuple[int, int]:
        """Dimensions that go in and come out."""
        if self.matrix is None:
            assert self.center is not None
            return len(self.center), len(self.center)
        return self.matrix.shape[0], self.matrix.shape[1]

    def __call__(self, embeddings: Any) -> Any:
        """(n, dim) → (n, out) float32, NumPy or torch; raises ValueError for another dimension."""
        dim = self.shape[0]
        if embeddings.ndim != 2 or embeddings.shape[1] != dim:
            raise ValueError(f"this rotation is for shape (n, {dim}), not {tuple(embeddings.shape)}")
        convert: Callable[[np.ndarray], Any] = np.asarray
        values: Any
        if is_torch(embeddings):
            import torch

            convert = partial(torch.as_tensor, device=embeddings.device)
            values = embeddings.float()
        else:
            values = np.asarray(embeddings, dtype=np.float32)
        if self.center is not None:
            values = values - convert(self.center)
        return values if self.matrix is None else values @ convert(self.matrix)

    def as_module(self, trainable: bool = False) -> Any:
        """A `Dense` module of Sentence Transformers (linear, no activation): append it to a model, save and load it.

        A rotation that only subtracts its centre is one whose weight is the identity.

        Args:
            trainable: whether training changes it.
        """
        import torch

        try:
            from sentence_transformers.base.modules import Dense
        except ImportError:  # before sentence-transformers 5.5
            from sentence_transformers.models import Dense
        dim, out = self.shape
        matrix = np.eye(dim, dtype=np.float32) if self.matrix is None else self.matrix
        module = Dense(
            dim,
            out,
            bias=self.center is not None,
            activation_function=torch.nn.Identity(),
            init_weight=torch.from_numpy(np.ascontiguousarray(matrix.T)),
            init_bias=None if self.center is None else torch.from_numpy(-self.center @ matrix),
        )
        return module.requires_grad_(trainable)

    def save(self, path: Path) -> None:
        """Writes a .npz file."""
        arrays = {"kind": np.array(self.kind), "matrix": self.matrix, "center": self.center}
        there: dict[str, Any] = {name: array for name, array in arrays.items() if array is not None}
        np.savez(path, **there)

    @staticmethod
    def load(path: Path) -> "Rotation":
        """Reads what `save` wrote."""
        with np.load(path, allow_pickle=False) as arrays:
            return Rotation(str(arrays["kind"]), arrays.get("matrix"), arrays.get("center"))


def fit_rotation(
    kind: str, embeddings: np.ndarray, bits: int | None = None, center: Center = False, seed: int = 0
) -> Rotation:
    """A rotation of embeddings; the same for the same arguments.

    Args:
        kind: 'random': uniform over orthogonal matrices; 'pca': principal axes, by falling variance; 'itq': iterative
            quantization (Gong & Lazebnik, CVPR 2011), which turns principal axes until values lie close to their signs;
            'overcomplete': a random orthonormal frame of more bits than dimensions; 'none': the axes stay, and `center`
            alone is subtracted.
        embeddings: (n, dim) floats to fit on, without labels; random kinds take only the dimension (and the centre) of it.
        bits: dimensions put out, above dim, for overcomplete.
        center: subtract the mean (True or 'mean') or the median of each dimension first. Cosine similarities are then those
            of centred embeddings.
        seed: of what is random.

    Raises:
        TooFewEmbeddings: for fewer embeddings than dimensions, for pca and itq.
        ValueError: for an unknown kind, NaN or Inf, bits not above dim, kind 'none' without a centre.
    """
    _check(kind, embeddings, bits, center)
    values = embeddings.astype(np.float64)
    origin = None if not center else np.median(values, axis=0) if center == "median" else values.mean(axis=0)
    centred = values if origin is None else values - origin
    return Rotation(
        kind,
        _matrix(kind, centred, bits, seed),
        None if origin is None else origin.astype(np.float32),
    )


def _matrix(kind: str, centred: np.ndarray, bits: int | None, seed: int) -> np.ndarray | None:
    """(dim, out) float32; None where the axes stay."""
    dim = centred.shape[1]
    if kind == SHIFT:
        return None
    if kind == "random":
        matrix = _random_orthogonal(dim, seed)
    elif kind == "overcomplete":
        assert bits is not None
        matrix = np.linalg.qr(np.random.default_rng(seed).normal(size=(bits, dim)))[0].T
    else:
        matrix = _principal_axes(centred)
        if kind == "itq":
            matrix = matrix @ _itq(centred @ matrix, seed)
    return matrix.astype(np.float32)


def _check(kind: str, embeddings: np.ndarray, bits: int | None, center: Center) -> None:
    if kind not in (*KINDS, SHIFT):
        raise ValueError(f"unknown rotation '{kind}'; valid: {', '.join((*KINDS, SHIFT))}")
    if center not in (False, True, "mean", "median"):
        raise ValueError(f"unknown center '{center}'; valid: mean, median, or False for none")
    if kind == SHIFT and not center:
        raise ValueError("a rotation of kind none changes nothing without a center; give 'mean' or 'median'")
    if embeddings.ndim != 2 or len(embeddings) == 0:
        raise ValueError(f"rotations are fitted on embeddings of shape (n, dim) with n ≥ 1, not {embeddings.shape}")
    if not np.isfinite(embeddings).all():
        raise ValueError("embeddings hold NaN or Inf, so no rotation can be fitted")
    n, dim = embeddings.shape
    if kind in NEED_EMBEDDINGS and n < dim:
        raise TooFewEmbeddings(f"{kind} in {dim} dimensions needs at least as many embeddings, not {n}")
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
