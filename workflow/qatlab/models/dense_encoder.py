"""Properties of a Sentence Transformers folder that decide how it can be used, read from its JSON files alone."""

from pathlib import Path
from typing import Any

from qatlab.artifact import read_json
from qatlab.errors import UserError
from qatlab.models.safe_folder import MODULES
from qatlab.models.similarity import SETTINGS

DENSE = "SentenceTransformer"
ROUTERS = ("Router", "Asym")
SPARSE = ("SpladePooling", "SparseAutoEncoder", "SparseStaticEmbedding", "MLMTransformer")
UNCHANGED_SIZE = ("Normalize", "Dropout", "LayerNorm")


def check_dense_encoder(folder: Path, name: str) -> None:
    """Raise a UserError for a model that does not encode each text, query or document, as one dense vector.

    Args:
        folder: a Sentence Transformers folder, or the folder of a plain encoder.
        name: name of the model, for messages.
    """
    model_type = _settings(folder).get("model_type") or DENSE
    if model_type != DENSE:
        raise UserError(
            f"model '{name}' is a {model_type} of Sentence Transformers; qatlab trains models with one dense vector per text"
        )
    classes = _classes(folder)
    sparse = next((entry for entry in classes if entry in SPARSE), None)
    if sparse is not None:
        raise UserError(
            f"model '{name}' has the module {sparse}, of sparse models; qatlab trains models with one dense vector per text"
        )
    router = next((entry for entry in classes if entry in ROUTERS), None)
    if router is not None:
        raise UserError(
            f"model '{name}' has the module {router}, whose modules for queries and documents differ; "
            "qatlab encodes both with the same modules"
        )
    if not classes:
        _check_no_classifier(folder, name)


def _check_no_classifier(folder: Path, name: str) -> None:
    """Raise a UserError for a plain folder with a classifier, such as a cross-encoder."""
    for architecture in _read(folder / "config.json").get("architectures") or []:
        if str(architecture).endswith("ForSequenceClassification"):
            raise UserError(
                f"model '{name}' is a classifier of texts or pairs ({architecture}), such as cross-encoders are; "
                "choose a model that embeds texts"
            )


def hindrance_to_export(folder: Path) -> str | None:
    """Return the reason, known from a model's files, why a graph of token ids cannot compute its embeddings; None if there is none.

    Args:
        folder: a Sentence Transformers folder, or the folder of a plain encoder.
    """
    left_out = any(_read(place / "config.json").get("include_prompt") is False for place in _module_folders(folder))
    classes = _classes(folder) or ["Transformer"]
    return export_hindrance(classes[0], _settings(folder).get("prompts") or {}, prompts_pooled=not left_out)


def export_hindrance(first_module: str, prompts: dict[str, str | None], prompts_pooled: bool) -> str | None:
    """Return the reason why a graph of token ids cannot compute a model's embeddings; None if there is none.

    Args:
        first_module: class name of the first module, which tokenizes.
        prompts: prompts by name; None and '' mean no prompt.
        prompts_pooled: whether pooling includes the prompt's tokens.
    """
    if first_module != "Transformer":
        return f"ONNX export requires a Transformer as the first module, and this model begins with {first_module}"
    if any(prompts.values()) and not prompts_pooled:
        return "its pooling excludes the prompt's tokens (include_prompt: false), which an ONNX file cannot express"
    return None


def embedding_dimension(folder: Path) -> int | None:
    """Return the number of dimensions of a model's embeddings; None if its JSON files do not determine it.

    Args:
        folder: a Sentence Transformers folder, or the folder of a plain encoder.
    """
    truncated = _settings(folder).get("truncate_dim")
    if truncated:
        return int(truncated)
    classes = _classes(folder)
    if not classes:
        return _number(_read(folder / "config.json").get("hidden_size"))
    for kind, place in reversed(list(zip(classes, _module_folders(folder), strict=True))):
        settings = _read(place / "config.json")
        if kind == "Dense":
            return _number(settings.get("out_features"))
        if kind == "Pooling":
            return _pooled_dimension(settings)
        if kind not in UNCHANGED_SIZE:
            return None
    return None


def _pooled_dimension(settings: dict[str, Any]) -> int | None:
    """Return the size of pooled embeddings; the outputs of several pooling modes are concatenated."""
    size = _number(settings.get("embedding_dimension") or settings.get("word_embedding_dimension"))
    modes = settings.get("pooling_mode")
    if modes is None:  # Releases before 5.4 have one key per mode.
        count = sum(1 for key, value in settings.items() if key.startswith("pooling_mode_") and value)
    else:
        count = len(modes) if isinstance(modes, list) else 1
    return size * count if size and count else None


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) else None


def _classes(folder: Path) -> list[str]:
    """Return the class names of the modules, in order; empty for the folder of a plain encoder."""
    return [entry["type"].rpartition(".")[2] for entry in _modules(folder)]


def _module_folders(folder: Path) -> list[Path]:
    """Return the folders of the modules, in order."""
    return [folder / entry["path"] for entry in _modules(folder)]


def _modules(folder: Path) -> list[dict[str, str]]:
    path = folder / MODULES
    return list(read_json(path)) if path.exists() else []


def _settings(folder: Path) -> dict[str, Any]:
    return _read(folder / SETTINGS)


def _read(path: Path) -> dict[str, Any]:
    values = read_json(path) if path.exists() else {}
    return values if isinstance(values, dict) else {}
