"""Checks that a deployment computes what Sentence Transformers computes, on a few texts, before anything is measured with it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from qatlab.deployments.deployment import Deployment
from qatlab.errors import UserError
from qatlab.models.prompts import prompt_for
from qatlab.progress import say

TEXTS = {
    "a short text": "A short text.",
    "a text in capitals": "HOW DO I read a CSV FILE?",
    "a text with accents and other scripts": "Die Größe naïver Schätzer – 漢字, кириллица",
    "code": "def mean(values):\n    return sum(values) / len(values)",
    "an empty text": "",
}
# Encoded alone and once: attention makes it the dearest.
LONG = {"a long text, which is cut where the model's length ends": "The words of a long text. " * 150}
ALLOWED = (
    1e-4  # half the squared distance over the squared length; of vectors of one length, this is 1 − cosine similarity
)
REMARKABLE = 0.9  # least mean cosine similarity of quantized to float embeddings that nothing is said about


def check_agreement(encoder: Any, model: Any, folder: Path, label: str) -> None:
    """Compare an encoder's embeddings with those of Sentence Transformers' `encode_query` and `encode_document`.

    Short texts are encoded alone and in a batch, as queries and as documents, behind the model's own prompts; a long one once.

    Args:
        encoder: what runs the deployment, in float.
        model: the SentenceTransformer that it stands for.
        folder: the deployed folder, whose prompts the pipeline uses.
        label: what messages call the deployment.

    Raises:
        UserError: where embeddings differ by more than rounding; it names the text, the difference and the likeliest reason.
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
    """Compare a deployed folder's files with what they were made from.

    A float deployment is compared with Sentence Transformers, a quantized one with the float deployment (role `float`).

    Raises:
        UserError: where they compute something else.
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
    """A deployment and Sentence Transformers, which encode the same texts as queries or as documents."""

    encoder: Any
    model: Any
    table: str
    prompt: str

    def encode(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return the deployment's embeddings and Sentence Transformers', (n, dim) float32 each."""
        reference = self.model.encode_query if self.table == "queries" else self.model.encode_document
        vectors = reference(texts, batch_size=len(texts), convert_to_tensor=True, show_progress_bar=False)
        return self.encoder.encode(texts, len(texts), self.prompt), vectors.float().cpu().numpy()


def _compare(
    sides: _Sides, texts: dict[str, str], batches: list[tuple[np.ndarray, np.ndarray]], circumstance: str, label: str
) -> None:
    """Raises UserError where the embeddings of a text differ.

    Args:
        texts: by what messages call them.
        batches: the embeddings of both sides, which are of all texts when put together.
        circumstance: how the texts were encoded.
    """
    found, expected = (np.concatenate(side) for side in zip(*batches, strict=True))
    if found.shape != expected.shape:
        raise UserError(
            f"{label}: embeddings have {found.shape[1]} dimensions, and Sentence Transformers' have {expected.shape[1]}"
        )
    distances = _distances(found, expected)
    worst = int(distances.argmax())
    if distances[worst] <= ALLOWED:
        return
    name, text = list(texts.items())[worst]
    raise UserError(
        f"{label}: {name} {circumstance}, differs from Sentence Transformers' embedding by {distances[worst]:.4f} "
        f"(1 − cosine similarity; {ALLOWED:g} is allowed): {_likeliest_reason(sides, text, len(batches) == 1)}"
    )


def check_quantized(encoder: Any, float_encoder: Any, label: str) -> None:
    """Compare a quantized file's tokens with those of the float file that it was made from, and report embeddings far from it.

    Raises:
        UserError: where tokens or dimensions differ, or embeddings are not finite.
    """
    texts = list(TEXTS.values())
    names = {"input_ids", "attention_mask"}
    ours, theirs = encoder.tokens.feed(texts, names), float_encoder.tokens.feed(texts, names)
    if any(not np.array_equal(ours[name], theirs[name]) for name in names):
        raise UserError(f"{label}: its tokenizer is not that of the float file; delete the folder and run again")
    texts = [text for text in texts if text]  # some tokenizers give no token of an empty text
    found, plain = (some.encode(texts, len(texts)) for some in (encoder, float_encoder))
    if found.shape != plain.shape or not np.isfinite(found).all():
        raise UserError(f"{label}: the quantized file gives no finite embeddings of {plain.shape[1]} dimensions")
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(plain, axis=1)
    similarity = float(np.mean((found * plain).sum(axis=1) / np.maximum(lengths, np.finfo(np.float32).tiny)))
    if similarity < REMARKABLE:
        say(
            f"{label}: embeddings of {len(texts)} texts have a mean cosine similarity of {similarity:.2f} to the float file's"
        )


def _is_encodable(model: Any, text: str) -> bool:
    """Whether Sentence Transformers itself gives a finite embedding: of no token at all, some models give none."""
    try:
        vector = model.encode([text], convert_to_tensor=True, show_progress_bar=False)
    except (IndexError, RuntimeError, ValueError):
        return False
    return bool(vector.isfinite().all())


def _distances(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """(n,) float64: half the squared distance over the squared length of what is expected."""
    squares = np.square(found.astype(np.float64) - expected).sum(axis=1)
    lengths = np.square(expected.astype(np.float64)).sum(axis=1)
    distances: np.ndarray = squares / 2 / np.maximum(lengths, np.finfo(np.float32).tiny)
    return np.where(np.isfinite(distances), distances, np.inf)


def _likeliest_reason(sides: _Sides, text: str, in_a_batch: bool) -> str:
    """Say which part computes something else: tokens, the prompt, padding, or the file itself."""
    tokens = getattr(sides.encoder, "tokens", None)
    if tokens is None:
        return "its prompts, or what pooling makes of them, are not those of encode_query and encode_document"
    ours = tokens.feed([sides.prompt + text], {"input_ids"})["input_ids"][0].tolist()
    theirs = sides.model.preprocess([sides.prompt + text])["input_ids"][0].tolist()
    if ours != theirs:
        return (
            f"tokens differ ({len(ours)} that end in {ours[-2:]} against {len(theirs)} that end in {theirs[-2:]}); "
            "tokenizer.json does not say all that Transformers reads from other files"
        )
    return "padding counts in its embeddings" if in_a_batch else "the file computes something else"
