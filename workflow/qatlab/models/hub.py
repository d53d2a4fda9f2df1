"""Models of the Hugging Face hub: safetensors and plain files only, never remote code."""

from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from qatlab.errors import UserError

ALLOWED_FILES = ["*.safetensors", "*.json", "*.txt", "*.model", "**/*.json", "**/*.safetensors"]
OFFLINE_WAYS = {
    "model": "download it elsewhere and give its folder (model.name=FOLDER), or keep the default model=minilm",
    "data": "download it elsewhere and give the file (data=local data.path=FILE), or keep the default data=docstrings",
    "task": "download it elsewhere in BEIR layout (task=[beir] task.beir.path=FOLDER), or keep task=[stdlib,networkx]",
}
IGNORED_FILES = ["onnx/*", "openvino/*"]


def download(name: str, revision: str) -> Path:
    """The local snapshot of a model (from the cache where it is complete); raises UserError with a way out."""
    try:
        return Path(
            snapshot_download(name, revision=revision, allow_patterns=ALLOWED_FILES, ignore_patterns=IGNORED_FILES)
        )
    except RevisionNotFoundError:
        raise UserError(f"model '{name}' has no revision '{revision}' on the hub") from None
    except GatedRepoError:
        raise UserError(f"model '{name}' is gated: accept its terms on the hub and set HF_TOKEN") from None
    except RepositoryNotFoundError:
        raise UserError(f"the hub has no model '{name}' (or it is private: set HF_TOKEN)") from None
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise UserError(offline_hint("model", name, error)) from None


def offline_hint(kind: str, name: str, error: Exception | str) -> str:
    """What to do when the hub cannot be reached."""
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return (
        f"{kind} '{name}' is not in the local cache and the hub cannot be reached ({reason[:120]}); "
        f"to work offline, {OFFLINE_WAYS[kind]}"
    )
