"""A linear head trained for bits on cached embeddings, with the encoder frozen (BEBR: Gan et al. 2023, arXiv 2302.08714).

The head is the affine map x ↦ (x − c) · M with orthonormal rows of M, as a rotation, so it keeps float similarities where c is 0. It is
trained so that the similarities of its codes follow those of the float embeddings, among neighbours above all.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize

from qatlab.config.head import HeadConfig
from qatlab.quantization.precisions import NotFiniteError
from qatlab.quantization.rotations import Rotation, fit_rotation

KIND = "head"  # the kind of the resulting rotation
CUTOFF = 10  # number of documents that the held-out score counts
HELD_OUT_AT_MOST = 512  # anchors, whose scores are measured in a tenth of a second
ROWS_AT_ONCE = 1024  # anchors whose similarities to all documents are in memory at once
SCALE_RATE = 0.01  # learning rate of the logarithm of the scale
WARMUP = 0.02  # share of the steps in which the learning rate rises


class Frame(nn.Module):
    """Parametrization of matrices with orthonormal columns: the factor Q of a QR decomposition with a positive diagonal of R.

    It is defined for square and for tall matrices. `torch.nn.utils.parametrizations.orthogonal` solves a linear system as large as the
    number of rows for tall ones, which takes ten times as long for 2,048 rows of 384.
    """

    def forward(self, raw: Tensor) -> Tensor:
        """Return the (rows, columns) matrix Q of a matrix of the same shape, rows ≥ columns."""
        q, r = torch.linalg.qr(raw)
        return q * torch.where(torch.diagonal(r) < 0, -1.0, 1.0)

    def right_inverse(self, frame: Tensor) -> Tensor:
        """Return a matrix whose Q is the given one: itself."""
        return frame


class Codes(nn.Module):
    """Head and the codes of its outputs: tanh(β·√bits·x), or signs with the gradient of this tanh.

    Args:
        start: the rotation from which training starts; its centre is a parameter where it has one.
        scale: first value of the factor of code similarities, a parameter.
    """

    def __init__(self, start: Rotation, scale: float) -> None:
        super().__init__()
        dim, bits = start.shape
        matrix = np.eye(dim, dtype=np.float32) if start.matrix is None else start.matrix
        self.weight = nn.Parameter(torch.from_numpy(np.ascontiguousarray(matrix.T)))
        self.center = None if start.center is None else nn.Parameter(torch.from_numpy(start.center.copy()))
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))
        self.gain = math.sqrt(bits)
        parametrize.register_parametrization(self, "weight", Frame())

    def outputs(self, embeddings: Tensor) -> Tensor:
        """Return the (n, bits) outputs of (n, dim) embeddings."""
        return functional.linear(embeddings if self.center is None else embeddings - self.center, self.weight)

    def forward(self, embeddings: Tensor, sharpness: float, hard: bool) -> Tensor:
        """Return the (n, bits) codes of (n, dim) embeddings.

        Args:
            embeddings: (n, dim) float32 of unit length.
            sharpness: β.
            hard: whether codes are −1 or 1.
        """
        soft = torch.tanh(sharpness * self.gain * self.outputs(embeddings))
        return soft + (torch.where(soft > 0, 1.0, -1.0) - soft).detach() if hard else soft

    def rotation(self) -> Rotation:
        """Return the head as a rotation, of the kind 'head'."""
        center = None if self.center is None else self.center.detach().numpy().copy()
        return Rotation(KIND, np.ascontiguousarray(self.weight.detach().numpy().T), center)


def divergence(teacher: Tensor, student: Tensor) -> Tensor:
    """Return the KL divergence from softmax(teacher) to softmax(student), the mean over rows.

    Args:
        teacher: (n, m) logits, −inf where a column does not belong to a row.
        student: (n, m) logits, −inf in the same places.
    """
    target = teacher.softmax(dim=1)
    absent = torch.isinf(teacher)
    difference = torch.where(absent, 0.0, teacher.log_softmax(dim=1) - student.log_softmax(dim=1))
    return (target * difference).sum(dim=1).mean()


def decorrelation(codes: Tensor) -> Tensor:
    """Return the mean over pairs of different bits of the squared mean product of the two, for (n, bits) codes."""
    products = codes.T @ codes / len(codes)
    bits = len(products)
    return (products.square().sum() - products.diagonal().square().sum()) / max(bits * (bits - 1), 1)


def balance(codes: Tensor) -> Tensor:
    """Return the mean over bits of the squared mean of a bit, for (n, bits) codes."""
    return codes.mean(dim=0).square().mean()


class HeadTraining:
    """Training of a head, step by step; its state can be saved and restored between steps.

    Anchors are the queries of pairs, and the documents without a query. Each batch has a few anchors, the document of each, and its
    nearest documents in the float space, all compared with all: the neighbours of other anchors are the random documents. Batch i is a
    function of the seed and i. A share of the anchors and their documents is held out; their bits are scored at regular intervals by
    nDCG@10 of a query's own document and by the overlap of the 10 nearest documents with those of the float embeddings.

    Args:
        documents: (n, dim) float32, without labels.
        queries: (m, dim) float32, m ≤ n; query i belongs to document i. None where no document has a query.
        config: configuration of the head.
        seed: random seed of the held-out anchors and the batches.

    Raises:
        ValueError: for embeddings that are NaN or infinite, too few documents, or a start that does not fit them.
    """

    def __init__(self, documents: np.ndarray, queries: np.ndarray | None, config: HeadConfig, seed: int) -> None:
        self.config, self.seed = config, seed
        self._check(documents, queries)
        self.documents = functional.normalize(torch.from_numpy(documents.astype(np.float32)), dim=1)
        pairs = 0 if queries is None else len(queries)
        self.pairs = pairs
        self.anchors = self.documents.clone()  # row i is the query of document i, or the document itself
        if queries is not None:
            self.anchors[:pairs] = functional.normalize(torch.from_numpy(queries.astype(np.float32)), dim=1)
        order = np.random.default_rng(seed).permutation(len(documents))
        held_out = min(math.ceil(config.held_out * len(documents)), HELD_OUT_AT_MOST)
        self.held_out, self.trained = np.sort(order[:held_out]), np.sort(order[held_out:])
        self.neighbours = self._nearest(self.trained, self.trained, config.neighbours)
        self.wanted = self._nearest(self.held_out, np.arange(len(documents)), CUTOFF)
        self.codes = Codes(self._start(), config.temperature)
        self.optimizer = torch.optim.Adam(
            [
                {"params": [p for p in self.codes.parameters() if p is not self.codes.log_scale]},
                {"params": [self.codes.log_scale]},
            ],
            lr=0.0,
        )
        self.step = 0
        self.best_step, self.best_score = 0, -math.inf
        self.best: Rotation = self.codes.rotation()
        self.first: dict[str, float] = {}
        self.first = self._evaluate()

    def _check(self, documents: np.ndarray, queries: np.ndarray | None) -> None:
        config = self.config
        for name, array in {"documents": documents, "queries": queries}.items():
            if array is not None and (array.ndim != 2 or not np.isfinite(array).all()):
                raise ValueError(f"a head is trained on finite {name} of shape (n, dim); got shape {array.shape}")
        if queries is not None and (queries.shape[1] != documents.shape[1] or len(queries) > len(documents)):
            raise ValueError(
                f"queries {queries.shape} do not fit documents {documents.shape}: query i is of document i"
            )
        if (queries is None) != (config.fitted_on == "corpus"):
            raise ValueError(
                f"a head that is fitted on {config.fitted_on} and queries {'' if queries is None else 'do'} not fit"
            )
        needed = max(config.anchors, config.neighbours + 1, CUTOFF + 1)
        if math.floor((1 - config.held_out) * len(documents)) < needed:
            raise ValueError(
                f"a head with {config.anchors} anchors and {config.neighbours} neighbours needs more than {needed} documents, of which "
                f"{config.held_out:g} are held out, not {len(documents)}"
            )

    def _start(self) -> Rotation:
        """Fit the axes from which training starts, on documents that are not held out."""
        start, dim = self.config.start, self.documents.shape[1]
        if start.plain:
            return Rotation(KIND, np.eye(dim, dtype=np.float32))
        fitted_on = self.documents[self.trained].numpy()
        return fit_rotation(start.kind, fitted_on, start.dimensions_out(dim), start.center, start.seed)

    def _nearest(self, anchors: np.ndarray, documents: np.ndarray, count: int) -> Tensor:
        """Return the nearest documents of anchors in the float space without the anchor itself, (anchors, count) row numbers."""
        rows = torch.from_numpy(documents)
        columns = self.documents[rows]
        parts = []
        for part in torch.from_numpy(anchors).split(ROWS_AT_ONCE):
            similarities = self.anchors[part] @ columns.T
            itself = (part[:, None] == rows[None, :]) & (part >= self.pairs)[:, None]
            parts.append(rows[similarities.masked_fill(itself, -math.inf).topk(count, dim=1).indices])
        return torch.cat(parts)

    @property
    def done(self) -> bool:
        """Return whether all steps are done, or the held-out score has not risen for `patience` measurements."""
        waited = self.step - max(self.best_step, 0)
        return self.step >= self.config.steps or waited >= self.config.patience * self.config.evaluate_every

    @property
    def improved(self) -> bool:
        """Return whether the kept head has a higher held-out score than the start, and a lower held-out objective."""
        return self.best_step > 0 and self.best_objective < self.first["held_out_objective"]

    def advance(self) -> dict[str, float]:
        """Do one step and return its row of the log; it includes the held-out scores where they are measured.

        Raises:
            NotFiniteError: if the loss is NaN or infinite.
        """
        config = self.config
        rate = config.learning_rate * self._schedule()
        self.optimizer.param_groups[0]["lr"] = rate
        self.optimizer.param_groups[1]["lr"] = SCALE_RATE * self._schedule()
        anchors, documents = self._batch()
        sharpness, hard = self._sharpness()
        terms = self._terms(anchors, documents, sharpness, hard)
        loss = torch.stack([getattr(config, name) * value for name, value in terms.items()]).sum()
        if not torch.isfinite(loss):
            raise NotFiniteError(f"the loss of the head is {loss.item()}")
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.step += 1
        row = {
            "step": float(self.step),
            "loss": loss.item(),
            **{name: value.item() for name, value in terms.items()},
            "learning_rate": rate,
            "sharpness": sharpness,
            "hard": float(hard),
            "scale": self.codes.log_scale.exp().item(),
        }
        if self.step % config.evaluate_every == 0 or self.step == config.steps:
            row |= self._evaluate()
        return row

    def _schedule(self) -> float:
        warmup = max(WARMUP * self.config.steps, 1)
        return min((self.step + 1) / warmup, 1.0) * 0.5 * (1 + math.cos(math.pi * self.step / self.config.steps))

    def _sharpness(self) -> tuple[float, bool]:
        """Return β at this step, and whether codes are signs."""
        first, last = self.config.sharpness
        soft_steps = (1 - self.config.hard_fraction) * self.config.steps
        if self.step >= soft_steps:
            return last, True
        return first * (last / first) ** (self.step / soft_steps), False

    def _batch(self) -> tuple[Tensor, Tensor]:
        """Return the row numbers of the anchors of this step, and those of their documents and neighbours, each once."""
        drawn = np.random.default_rng((self.seed, self.step)).choice(
            len(self.trained), self.config.anchors, replace=False
        )
        anchors = torch.from_numpy(self.trained[drawn])
        near = self.neighbours[torch.from_numpy(drawn)]
        return anchors, torch.cat([anchors, near.flatten()]).unique()

    def _terms(self, anchors: Tensor, documents: Tensor, sharpness: float, hard: bool) -> dict[str, Tensor]:
        """Return the terms of the loss by the names of their weights.

        Args:
            anchors: row numbers of anchors; those with a query are rows of the comparison besides the documents.
            documents: row numbers of the documents, each once, which are the columns of the comparison.
            sharpness: β.
            hard: whether codes are signs.
        """
        queries = anchors[anchors < self.pairs]
        embeddings = torch.cat([self.anchors[queries], self.documents[documents]])
        codes = self.codes(embeddings, sharpness, hard)
        unit = functional.normalize(codes, dim=1)
        scale = self.codes.log_scale.exp()
        teacher = self.config.temperature * (embeddings @ embeddings[len(queries) :].T)
        student = scale * (unit @ unit[len(queries) :].T)
        itself = torch.zeros_like(teacher, dtype=torch.bool)
        itself[len(queries) :].fill_diagonal_(True)
        terms = {
            "distillation": divergence(teacher.masked_fill(itself, -math.inf), student.masked_fill(itself, -math.inf)),
            "decorrelation": decorrelation(codes),
            "balance": balance(codes),
        }
        if len(queries):
            own = torch.searchsorted(documents, queries)
            terms["contrastive"] = functional.cross_entropy(student[: len(queries)], own)
        return terms

    @torch.no_grad()
    def _evaluate(self) -> dict[str, float]:
        """Measure the bits of the held-out anchors, and keep the head if it has the best score so far.

        Returns:
            held_out_objective: the KL term of a fixed batch of held-out anchors with signs.
            held_out_ndcg: nDCG@10 of the queries' own documents, if there are queries; ties count half.
            held_out_overlap: share of the 10 nearest documents of the float embeddings among those of the bits.
            held_out_score: the mean of the two, or the overlap.
        """
        signs = [
            torch.where(self.codes.outputs(side) > 0, 1.0, -1.0)
            for side in (self.anchors[self.held_out], self.documents)
        ]
        similarities = signs[0] @ signs[1].T
        rows = torch.from_numpy(self.held_out)
        of_documents = rows >= self.pairs
        similarities[of_documents, rows[of_documents]] = -math.inf
        nearest = similarities.topk(CUTOFF, dim=1).indices
        overlap = (nearest[:, :, None] == self.wanted[:, None, :]).any(dim=2).float().mean()
        values = {"held_out_overlap": overlap.item()}
        if not of_documents.all():
            queries, own = similarities[~of_documents], rows[~of_documents]
            mine = queries.gather(1, own[:, None])
            rank = 1 + (queries > mine).sum(dim=1) + ((queries == mine).sum(dim=1) - 1) / 2
            values["held_out_ndcg"] = torch.where(rank <= CUTOFF, 1 / torch.log2(rank + 1), 0.0).mean().item()
        score = sum(values.values()) / len(values)
        anchors = rows[: self.config.anchors]
        documents = torch.cat([anchors, self.wanted[: len(anchors)].flatten()]).unique()
        objective = self._terms(anchors, documents, self.config.sharpness[1], True)["distillation"].item()
        if score > self.best_score:
            self.best, self.best_score, self.best_step = self.codes.rotation(), score, self.step
            self.best_objective = objective
        return {"held_out_objective": objective, **values, "held_out_score": score}

    def state(self) -> dict[str, Any]:
        """Return everything that a later training needs to continue to the same end, as tensors and plain values."""
        best = {
            "matrix": torch.from_numpy(self.best.matrix),
            "score": self.best_score,
            "objective": self.best_objective,
        }
        if self.best.center is not None:
            best["center"] = torch.from_numpy(self.best.center)
        return {
            "codes": self.codes.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "best": {**best, "step": self.best_step},
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Restore a state that `state` returned for the same embeddings, configuration and seed."""
        self.codes.load_state_dict(state["codes"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, best = state["step"], state["best"]
        center = best["center"].numpy() if "center" in best else None
        self.best = Rotation(KIND, best["matrix"].numpy(), center)
        self.best_score, self.best_step, self.best_objective = best["score"], best["step"], best["objective"]


def fit_head(
    documents: np.ndarray,
    queries: np.ndarray | None,
    config: HeadConfig,
    seed: int = 0,
    each: Callable[[dict[str, float]], None] = lambda row: None,
) -> tuple[Rotation, list[dict[str, float]]]:
    """Train a head on embeddings, and return the one with the best held-out score and the history.

    Args:
        documents: (n, dim) float32, without labels.
        queries: (m, dim) float32, m ≤ n; query i belongs to document i. None for `fitted_on: corpus`.
        config: configuration of the head.
        seed: random seed.
        each: called with the row of each step.

    Returns:
        A rotation of the kind 'head' with a (dim, bits) matrix, and one row per step; row 0 has the held-out scores of the start.

    Raises:
        ValueError: for embeddings that do not fit the configuration.
        NotFiniteError: if the loss becomes NaN or infinite.
    """
    training = HeadTraining(documents, queries, config, seed)
    history = [{"step": 0.0, **training.first}]
    while not training.done:
        history.append(training.advance())
        each(history[-1])
    return training.best, history
