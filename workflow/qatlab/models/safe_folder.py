"""Model folders from elsewhere, looked at before any library loads them: no code, no pickled weights, nothing outside the folder.

Libraries are told the same (`trust_remote_code=False`, `use_safetensors=True`). Sentence Transformers 5.7 trusts local folders
whatever it is told: it imports the class that modules.json names, from a file of the folder too.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from qatlab.errors import UserError

LARGEST_JSON = 10_000_000  # bytes
MODULES = "modules.json"
LIBRARY_CLASS = re.compile(r"sentence_transformers(\.[a-z]\w*)*\.[A-Z]\w*")
ACTIVATION = re.compile(r"torch\.nn\.(modules\.[a-z]+\.)?[A-Z]\w*")
# The modules of Sentence Transformers that have weights.
WEIGHED = (
    "Transformer",
    "Dense",
    "LayerNorm",
    "StaticEmbedding",
    "WeightedLayerPooling",
    "CNN",
    "LSTM",
    "WordEmbeddings",
)
SAFE = "*.safetensors"


def check_folder(folder: Path, name: str, weights: bool = True) -> None:
    """Raises UserError for a folder that loading would run code of, or read pickles of.

    Args:
        name: what a person calls the model.
        weights: its weights are going to be loaded, and must be there as safetensors.
    """
    model = f"model '{name}'"
    listed = folder / MODULES
    places = [folder]
    if listed.exists():
        for at, entry in enumerate(_modules(listed, model)):
            places.append(_check_module(folder, entry, f"{model}: module {at} of {MODULES}", weights))
    elif weights and not any(folder.glob(SAFE)):
        raise UserError(f"{model} has no .safetensors weights (pickled weights are never loaded)")
    for place in dict.fromkeys(places):
        _check_configurations(place, model)


@contextmanager
def code_refused(name: str) -> Iterator[None]:
    """Turns a library's refusal to run code of a model's own into a UserError."""
    try:
        yield
    except ValueError as error:
        if "trust_remote_code" not in str(error):
            raise
        raise UserError(_needs_code(f"model '{name}'")) from None


def _needs_code(model: str) -> str:
    return f"{model} needs code of its own (auto_map), which is never run; choose one that Transformers has the architecture of"


def _modules(listed: Path, model: str) -> list[Any]:
    modules = _read(listed, model)
    if not isinstance(modules, list) or not modules:
        raise UserError(f"{model}: {MODULES} is no list of modules")
    return modules


def _check_module(folder: Path, entry: Any, what: str, weights: bool) -> Path:
    """The module's folder."""
    if not isinstance(entry, dict) or not all(isinstance(entry.get(key), str) for key in ("name", "path", "type")):
        raise UserError(f"{what} has no name, path and type")
    _check_class(entry["type"], what)
    path = PurePosixPath(entry["path"])
    if path.is_absolute() or ".." in path.parts or "\\" in entry["path"]:
        raise UserError(f"{what} leads out of the model's folder: '{entry['path']}'")
    place = folder / path
    if weights and entry["type"].rpartition(".")[2] in WEIGHED and not any(place.glob(SAFE)):
        raise UserError(f"{what} ('{entry['path']}') has no .safetensors weights (pickled weights are never loaded)")
    return place


def _check_class(name: Any, what: str) -> None:
    if not isinstance(name, str) or not LIBRARY_CLASS.fullmatch(name):
        raise UserError(
            f"{what} is of class '{str(name)[:80]}', which is not Sentence Transformers' own; code of models is never run"
        )


def _check_configurations(place: Path, model: str) -> None:
    """The JSON files beside a module's weights that say how it is built."""
    for file in sorted(place.glob("*config*.json")):
        settings = _read(file, model)
        if not isinstance(settings, dict):
            continue
        what = f"{model}: {file.name}"
        if file.name == "config.json" and "auto_map" in settings and not _is_known(settings.get("model_type")):
            raise UserError(_needs_code(model))
        for key in ("types", "tokenizer_class") if "transformers" not in file.name else ():
            _check_named(key, settings.get(key), what)
        activation = settings.get("activation_function")
        if "in_features" in settings and activation is not None and not ACTIVATION.fullmatch(str(activation)):
            raise UserError(f"{what}: activation_function '{str(activation)[:80]}' is no class of torch.nn")
        for kernels in _values(settings, ("attn_implementation", "_attn_implementation")):
            if "/" in str(kernels):
                raise UserError(
                    f"{what}: attn_implementation '{str(kernels)[:80]}' is code of the hub, which is never run"
                )


def _check_named(key: str, value: Any, what: str) -> None:
    """Classes that Sentence Transformers imports by name: of a Router's modules, of a WordEmbeddings' tokenizer."""
    if key == "types" and isinstance(value, dict):
        for name in value.values():
            _check_class(name, what)
    elif key == "tokenizer_class" and isinstance(value, str) and "." in value:
        _check_class(value, what)


def _is_known(model_type: Any) -> bool:
    """Whether Transformers has the architecture, so that it leaves the model's own code alone."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    return model_type in CONFIG_MAPPING_NAMES


def _values(value: Any, keys: tuple[str, ...]) -> Iterator[Any]:
    """What stands under one of the keys, at any depth."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in keys:
                yield inner
            yield from _values(inner, keys)
    elif isinstance(value, list):
        for inner in value:
            yield from _values(inner, keys)


def _read(file: Path, model: str) -> Any:
    if file.stat().st_size > LARGEST_JSON:
        raise UserError(f"{model}: {file.name} has more than {LARGEST_JSON:,} bytes")
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        raise UserError(f"{model}: {file.name} cannot be read as JSON") from None
