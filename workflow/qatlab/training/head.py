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

from qatlab.config.method import HeadConfig
from qatlab.losses.terms import balance, decorrelation
from qatlab.quantization.precisions import NotFiniteError
from qatlab.quantization.rotations import Rotation, fit_rotation

KIND = "head"  # the kind of the resulting rotation
CUTOFF = HeadConfig.cutoff
HELD_OUT_AT_MOST = 512  # anchors, whose scores are measured in a tenth of a second
ROWS_AT_ONCE = 1024  # anchors whose similarities to all documents are in memory at once
MIXED = 512  # number of documents whose random combinations are the noise of random queries
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


class HeadTraining:
    """Training of a head, step by step; its state can be saved and restored between steps.

    Each batch has a few queries, the document of each, and the nearest documents of this one in the float space. Each query is compared
    with all documents of the batch: the neighbours of other queries are the random documents. A document without a query gets a random
    one in each step, because queries lie apart from documents: bits that keep similarities among documents alone serve queries worse.
    Batch i is a function of the seed and i. The bits of a share of the queries, which are held out, are scored at regular intervals by
    nDCG@10 of a query's own document and by the overlap of the 10 nearest documents with those of the float embeddings. The documents
    of pairs are held out with their queries; documents without a query are those to be searched, so all of them are trained on.

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
        self.queries = self._random_queries(torch.arange(len(documents)), -1)  # row i is the query of document i
        if queries is not None:
            self.queries[:pairs] = functional.normalize(torch.from_numpy(queries.astype(np.float32)), dim=1)
        order = np.random.default_rng(seed).permutation(len(documents))
        count = min(math.ceil(config.held_out * len(documents)), HELD_OUT_AT_MOST)
        self.held_out = np.sort(order[:count])
        self.trained = np.setdiff1d(np.arange(len(documents)), self.held_out[self.held_out < pairs])
        trained, held_out = torch.from_numpy(self.trained), torch.from_numpy(self.held_out)
        self.neighbours = trained[self._nearest(self.documents[trained], self.documents[trained], config.neighbours)]
        self.wanted = self._nearest(self.queries[held_out], self.documents, CUTOFF)
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
        config.check_documents(*documents.shape)

    def _start(self) -> Rotation:
        """Fit the axes from which training starts, on documents that are not held out."""
        start, dim = self.config.start, self.documents.shape[1]
        if start.plain:
            return Rotation(KIND, np.eye(dim, dtype=np.float32))
        fitted_on = self.documents[self.trained].numpy()
        return fit_rotation(start.kind, fitted_on, start.dimensions_out(dim), start.center, start.seed)

    def _random_queries(self, rows: Tensor, step: int) -> Tensor:
        """Return a query for each of the documents with these row numbers, (len(rows), dim) float32 of unit length.

        It is the document plus Gaussian noise that has the second moments of the documents, at an expected cosine of `query_cosine`.
        """
        documents, cosine = self.documents, self.config.query_cosine
        random = np.random.default_rng((self.seed, 1, step + 1))
        mixed = torch.from_numpy(random.integers(len(documents), size=(MIXED, 1))).flatten()
        weights = torch.from_numpy(random.normal(size=(len(rows), MIXED)).astype(np.float32))
        noise = functional.normalize(weights @ documents[mixed], dim=1)
        return functional.normalize(cosine * documents[rows] + math.sqrt(1 - cosine**2) * noise, dim=1)

    def _nearest(self, texts: Tensor, documents: Tensor, count: int) -> Tensor:
        """Return the row numbers of the documents of largest similarity to each text, (len(texts), count)."""
        parts = [(part @ documents.T).topk(count, dim=1).indices for part in texts.split(ROWS_AT_ONCE)]
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
        sharpness, hard = self._sharpness()
        terms = self._terms(*self._batch(), sharpness, hard)
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

    def _batch(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the queries of this step, (anchors, dim), the row numbers of their documents, and those of all documents, each once."""
        random = np.random.default_rng((self.seed, 0, self.step))
        drawn = torch.from_numpy(random.choice(len(self.trained), self.config.anchors, replace=False))
        own = torch.from_numpy(self.trained)[drawn]
        queries = torch.where((own < self.pairs)[:, None], self.queries[own], self._random_queries(own, self.step))
        return queries, own, torch.cat([own, self.neighbours[drawn].flatten()]).unique()

    def _terms(
        self, queries: Tensor, own: Tensor, documents: Tensor, sharpness: float, hard: bool
    ) -> dict[str, Tensor]:
        """Return the terms of the loss by the names of their weights.

        Args:
            queries: (q, dim) embeddings.
            own: (q,) row numbers of the queries' documents.
            documents: row numbers of all documents of the batch in ascending order, those of the queries among them.
            sharpness: β.
            hard: whether codes are signs.
        """
        columns = self.documents[documents]
        codes = self.codes(torch.cat([queries, columns]), sharpness, hard)
        unit = functional.normalize(codes, dim=1)
        student = self.codes.log_scale.exp() * (unit[: len(queries)] @ unit[len(queries) :].T)
        return {
            "distillation": divergence(self.config.temperature * (queries @ columns.T), student),
            "contrastive": functional.cross_entropy(student, torch.searchsorted(documents, own)),
            "decorrelation": decorrelation(codes),
            "balance": balance(codes),
        }

    @torch.no_grad()
    def _evaluate(self) -> dict[str, float]:
        """Measure the bits of the held-out documents and queries, and keep the head if it has the best score so far.

        Returns:
            held_out_objective: the KL term of a fixed batch of held-out queries with signs.
            held_out_ndcg: nDCG@10 of the queries' own documents; ties count half.
            held_out_overlap: share of the 10 nearest documents of the float embeddings among those of the bits.
            held_out_score: the mean of the two.
        """
        own = torch.from_numpy(self.held_out)
        queries = self.queries[own]
        signs = [torch.where(self.codes.outputs(side) > 0, 1.0, -1.0) for side in (queries, self.documents)]
        similarities = signs[0] @ signs[1].T
        nearest = similarities.topk(CUTOFF, dim=1).indices
        overlap = (nearest[:, :, None] == self.wanted[:, None, :]).any(dim=2).float().mean().item()
        mine = similarities.gather(1, own[:, None])
        rank = 1 + (similarities > mine).sum(dim=1) + ((similarities == mine).sum(dim=1) - 1) / 2
        ndcg = torch.where(rank <= CUTOFF, 1 / torch.log2(rank + 1), 0.0).mean().item()
        score = (ndcg + overlap) / 2
        few = slice(self.config.anchors)
        documents = torch.cat([own[few], self.wanted[few].flatten()]).unique()
        terms = self._terms(queries[few], own[few], documents, self.config.sharpness[1], True)
        objective = terms["distillation"].item()
        if score > self.best_score:
            self.best, self.best_score, self.best_step = self.codes.rotation(), score, self.step
            self.best_objective = objective
        return {
            "held_out_objective": objective,
            "held_out_ndcg": ndcg,
            "held_out_overlap": overlap,
            "held_out_score": score,
        }

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
