"""Command push: upload a study's models to the Hugging Face hub, each to a repository of its own."""

import argparse
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from huggingface_hub import HfApi
from huggingface_hub.errors import HFValidationError, OfflineModeIsEnabled
from huggingface_hub.utils import validate_repo_id

from qatlab.artifact import write_json
from qatlab.errors import UserError, without_secrets
from qatlab.hub import BROKEN, BUSY, hub_errors, reason, with_retries
from qatlab.progress import output_to, say

TOKEN = "HF_TOKEN"
REFUSED = {
    401: "the hub does not accept the token in {token}; create one with write access at https://huggingface.co/settings/tokens",
    403: "the token in {token} has no write access to '{repository}'; grant it, or push to an owner to which it has write access",
}


class Pushed(NamedTuple):
    """Repository, and its commit after an upload."""

    repository: str
    commit: str


def repositories(owner: str, study: str, runs: Iterable[str]) -> dict[str, str]:
    """Return the repository of each run's model, OWNER/STUDY-RUN, in which characters that the hub does not allow are replaced.

    Args:
        owner: user or organization on the hub.
        study: name of the study.
        runs: names of the runs.

    Raises:
        UserError: if a name is not valid on the hub, or two runs would have the same repository.
    """
    if not re.fullmatch(r"[\w.-]+", owner):
        raise UserError(
            f"push={owner or 'OWNER'}: give the user or organization on the hub to which models are uploaded"
        )
    names: dict[str, str] = {}
    for run in runs:
        words = re.sub(r"[^A-Za-z0-9_.]+", "-", f"{study}-{run}").strip("-.")
        name = f"{owner}/{re.sub(r'[.]{2,}', '.', words)}"
        try:
            validate_repo_id(name)
        except HFValidationError as error:
            rule = str(error).partition(":")[0]
            raise UserError(f"'{name}' cannot be the name of a repository on the hub ({rule})") from None
        if name in names.values():
            raise UserError(f"two runs would be pushed to '{name}'; give the methods or matrix values distinct names")
        names[run] = name
    return names


def token_from(environment: Any) -> str:
    """Return the token for the hub from the environment; it is written nowhere.

    Raises:
        UserError: if there is no token or it is malformed.
    """
    token = str(environment.get(TOKEN, "")).strip()
    if not token:
        raise UserError(f"pushing needs a hub token with write access: export {TOKEN}=…")
    if not re.fullmatch("[!-~]+", token):
        raise UserError(f"{TOKEN} is malformed: it contains whitespace, control characters or non-ASCII characters")
    return token


def upload(folder: Path, repository: str, token: str, public: bool) -> Pushed:
    """Create a repository unless it exists, and commit the files of a folder to it; unchanged files make no commit.

    An existing repository keeps its visibility, and files that the folder does not contain.

    Args:
        folder: folder of the model.
        repository: id of the repository, owner/name.
        token: token with write access.
        public: whether a new repository is public.

    Raises:
        UserError: if the token is refused, or the hub cannot be reached or does not accept the files.
    """
    api = HfApi(token=token)
    with _errors_explained(repository):
        _send(lambda: api.create_repo(repository, private=not public, exist_ok=True))
        commit = _send(
            lambda: api.upload_folder(repo_id=repository, folder_path=folder, commit_message=f"Upload {folder.name}")
        )
    say(f"{folder.name}: {commit.repo_url} at commit {commit.oid}")
    return Pushed(repository, commit.oid)


def _send(request: Callable[[], Any]) -> Any:
    """Return the result of a request, which is repeated if the hub is busy or broken."""

    def unwrapped() -> Any:
        try:
            return request()
        except RuntimeError as error:  # The upload of a large file wraps every error in a RuntimeError.
            raise (error.__cause__ if isinstance(error.__cause__, hub_errors()) else error) from None

    return with_retries(unwrapped, BUSY + BROKEN)


@contextmanager
def _errors_explained(repository: str) -> Iterator[None]:
    """Convert errors of the hub's client into a UserError."""
    try:
        yield
    except OfflineModeIsEnabled:
        raise UserError("pushing needs network access, which HF_HUB_OFFLINE=1 disables; unset it") from None
    except hub_errors() as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status in REFUSED:
            raise UserError(REFUSED[status].format(token=TOKEN, repository=repository)) from None
        raise UserError(
            f"'{repository}' could not be pushed: the hub {'answered' if status else 'cannot be reached'} ({reason(error)}); "
            "push again later; files that were already uploaded are not sent again"
        ) from None
    except (RuntimeError, ValueError) as error:  # Errors of the hub's storage, or of a card that the hub refuses.
        first = without_secrets(str(error)).strip().partition("\n")[0]
        raise UserError(f"'{repository}' could not be pushed: {first}") from None


def main(arguments: list[str]) -> None:
    """Upload every folder of --models, and write their repositories and commits when all are uploaded.

    The token is read from the environment variable HF_TOKEN.
    """
    parser = argparse.ArgumentParser(
        prog="qatlab push",
        description="Upload a study's models to the Hugging Face hub, with the token in HF_TOKEN.",
    )
    parser.add_argument("--models", type=Path, required=True, help="folder of the models: results/studies/STUDY/models")
    parser.add_argument("--study", required=True, help="name of the study; repositories are OWNER/STUDY-RUN")
    parser.add_argument("--owner", required=True, help="user or organization that owns the repositories")
    parser.add_argument("--public", action="store_true", help="create public repositories (default: private)")
    parser.add_argument("--output", type=Path, required=True, help="file to write: repositories and commits")
    parser.add_argument("--log", type=Path, default=None, help="file for the output of libraries")
    options = parser.parse_args(arguments)
    folders = sorted(path for path in options.models.glob("*") if path.is_dir())
    if not folders:
        raise UserError(f"--models: '{options.models}' has no folders with models")
    names = repositories(options.owner, options.study, [folder.name for folder in folders])
    token = token_from(os.environ)
    options.output.unlink(missing_ok=True)  # The file must exist only if all models are uploaded.
    with output_to(options.log):
        pushed = {folder.name: upload(folder, names[folder.name], token, options.public) for folder in folders}
    write_json(options.output, {run: repository._asdict() for run, repository in pushed.items()})
