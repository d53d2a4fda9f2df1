"""Settings in the JSON files of a model's folder: similarity, prompts, longest text, dimensions, and whether it can be exported."""

from pathlib import Path
from typing import Any

from safetensors import safe_open

from qatlab.artifact import read_json
from qatlab.errors import UserError
from qatlab.models.folders import MODULES

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
    settings = _prompt_settings(folder)
    name = settings.get("default_prompt_name") if texts == "pairs" else NAMES[texts]
    return str((settings.get("prompts") or {}).get(name) or "")


def unused_prompts(folder: Path) -> list[str]:
    """Return the names of prompts that are meant for documents, but that `encode_document` does not apply."""
    prompts = _prompt_settings(folder).get("prompts") or {}
    return [] if "document" in prompts else [name for name in UNREACHED if prompts.get(name)]


def _prompt_settings(folder: Path) -> dict[str, Any]:
    path = folder / SETTINGS
    return dict(read_json(path)) if path.exists() else {}


USUAL_TOKENS = 512  # maximum of a model whose files name none
TABLES = ("position_embeddings.weight", "wpe.weight")
# In these architectures, positions are counted from the id of the padding token plus one.
OFFSET_BY_PADDING = (
    "camembert",
    "data2vec-text",
    "esm",
    "lilt",
    "longformer",
    "luke",
    "mluke",
    "mpnet",
    "roberta",
    "roberta-prelayernorm",
    "xlm-roberta",
    "xlm-roberta-xl",
    "xmod",
)


def position_count(folder: Path) -> int | None:
    """Return how many tokens the model's table of position embeddings can hold; None for a model that computes positions."""
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="np") as weights:
            for name in weights.keys():  # noqa: SIM118 – no mapping
                if name.endswith(TABLES):
                    return int(weights.get_slice(name).get_shape()[0]) - _first_row(folder)
    return None


def _first_row(folder: Path) -> int:
    """Return the row of the table that belongs to the first token of a text."""
    config = read_json(folder / "config.json")
    kind = config.get("model_type")
    if kind not in OFFSET_BY_PADDING:
        return 0
    padding = 1 if kind == "mpnet" else config.get("pad_token_id") or 0  # MPNet hard-codes its padding id.
    return int(padding) + 1


def longest_text(folder: Path) -> int:
    """Return the maximum number of tokens per text with which Sentence Transformers loads a model.

    It is the one in the settings of its first module, or else the smaller of those of its encoder and its tokenizer, and at most the
    number of its positions.

    Args:
        folder: a Sentence Transformers folder, or the folder of a plain encoder.
    """
    first = next(iter(_module_folders(folder)), folder)
    given = _number(_read(first / "sentence_bert_config.json").get("max_seq_length"))
    limits = [
        given,
        None if given else _number(_read(first / "config.json").get("max_position_embeddings")),
        None if given else _number(_read(first / "tokenizer_config.json").get("model_max_length")),
        position_count(first),
    ]
    return min((limit for limit in limits if limit), default=USUAL_TOKENS)


def check_positions(folder: Path, max_seq_length: int, name: str) -> None:
    """Raise a UserError if texts may have more tokens than the model has positions.

    Args:
        folder: a Transformers folder.
        max_seq_length: largest number of tokens of a text.
        name: name of the model, for messages.
    """
    available = position_count(folder)
    if available is not None and max_seq_length > available:
        raise UserError(
            f"model.max_seq_length={max_seq_length}, but model '{name}' has {available} positions; "
            f"set model.max_seq_length={available} or less"
        )


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
