"""Rotation and centring of embeddings before quantization, which choose the axes of the grid and are fitted without labels.

Bits keep the sign of each coordinate, so binary embeddings depend on the choice of axes; float similarities do not. A
rotation is an affine map x ↦ (x − center) · matrix with orthonormal rows; it does not change dot products where center is 0.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from qatlab.quantization.precisions import is_torch

KINDS = ("random", "pca", "itq", "overcomplete")
SHIFT = "none"  # the kind of a rotation that subtracts its centre and keeps the axes
NEED_EMBEDDINGS = ("pca", "itq")
ITQ_ITERATIONS = 50
Center = Literal["mean", "median"] | bool


class UnsuitedAxes(ValueError):
    """Error for axes that embeddings of this number or of these dimensions do not admit, as opposed to wrong arguments."""


class TooFewEmbeddings(UnsuitedAxes):
    """Error for fewer embeddings than dimensions, on which principal axes cannot be fitted."""


class TooFewBits(UnsuitedAxes):
    """Error for an over-complete frame of no more bits than the embeddings have dimensions."""


@dataclass(frozen=True)
class Rotation:
    """The affine map x ↦ (x − center) · matrix; for the kind SHIFT, x ↦ x − center.

    Attributes:
        kind: One of KINDS, or SHIFT; 'head' for a trained matrix.
        matrix: (dim, out) float32 with orthonormal rows, out ≥ dim; None for the identity.
        center: (dim,) float32; None for no centring.

    Raises:
        ValueError: If it has neither a matrix nor a centre.
    """

    kind: str
    matrix: np.ndarray | None
    center: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.matrix is None and self.center is None:
            raise ValueError("a rotation needs a matrix or a center; without either it has no effect")

    @property
    def shape(self) -> tuple[int, int]:
        """Return the numbers of input and output dimensions."""
        if self.matrix is None:
            assert self.center is not None
            return len(self.center), len(self.center)
        return self.matrix.shape[0], self.matrix.shape[1]

    def __call__(self, embeddings: Any) -> Any:
        """Rotate (n, dim) embeddings, NumPy or torch, to (n, out) float32; raise ValueError for another dimension."""
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
        """Return the rotation as a `Dense` module of Sentence Transformers (linear, without activation), to append to a model.

        The weight of a rotation that only subtracts its centre is the identity.

        Args:
            trainable: Whether the parameters require gradients.
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
        """Write the rotation to a .npz file, which `load` reads."""
        arrays = {"kind": np.array(self.kind), "matrix": self.matrix, "center": self.center}
        present: dict[str, Any] = {name: array for name, array in arrays.items() if array is not None}
        np.savez(path, **present)

    @staticmethod
    def load(path: Path) -> "Rotation":
        """Read a rotation from a file that `save` wrote."""
        with np.load(path, allow_pickle=False) as arrays:
            return Rotation(str(arrays["kind"]), arrays.get("matrix"), arrays.get("center"))


def fit_rotation(
    kind: str, embeddings: np.ndarray, bits: int | None = None, center: Center = False, seed: int = 0
) -> Rotation:
    """Fit a rotation of embeddings; the result is a deterministic function of the arguments.

    Args:
        kind: 'random' is uniformly distributed over orthogonal matrices; 'pca' has the principal axes in order of decreasing
            variance; 'itq' is iterative quantization (Gong & Lazebnik, CVPR 2011), which rotates principal axes until values lie
            close to their signs; 'overcomplete' is a random orthonormal frame of more bits than dimensions; 'none' keeps the
            axes and only subtracts `center`.
        embeddings: (n, dim) floats to fit on, without labels; the random kinds use only their dimension and their centre.
        bits: Number of output dimensions of 'overcomplete', above dim; None for other kinds.
        center: Whether the mean (True or 'mean') or the median of each dimension is subtracted first. Cosine similarities are then
            those of centred embeddings.
        seed: Random seed of the kinds random, itq and overcomplete.

    Raises:
        TooFewEmbeddings: For fewer embeddings than dimensions, with pca and itq.
        TooFewBits: For no more bits than dimensions, with overcomplete.
        ValueError: For an unknown kind, NaN or infinity, `bits` not above dim, or kind 'none' without a centre.
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
    """Return the (dim, out) float32 matrix of a kind; None for the kind that keeps the axes."""
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
        raise ValueError("a rotation of kind none has no effect without a center; give 'mean' or 'median'")
    if embeddings.ndim != 2 or len(embeddings) == 0:
        raise ValueError(f"rotations are fitted on embeddings of shape (n, dim) with n ≥ 1, not {embeddings.shape}")
    if not np.isfinite(embeddings).all():
        raise ValueError("embeddings contain NaN or Inf, so no rotation can be fitted")
    n, dim = embeddings.shape
    if kind in NEED_EMBEDDINGS and n < dim:
        raise TooFewEmbeddings(f"{kind} in {dim} dimensions needs at least as many embeddings, not {n}")
    if kind == "overcomplete":
        if bits is None or bits <= dim:
            raise TooFewBits(f"overcomplete needs more bits than the {dim} dimensions of the embeddings, not {bits}")
    elif bits is not None:
        raise ValueError(f"bits is for overcomplete, and {kind} keeps the number of dimensions; leave bits out")


def _random_orthogonal(dim: int, seed: int) -> np.ndarray:
    if dim == 1:
        return np.ones((1, 1))
    from scipy.stats import ortho_group  # imported here because the import takes half a second

    matrix: np.ndarray = ortho_group.rvs(dim, random_state=np.random.default_rng(seed))
    return matrix


def _principal_axes(values: np.ndarray) -> np.ndarray:
    """Return the eigenvectors of the second moments as columns, by decreasing eigenvalue, each with its largest entry positive."""
    axes = np.linalg.eigh(values.T @ values)[1][:, ::-1]
    largest = axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])]
    return axes * np.sign(largest)


def _itq(values: np.ndarray, seed: int) -> np.ndarray:
    """Return a rotation R with a small ‖sign(V R) − V R‖, by alternating between signs and an orthogonal Procrustes problem."""
    rotation = _random_orthogonal(values.shape[1], seed)
    for _ in range(ITQ_ITERATIONS):
        signs = np.where(values @ rotation > 0, 1.0, -1.0)
        u, _, vt = np.linalg.svd(values.T @ signs)
        rotation = u @ vt
    return rotation
