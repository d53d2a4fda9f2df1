"""Checks that a deployment computes what Sentence Transformers computes, on a few texts, before anything is measured."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from qatlab.deployments.deployment import Deployment
from qatlab.errors import UserError
from qatlab.models.settings import prompt_for
from qatlab.progress import say

TEXTS = {
    "a short text": "A short text.",
    "a text in capitals": "HOW DO I read a CSV FILE?",
    "a text with accents and other scripts": "Die Größe naïver Schätzer – 漢字, кириллица",
    "code": "def mean(values):\n    return sum(values) / len(values)",
    "an empty text": "",
}
# It is encoded alone and once, because attention makes a long text expensive.
LONG = {"a long text, which is truncated to the model's length": "The words of a long text. " * 150}
# Largest half squared distance over the squared length; for vectors of equal length, this is 1 − cosine similarity.
ALLOWED = 1e-4
REMARKABLE = 0.9  # mean cosine similarity of quantized to float embeddings below which a line is logged


def check_agreement(encoder: Any, model: Any, folder: Path, label: str) -> None:
    """Compare an encoder's embeddings with those of Sentence Transformers' `encode_query` and `encode_document`.

    Short texts are encoded alone and in a batch, as queries and as documents, with the model's own prompts; a long text once.

    Args:
        encoder: the encoder of the deployment, in float.
        model: the SentenceTransformer that was deployed.
        folder: the deployed folder, whose prompts the pipeline uses.
        label: name of the deployment, for messages.

    Raises:
        UserError: if embeddings differ by more than rounding; it names the text, the difference and the most likely reason.
    """
    texts = {name: text for name, text in TEXTS.items() if _is_encodable(model, text)}
    for table in ("documents", "queries"):
        sides = _Sides(encoder, model, table, prompt_for(folder, table))
        alone = [sides.encode([text]) for text in texts.values()]
        together = [sides.encode(list(texts.values()))]
        _compare(sides, texts, alone, f"among {table}, encoded alone", label)
        _compare(sides, texts, together, f"among {table}, encoded in a batch", label)
        if table == "documents":
            _compare(sides, LONG, [sides.encode(list(LONG.values()))], f"among {table}", label)


def check_files(config: Deployment, inputs: dict[str, Path], folder: Path, threads: int | None, label: str) -> None:
    """Compare the files of a deployed folder with their source.

    A float deployment is compared with Sentence Transformers, a quantized one with the float deployment (role `float`).

    Args:
        config: the deployment.
        inputs: artifacts by role, as in `Deployment.build`.
        folder: the deployed folder.
        threads: number of CPU threads; None for all.
        label: name of the deployment, for messages.

    Raises:
        UserError: if they compute different embeddings.
    """
    encoder = config.encoder(folder, threads)
    if config.quantized:
        plain = config.made_from()
        assert plain is not None
        check_quantized(encoder, plain.encoder(inputs["float"] / "model", threads), label)
        return
    from qatlab.models.embedding import load_model

    check_agreement(encoder, load_model(inputs["model"] / "model", "cpu", "float32"), folder, label)


@dataclass(frozen=True)
class _Sides:
    """Pair of a deployment and Sentence Transformers, which encode the same texts as queries or as documents."""

    encoder: Any
    model: Any
    table: str
    prompt: str

    def encode(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return the embeddings of the deployment and of Sentence Transformers, (n, dim) float32 each."""
        reference = self.model.encode_query if self.table == "queries" else self.model.encode_document
        vectors = reference(texts, batch_size=len(texts), convert_to_tensor=True, show_progress_bar=False)
        return self.encoder.encode(texts, len(texts), self.prompt), vectors.float().cpu().numpy()


def _compare(
    sides: _Sides, texts: dict[str, str], batches: list[tuple[np.ndarray, np.ndarray]], circumstance: str, label: str
) -> None:
    """Raise a UserError if the embeddings of a text differ.

    Args:
        sides: the deployment and Sentence Transformers.
        texts: the texts, by their names in messages.
        batches: the embeddings of both sides, batch by batch; together the batches hold all texts.
        circumstance: how the texts were encoded, for messages.
        label: name of the deployment, for messages.
    """
    actual, expected = (np.concatenate(side) for side in zip(*batches, strict=True))
    if actual.shape != expected.shape:
        raise UserError(
            f"{label}: embeddings have {actual.shape[1]} dimensions, and Sentence Transformers' have {expected.shape[1]}"
        )
    distances = _distances(actual, expected)
    worst = int(distances.argmax())
    if distances[worst] <= ALLOWED:
        return
    name, text = list(texts.items())[worst]
    raise UserError(
        f"{label}: {name} {circumstance}, differs from Sentence Transformers' embedding by {distances[worst]:.4f} "
        f"(1 − cosine similarity; {ALLOWED:g} is allowed): {_most_likely_reason(sides, text, len(batches) == 1)}"
    )


def check_quantized(encoder: Any, float_encoder: Any, label: str) -> None:
    """Compare the tokens of a quantized file with those of its float file, and log a line if their embeddings are far apart.

    Args:
        encoder: the encoder of the quantized file.
        float_encoder: the encoder of the float file.
        label: name of the deployment, for messages.

    Raises:
        UserError: if tokens or dimensions differ, or embeddings are not finite.
    """
    texts = list(TEXTS.values())
    names = {"input_ids", "attention_mask"}
    ours, theirs = encoder.tokens.feed(texts, names), float_encoder.tokens.feed(texts, names)
    if any(not np.array_equal(ours[name], theirs[name]) for name in names):
        raise UserError(f"{label}: its tokenizer is not that of the float file; delete the folder and run again")
    texts = [text for text in texts if text]  # Some tokenizers produce no token for an empty text.
    actual, plain = (side.encode(texts, len(texts)) for side in (encoder, float_encoder))
    if actual.shape != plain.shape or not np.isfinite(actual).all():
        raise UserError(
            f"{label}: the quantized file does not produce finite embeddings of {plain.shape[1]} dimensions"
        )
    lengths = np.linalg.norm(actual, axis=1) * np.linalg.norm(plain, axis=1)
    similarity = float(np.mean((actual * plain).sum(axis=1) / np.maximum(lengths, np.finfo(np.float32).tiny)))
    if similarity < REMARKABLE:
        say(
            f"{label}: embeddings of {len(texts)} texts have a mean cosine similarity of {similarity:.2f} to the float file's"
        )


def _is_encodable(model: Any, text: str) -> bool:
    """Return whether Sentence Transformers itself computes a finite embedding; some models do not if a text has no token."""
    try:
        vector = model.encode([text], convert_to_tensor=True, show_progress_bar=False)
    except (IndexError, RuntimeError, ValueError):
        return False
    return bool(vector.isfinite().all())


def _distances(actual: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Return half the squared distance over the squared length of the expected embeddings, (n,) float64."""
    squares = np.square(actual.astype(np.float64) - expected).sum(axis=1)
    lengths = np.square(expected.astype(np.float64)).sum(axis=1)
    distances: np.ndarray = squares / 2 / np.maximum(lengths, np.finfo(np.float32).tiny)
    return np.where(np.isfinite(distances), distances, np.inf)


def _most_likely_reason(sides: _Sides, text: str, in_a_batch: bool) -> str:
    """Return which part most likely computes something else: tokens, the prompt, padding, or the file itself."""
    tokens = getattr(sides.encoder, "tokens", None)
    if tokens is None:
        return "its prompts, or how pooling treats them, are not those of encode_query and encode_document"
    ours = tokens.feed([sides.prompt + text], {"input_ids"})["input_ids"][0].tolist()
    theirs = sides.model.preprocess([sides.prompt + text])["input_ids"][0].tolist()
    if ours != theirs:
        return (
            f"tokens differ ({len(ours)} that end in {ours[-2:]} against {len(theirs)} that end in {theirs[-2:]}); "
            "tokenizer.json lacks settings that Transformers reads from other files"
        )
    return "padding tokens influence its embeddings" if in_a_batch else "the file computes something else"
