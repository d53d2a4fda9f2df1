"""Location of the files of a base model, for the checks of a plan."""

from pathlib import Path

from qatlab.bundle import in_use
from qatlab.config.model import ModelConfig
from qatlab.models.folders import model_source, packaged_folder
from qatlab.plan.artifacts import Artifact
from qatlab.plan.plan import Plan


def base_model(plan: Plan, artifact: Artifact) -> Artifact:
    """Return the base model of a training or deployment."""
    while artifact.kind != "model":
        artifact = plan.artifacts[artifact.inputs["model"]]
    return artifact


def model_config(base: Artifact) -> ModelConfig:
    """Return the configuration of a base model."""
    assert isinstance(base.config, ModelConfig)
    return base.config


def folder_of(base: Artifact, results: Path) -> Path | None:
    """Return the folder of a base model: fetched, bundled, local or of an installed package; None if it is not downloaded yet.

    Args:
        base: artifact of the kind "model", whose model is not built from a configuration.
        results: folder of artifacts.
    """
    fetched = results / base.path / "model"
    if fetched.is_dir():
        return fetched
    bundle = in_use()
    if bundle is not None:
        return bundle.folder / base.path / "model"
    config = model_config(base)
    source = model_source(config)
    if source == "local":
        return Path(config.name).expanduser()
    return packaged_folder(config.name) if source == "package" else None
