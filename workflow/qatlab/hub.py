"""Access to the Hugging Face hub: requests are repeated while it is busy, and its errors become actionable messages."""

import importlib
import importlib.util
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from huggingface_hub import HfApi
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from qatlab.errors import UserError, without_secrets
from qatlab.progress import say

Result = TypeVar("Result")

OFFLINE_ALTERNATIVES = {
    "model": "download it elsewhere and give its folder (model.name=FOLDER), or keep the default model=minilm",
    "data": "download it elsewhere and give the file (data=local data.path=FILE), or keep the default data=docstrings",
    "texts": "download it elsewhere and give the file (texts=[texts_file] texts.texts_file.path=FILE), or keep texts=[]",
    "task": "download it elsewhere (in BEIR layout: task=[beir] task.beir.path=FOLDER; translations: task=[parallel_texts] "
    "task.parallel_texts.paths=[FILE,FILE]; texts: task=[text_file] task.text_file.path=FILE), or keep task=[stdlib,networkx]",
}
REASON_LENGTH = 120
SECONDS = 30  # timeout of a request
WAITS = (1.0, 2.0, 4.0)  # seconds before each further attempt
LONGEST_WAIT = 60.0  # seconds; a longer Retry-After of the hub is shortened to it
BUSY = (408, 429)  # HTTP statuses
BROKEN = (500, 502, 503, 504)  # When files are downloaded, the client itself retries after these for half a minute.


# HTTP clients of huggingface_hub: httpx2 since its release 2, httpx in 1. It does not wrap their errors.
_HTTP = [importlib.import_module(name) for name in ("httpx2", "httpx") if importlib.util.find_spec(name)]
HUB_ERRORS: tuple[type[Exception], ...] = (OSError, *(http.TransportError for http in _HTTP))
PERMANENT: tuple[type[Exception], ...] = (  # errors that a further attempt does not resolve
    *(FileNotFoundError, PermissionError, HFValidationError),
    *(error for http in _HTTP for error in (http.LocalProtocolError, http.UnsupportedProtocol)),
)


def with_retries(request: Callable[[], Result], transient: tuple[int, ...] = BUSY) -> Result:
    """Return the result of a request, which is repeated if the hub is busy or unreachable, or a file arrives truncated.

    The error of the last attempt is raised. In offline mode (HF_HUB_OFFLINE=1) there is one attempt.

    Args:
        request: sends the request.
        transient: HTTP statuses after which the request is repeated.
    """
    for wait in WAITS:
        try:
            return request()
        except HUB_ERRORS as error:
            if not _is_transient(error, transient):
                raise
            pause = min(_retry_after(error) or wait, LONGEST_WAIT)
            say(f"the hub: {reason(error)}; retrying in {pause:.3g} s")
            time.sleep(pause)
    return request()


def info(name: str, revision: str, repository: str) -> Any:
    """Return the hub's metadata of a repository, with retries.

    Args:
        name: id of the repository, owner/name.
        revision: branch, tag or commit.
        repository: 'model' or 'dataset'.
    """
    return with_retries(
        lambda: HfApi().repo_info(name, revision=revision, repo_type=repository, timeout=SECONDS), BUSY + BROKEN
    )


def commit_of(kind: str, name: str, revision: str) -> str | None:
    """Return the commit of a data set's revision; None in offline mode, in which the cached data set is used.

    A branch can move while parts of a data set are read, so all parts are read at one commit.

    Args:
        kind: 'data', 'task' or 'texts', for messages.
        name: id of the data set, owner/name.
        revision: branch, tag or commit.

    Raises:
        UserError: if the hub does not have the revision or cannot be reached.
    """
    with hub_errors_explained(kind, name, revision):
        try:
            return info(name, revision, "dataset").sha
        except OfflineModeIsEnabled:
            return None


def _is_transient(error: BaseException, transient: tuple[int, ...]) -> bool:
    """Return whether a further attempt may succeed."""
    if isinstance(error, OfflineModeIsEnabled):
        return False
    response = getattr(error, "response", None)
    if response is not None:
        return response.status_code in transient
    if isinstance(
        error.__cause__, HUB_ERRORS
    ):  # The error "not in the cache and cannot be reached" has the original one as its cause.
        return _is_transient(error.__cause__, transient)
    return not isinstance(error, PERMANENT)


def _retry_after(error: BaseException) -> float | None:
    """Return the seconds in the Retry-After header of a busy hub, or None."""
    response = getattr(error, "response", None)
    seconds = response.headers.get("Retry-After", "") if response is not None else ""
    return float(seconds) if seconds.isdigit() else None


@contextmanager
def hub_errors_explained(kind: str, name: str, revision: str) -> Iterator[None]:
    """Convert errors of the hub's client into a UserError.

    Args:
        kind: 'model', 'data', 'task' or 'texts'.
        name: id of the repository, owner/name.
        revision: branch, tag or commit.
    """
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
    except HUB_ERRORS as error:  # OSError is raised in offline mode if the cache lacks the repository.
        raise UserError(
            f"{kind} '{name}' is not in the local cache and the hub cannot be reached ({reason(error)}); "
            f"to work offline, {OFFLINE_ALTERNATIVES[kind]}"
        ) from None


def reason(error: BaseException) -> str:
    """Return the first line of the original cause without the address, such as "Client error '429 Too Many Requests'"."""
    if isinstance(error.__cause__, HUB_ERRORS):
        return reason(error.__cause__)
    text = without_secrets(str(error)).strip().partition("\n")[0].partition(" for url")[0]
    return (text or type(error).__name__)[:REASON_LENGTH]
