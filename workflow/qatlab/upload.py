"""Folders with models, uploaded to the Hugging Face hub: each in a repository of its own."""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from huggingface_hub import HfApi
from huggingface_hub.errors import HFValidationError, OfflineModeIsEnabled
from huggingface_hub.utils import validate_repo_id

from qatlab.errors import UserError, without_secrets
from qatlab.hub import BROKEN, BUSY, HUB_ERRORS, patiently, reason
from qatlab.progress import say

TOKEN = "HF_TOKEN"
REFUSED = {
    401: "the hub does not know the token in {token}; make one that can write at https://huggingface.co/settings/tokens",
    403: "the token in {token} may not write to '{repository}'; give it the right to, or push to an owner that it may write to",
}


class Pushed(NamedTuple):
    """A repository, and the commit that an upload left it at."""

    repository: str
    commit: str


def repositories(owner: str, study: str, runs: Iterable[str]) -> dict[str, str]:
    """By run, the repository that its model goes to: OWNER/STUDY-RUN, in the letters that the hub has for names.

    Raises UserError for an owner or run that makes no valid name, and for runs that would share one.
    """
    if not re.fullmatch(r"[\w.-]+", owner):
        raise UserError(f"push={owner or 'OWNER'}: give the user or organization of the hub that models go to")
    found: dict[str, str] = {}
    for run in runs:
        words = re.sub(r"[^A-Za-z0-9_.]+", "-", f"{study}-{run}").strip("-.")
        name = f"{owner}/{re.sub(r'[.]{2,}', '.', words)}"
        try:
            validate_repo_id(name)
        except HFValidationError as error:
            rule = str(error).partition(":")[0]
            raise UserError(f"'{name}' cannot be the name of a repository on the hub ({rule})") from None
        if name in found.values():
            raise UserError(f"two runs would be pushed to '{name}'; give the methods or matrix values distinct names")
        found[run] = name
    return found


def token_from(environment: Any) -> str:
    """The token for the hub; raises UserError where there is none. It is read from the environment and written nowhere."""
    token = str(environment.get(TOKEN, "")).strip()
    if not token:
        raise UserError(f"pushing needs a token of the hub that can write: export {TOKEN}=…")
    if not re.fullmatch("[!-~]+", token):
        raise UserError(f"{TOKEN} is no token of the hub: it has a space, a line break or another letter that none has")
    return token


def upload(folder: Path, repository: str, token: str, public: bool) -> Pushed:
    """Makes the repository where it is not there, and commits a folder's files to it; unchanged ones make no commit.

    A repository that is there stays as public or private as it is, and keeps files that the folder does not have. Raises
    UserError for a token that is refused, and for a hub that cannot be reached or does not take the files.
    """
    api = HfApi(token=token)
    with _errors_explained(repository):
        _ask(lambda: api.create_repo(repository, private=not public, exist_ok=True))
        commit = _ask(
            lambda: api.upload_folder(repo_id=repository, folder_path=folder, commit_message=f"Upload {folder.name}")
        )
    say(f"{folder.name}: {commit.repo_url} at commit {commit.oid}")
    return Pushed(repository, commit.oid)


def _ask(ask: Callable[[], Any]) -> Any:
    """The answer, asked again where the hub is busy or broken for a while."""

    def unwrapped() -> Any:
        try:
            return ask()
        except RuntimeError as error:  # what an upload of a large file raises, whatever it comes from
            raise (error.__cause__ if isinstance(error.__cause__, HUB_ERRORS) else error) from None

    return patiently(unwrapped, BUSY + BROKEN)


@contextmanager
def _errors_explained(repository: str) -> Iterator[None]:
    """Turns what the hub's client raises into a UserError."""
    try:
        yield
    except OfflineModeIsEnabled:
        raise UserError("pushing needs the network, which HF_HUB_OFFLINE=1 keeps it from; unset it") from None
    except HUB_ERRORS as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status in REFUSED:
            raise UserError(REFUSED[status].format(token=TOKEN, repository=repository)) from None
        raise UserError(
            f"'{repository}' could not be pushed: the hub {'answered' if status else 'cannot be reached'} ({reason(error)}); "
            "push again later, and what is there already is not sent again"
        ) from None
    except (RuntimeError, ValueError) as error:  # of the storage behind the hub; of a card that the hub does not take
        first = without_secrets(str(error)).strip().partition("\n")[0]
        raise UserError(f"'{repository}' could not be pushed: {first}") from None
