"""Prompts that a model wants before queries and documents, as its own configuration gives them."""

from pathlib import Path

from qatlab.artifact import read_json

# The names Sentence Transformers' encode_query and encode_document try, in this order.
PROMPT_NAMES = {"queries": ("query",), "documents": ("document", "passage", "corpus"), "pairs": ()}


def prompt_for(folder: Path, texts: str) -> str:
    """The prompt for 'queries', 'documents', or 'pairs' of either, of a Sentence Transformers folder; '' if it has none."""
    path = folder / "config_sentence_transformers.json"
    settings = read_json(path) if path.exists() else {}
    prompts = settings.get("prompts") or {}
    for name in (*PROMPT_NAMES[texts], settings.get("default_prompt_name")):
        if name in prompts:
            return str(prompts[name] or "")
    return ""
