"""The Hugging Face hub's errors in words a user can act on."""

from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from qatlab.errors import UserError

OFFLINE_WAYS = {
    "model": "download it elsewhere and give its folder (model.name=FOLDER), or keep the default model=minilm",
    "data": "download it elsewhere and give the file (data=local data.path=FILE), or keep the default data=docstrings",
    "texts": "download it elsewhere and give the file (texts=[texts_file] texts.texts_file.path=FILE), or keep texts=[]",
    "task": "download it elsewhere in BEIR layout (task=[beir] task.beir.path=FOLDER), or keep task=[stdlib,networkx]",
}
REASON_LENGTH = 120


@contextmanager
def hub_errors_explained(kind: str, name: str, revision: str) -> Iterator[None]:
    """Turns what the hub's client raises into a UserError. `kind` is 'model', 'data', 'task' or 'texts'."""
    try:
        yield
    except HFValidationError:
        raise UserError(f"{kind} '{name}' is neither a local path nor a hub id (owner/name)") from None
    except RevisionNotFoundError:
        raise UserError(f"{kind} '{name}' has no revision '{revision}' on the hub") from None
    except GatedRepoError:
        raise UserError(f"{kind} '{name}' is gated: accept its terms on the hub and set HF_TOKEN") from None
    except RepositoryNotFoundError:
        raise UserError(f"the hub has no {kind} '{name}' (or it is private: set HF_TOKEN)") from None
    except (HfHubHTTPError, OSError) as error:  # OSError: no network, HF_HUB_OFFLINE, nothing in the cache
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise UserError(
            f"{kind} '{name}' is not in the local cache and the hub cannot be reached ({reason[:REASON_LENGTH]}); "
            f"to work offline, {OFFLINE_WAYS[kind]}"
        ) from None
