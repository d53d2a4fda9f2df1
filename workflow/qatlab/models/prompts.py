"""Prompts that a model's own configuration puts before queries and documents."""

from pathlib import Path
from typing import Any

from qatlab.artifact import read_json
from qatlab.models.similarity import SETTINGS

# Sentence Transformers gives every model a prompt "query" and a prompt "document", which are empty unless the model's settings
# define them (SentenceTransformer._default_prompts, 5.2 to 6.2). encode_document looks for "document", "passage" and "corpus" in
# this order, so it never uses the latter two, and neither encode_query nor encode_document uses the default prompt.
NAMES = {"queries": "query", "documents": "document"}
UNREACHED = ("passage", "corpus")


def prompt_for(folder: Path, texts: str) -> str:
    """Return the prompt that the encode methods of Sentence Transformers put before texts.

    Args:
        folder: a Sentence Transformers folder.
        texts: 'queries' (`encode_query`), 'documents' (`encode_document`), or 'pairs' (`encode`, for texts to compare).

    Returns:
        The prompt; '' if there is none.
    """
    settings = _settings(folder)
    name = settings.get("default_prompt_name") if texts == "pairs" else NAMES[texts]
    return str((settings.get("prompts") or {}).get(name) or "")


def unused_prompts(folder: Path) -> list[str]:
    """Return the names of prompts that are meant for documents, but that `encode_document` does not apply."""
    prompts = _settings(folder).get("prompts") or {}
    return [] if "document" in prompts else [name for name in UNREACHED if prompts.get(name)]


def _settings(folder: Path) -> dict[str, Any]:
    path = folder / SETTINGS
    return dict(read_json(path)) if path.exists() else {}
