"""Check, before the first job, that the models and data sets of the hub are accessible."""

from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError

from qatlab.bundle import in_use
from qatlab.config.model import ModelConfig
from qatlab.hub import ALLOWED_FILES, IGNORED_FILES, hub_errors_explained, info
from qatlab.plan.artifacts import Artifact
from qatlab.plan.plan import Plan
from qatlab.registry import Registered, origin_of


def check_hub(plan: Plan, results: Path) -> None:
    """Raise UserError for a hub name, revision or network that would make a job fail. Existing artifacts are not checked."""
    if in_use() is not None:  # the plan has checked that the bundle is complete
        return
    for artifact in plan.artifacts.values():
        at = _on_hub(artifact)
        if at is not None and not (results / artifact.path).exists():
            _check(artifact.kind, *at)


def _on_hub(artifact: Artifact) -> tuple[str, str] | None:
    """Return the name and revision of the hub repository that an artifact is made from; None without one."""
    config = artifact.config
    if isinstance(config, ModelConfig):
        return (config.name, config.revision) if artifact.origin == "hub" and config.revision else None
    return config.on_hub(origin_of(artifact.origin)) if isinstance(config, Registered) else None


def _check(kind: str, name: str, revision: str) -> None:
    repository = "model" if kind == "model" else "dataset"
    if _is_cached(repository, name, revision):
        return
    with hub_errors_explained(kind, name, revision):
        info(name, revision, repository)


def _is_cached(repository: str, name: str, revision: str) -> bool:
    patterns = {"allow_patterns": ALLOWED_FILES, "ignore_patterns": IGNORED_FILES} if repository == "model" else {}
    try:
        snapshot_download(name, revision=revision, repo_type=repository, local_files_only=True, **patterns)
    except (OSError, HFValidationError):
        return False
    return True
