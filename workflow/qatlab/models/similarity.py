"""Similarity function that a model's own configuration names for comparing its embeddings."""

from pathlib import Path

from qatlab.artifact import read_json
from qatlab.errors import UserError

SETTINGS = "config_sentence_transformers.json"
SIMILARITY_FILE = "similarity.json"  # file of an encoding
SCORED = ("cosine", "dot")
DEFAULT = "cosine"  # what Sentence Transformers uses for a model that names none


def named_similarity(folder: Path) -> str:
    """Return `similarity_fn_name` of a Sentence Transformers folder, or the default if it has none."""
    path = folder / SETTINGS
    settings = read_json(path) if path.exists() else {}
    return str(settings.get("similarity_fn_name") or DEFAULT)


def check_similarity(name: str, model: str) -> str:
    """Return the name of a similarity function; raise a UserError if qatlab cannot score by it.

    Args:
        name: name of the similarity function.
        model: name of the model, for messages.
    """
    if name not in SCORED:
        raise UserError(
            f"{model}: the model compares embeddings by '{name[:40]}', which is not scored; "
            f"set evaluate.similarity={SCORED[0]} or {SCORED[1]}"
        )
    return name
