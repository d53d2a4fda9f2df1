"""The Hugging Face hub: asked again where it is busy, and its errors in words a user can act on."""

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

Answer = TypeVar("Answer")

OFFLINE_WAYS = {
    "model": "download it elsewhere and give its folder (model.name=FOLDER), or keep the default model=minilm",
    "data": "download it elsewhere and give the file (data=local data.path=FILE), or keep the default data=docstrings",
    "texts": "download it elsewhere and give the file (texts=[texts_file] texts.texts_file.path=FILE), or keep texts=[]",
    "task": "download it elsewhere (in BEIR layout: task=[beir] task.beir.path=FOLDER; translations: task=[parallel_texts] "
    "task.parallel_texts.paths=[FILE,FILE]; texts: task=[text_file] task.text_file.path=FILE), or keep task=[stdlib,networkx]",
}
REASON_LENGTH = 120
SECONDS = 30  # that an answer may take
WAITS = (1.0, 2.0, 4.0)  # seconds before asking again
LONGEST_WAIT = 60.0  # of those that a hub asks for
BUSY = (408, 429)
BROKEN = (500, 502, 503, 504)  # where files are fetched, the client itself asks again after these, for half a minute


# What huggingface_hub speaks HTTP with: httpx2 since its release 2, httpx in 1. Their errors are not among its own.
_HTTP = [importlib.import_module(name) for name in ("httpx2", "httpx") if importlib.util.find_spec(name)]
HUB_ERRORS: tuple[type[Exception], ...] = (OSError, *(http.TransportError for http in _HTTP))
OURS: tuple[type[Exception], ...] = (  # which asking again does not mend
    *(FileNotFoundError, PermissionError, HFValidationError),
    *(error for http in _HTTP for error in (http.LocalProtocolError, http.UnsupportedProtocol)),
)


def patiently(ask: Callable[[], Answer], passing: tuple[int, ...] = BUSY) -> Answer:
    """What `ask` returns, asked again where the hub is busy or out of reach for a while, or a file came cut off.

    Raises what the last try raised. Without network on purpose (HF_HUB_OFFLINE=1) there is one try.

    Args:
        passing: the statuses after which it is asked again.
    """
    for wait in WAITS:
        try:
            return ask()
        except HUB_ERRORS as error:
            if not _passes(error, passing):
                raise
            pause = min(_asked_for(error) or wait, LONGEST_WAIT)
            say(f"the hub: {reason(error)}; again in {pause:.3g} s")
            time.sleep(pause)
    return ask()


def info(name: str, revision: str, repository: str) -> Any:
    """What the hub says of a repository ('model' or 'dataset'), asked patiently."""
    return patiently(
        lambda: HfApi().repo_info(name, revision=revision, repo_type=repository, timeout=SECONDS), BUSY + BROKEN
    )


def commit_of(kind: str, name: str, revision: str) -> str | None:
    """The commit that a data set's revision is now; None without network on purpose, where what is cached is taken.

    A branch can move while its parts are read: they are read at one commit.
    """
    with hub_errors_explained(kind, name, revision):
        try:
            return info(name, revision, "dataset").sha
        except OfflineModeIsEnabled:
            return None


def _passes(error: BaseException, passing: tuple[int, ...]) -> bool:
    """Whether the same question may be answered later."""
    if isinstance(error, OfflineModeIsEnabled):
        return False
    response = getattr(error, "response", None)
    if response is not None:
        return response.status_code in passing
    if isinstance(error.__cause__, HUB_ERRORS):  # "not in the cache and cannot be reached", because of this
        return _passes(error.__cause__, passing)
    return not isinstance(error, OURS)


def _asked_for(error: BaseException) -> float | None:
    """Seconds that a busy hub asks to wait."""
    response = getattr(error, "response", None)
    asked = response.headers.get("Retry-After", "") if response is not None else ""
    return float(asked) if asked.isdigit() else None


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
    except HUB_ERRORS as error:  # OSError: HF_HUB_OFFLINE, nothing in the cache
        raise UserError(
            f"{kind} '{name}' is not in the local cache and the hub cannot be reached ({reason(error)}); "
            f"to work offline, {OFFLINE_WAYS[kind]}"
        ) from None


def reason(error: BaseException) -> str:
    """The first line of what began it: "Client error '429 Too Many Requests'", not "an error happened"; without the address."""
    if isinstance(error.__cause__, HUB_ERRORS):
        return reason(error.__cause__)
    text = without_secrets(str(error)).strip().partition("\n")[0].partition(" for url")[0]
    return (text or type(error).__name__)[:REASON_LENGTH]
