"""What only the network can tell, asked before the first job: whether the hub's models and data sets are within reach."""

from pathlib import Path

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from qatlab.errors import UserError
from qatlab.models.hub import ALLOWED_FILES, IGNORED_FILES, offline_hint
from qatlab.plan.plan import Artifact, Plan

SECONDS = 15
# Artifact kind → the hub's repository type, and what users call it.
KINDS = {"model": ("model", "model"), "data": ("dataset", "data"), "task": ("dataset", "task")}


def check_hub(plan: Plan, results: Path) -> None:
    """Raises UserError for a hub name, revision or network that would fail a job. Artifacts that exist are not asked for."""
    for artifact in plan.artifacts.values():
        if artifact.origin == "hub" and not (results / artifact.path).exists():
            _check(artifact)


def _check(artifact: Artifact) -> None:
    repository, kind = KINDS[artifact.kind]
    name, revision = artifact.config["name"], artifact.config["revision"]
    if _is_cached(repository, name, revision):
        return
    try:
        HfApi().repo_info(name, revision=revision, repo_type=repository, timeout=SECONDS)
    except HFValidationError:
        raise UserError(f"{kind} '{name}' is neither a local folder nor a hub id (owner/name)") from None
    except RevisionNotFoundError:
        raise UserError(f"{kind} '{name}' has no revision '{revision}' on the hub") from None
    except GatedRepoError:
        raise UserError(f"{kind} '{name}' is gated: accept its terms on the hub and set HF_TOKEN") from None
    except RepositoryNotFoundError:
        raise UserError(f"the hub has no {kind} '{name}' (or it is private: set HF_TOKEN)") from None
    except (HfHubHTTPError, OSError) as error:  # OSError: no network, and HF_HUB_OFFLINE
        raise UserError(offline_hint(kind, name, error)) from None


def _is_cached(repository: str, name: str, revision: str) -> bool:
    patterns = {"allow_patterns": ALLOWED_FILES, "ignore_patterns": IGNORED_FILES} if repository == "model" else {}
    try:
        snapshot_download(name, revision=revision, repo_type=repository, local_files_only=True, **patterns)
    except (OSError, HFValidationError):
        return False
    return True
