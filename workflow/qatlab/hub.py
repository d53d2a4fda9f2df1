"""The Hugging Face hub: downloads of models and data sets, with retries, and errors as messages with a remedy.

Only safetensors and plain files of models are downloaded, never code. The hub's client reads the token of gated and private
repositories from HF_TOKEN; `qatlab.commands.push` reads it for uploads.
"""

import importlib
import importlib.util
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from qatlab.errors import UserError, without_secrets
from qatlab.progress import say
from qatlab.registry import column_name

if TYPE_CHECKING:
    import pandas as pd

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


# Planning imports this module, but most plans need nothing of the hub, whose client takes as long to import as half of a plan.
@cache
def _http_clients() -> list[Any]:
    """Return the HTTP clients of huggingface_hub, whose errors it does not wrap: httpx2 since its release 2, httpx in 1."""
    return [importlib.import_module(name) for name in ("httpx2", "httpx") if importlib.util.find_spec(name)]


@cache
def hub_errors() -> tuple[type[Exception], ...]:
    """Return the classes of errors that the hub's client raises."""
    return (OSError, *(http.TransportError for http in _http_clients()))


@cache
def _permanent_errors() -> tuple[type[Exception], ...]:
    """Return the classes of errors that a further attempt does not resolve."""
    from huggingface_hub.errors import HFValidationError

    of_clients = (error for http in _http_clients() for error in (http.LocalProtocolError, http.UnsupportedProtocol))
    return (FileNotFoundError, PermissionError, HFValidationError, *of_clients)


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
        except hub_errors() as error:
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
    from huggingface_hub import HfApi

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
    from huggingface_hub.errors import OfflineModeIsEnabled

    with hub_errors_explained(kind, name, revision):
        try:
            return info(name, revision, "dataset").sha
        except OfflineModeIsEnabled:
            return None


def _is_transient(error: BaseException, transient: tuple[int, ...]) -> bool:
    """Return whether a further attempt may succeed."""
    from huggingface_hub.errors import OfflineModeIsEnabled

    if isinstance(error, OfflineModeIsEnabled):
        return False
    response = getattr(error, "response", None)
    if response is not None:
        return response.status_code in transient
    if isinstance(
        error.__cause__, hub_errors()
    ):  # The error "not in the cache and cannot be reached" has the original one as its cause.
        return _is_transient(error.__cause__, transient)
    return not isinstance(error, _permanent_errors())


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
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

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
    except hub_errors() as error:  # OSError is raised in offline mode if the cache lacks the repository.
        raise UserError(
            f"{kind} '{name}' is not in the local cache and the hub cannot be reached ({reason(error)}); "
            f"to work offline, {OFFLINE_ALTERNATIVES[kind]}"
        ) from None


def reason(error: BaseException) -> str:
    """Return the first line of the original cause without the address, such as "Client error '429 Too Many Requests'"."""
    if isinstance(error.__cause__, hub_errors()):
        return reason(error.__cause__)
    text = without_secrets(str(error)).strip().partition("\n")[0].partition(" for url")[0]
    return (text or type(error).__name__)[:REASON_LENGTH]


ALLOWED_FILES = ["*.safetensors", "*.json", "*.txt", "*.model", "**/*.json", "**/*.safetensors"]
IGNORED_FILES = ["onnx/*", "openvino/*"]


def download(name: str, revision: str) -> Path:
    """Download a model and return the folder of its snapshot; a complete snapshot in the cache is not downloaded again.

    Raises:
        UserError: if the hub does not have the model or cannot be reached; the message names the alternatives.
    """
    from huggingface_hub import snapshot_download

    with hub_errors_explained("model", name, revision):
        folder = with_retries(
            lambda: snapshot_download(
                name, revision=revision, allow_patterns=ALLOWED_FILES, ignore_patterns=IGNORED_FILES
            )
        )
    return Path(folder)


def load_splits(
    name: str, subsets: list[str | None], split: str, revision: str, kind: str = "data"
) -> "tuple[list[pd.DataFrame], str | None]":
    """Load one split of each subset, all at the same commit.

    Args:
        name: id of the data set on the hub, owner/name.
        subsets: names of the subsets; None is the only one.
        split: name of the split.
        revision: branch, tag or commit.
        kind: 'data', 'task' or 'texts', for messages.

    Returns:
        One table per subset, and the commit (None in offline mode).

    Raises:
        UserError: for an unknown name, subset, split or revision, or a hub that cannot be reached.
    """
    from datasets.exceptions import DatasetNotFoundError

    commit = commit_of(kind, name, revision)
    with hub_errors_explained(kind, name, revision), unreadable_explained(kind, name):
        try:
            return [
                with_retries(partial(_table, name, subset, split, commit or revision)) for subset in subsets
            ], commit
        except DatasetNotFoundError as error:
            raise UserError(f"{kind} '{name}' (revision {revision}): {' '.join(str(error).split())}") from None
        except ValueError as error:  # An unknown subset or split; the message lists the valid ones.
            raise UserError(f"{kind} '{name}': {' '.join(str(error).split())}") from None


@contextmanager
def unreadable_explained(kind: str, name: str) -> Iterator[None]:
    """Convert errors of `datasets` for loading scripts (which it never runs) and for malformed files into a UserError."""
    from datasets.exceptions import DatasetGenerationError

    try:
        yield
    except (RuntimeError, DatasetGenerationError) as error:
        raise UserError(f"{kind} '{name}' cannot be read: {' '.join(str(error).split())[:200]}") from None


def load_split(
    name: str, subset: str | None, split: str, revision: str, kind: str = "data"
) -> "tuple[pd.DataFrame, str | None]":
    """Load one split of one subset; see `load_splits`.

    Args:
        name: id of the data set on the hub, owner/name.
        subset: name of the subset; None is the only one.
        split: name of the split.
        revision: branch, tag or commit.
        kind: 'data', 'task' or 'texts', for messages.

    Returns:
        The table and the commit (None in offline mode).
    """
    (table,), commit = load_splits(name, [subset], split, revision, kind)
    return table, commit


def load_texts(
    name: str,
    subset: str | None,
    split: str,
    revision: str,
    columns: list[str],
    leave_out: Mapping[str, object] | None = None,
    kind: str = "data",
) -> "tuple[pd.DataFrame, str | None]":
    """Load text columns of a split, without rows that have no text in one of them.

    Args:
        name: id of the data set on the hub, owner/name.
        subset: name of the subset; None is the only one.
        split: name of the split.
        revision: branch, tag or commit.
        columns: names of the columns; `translation.en` is the key en in the dictionaries of the column translation, and the
            resulting column is called en.
        leave_out: values by column; rows that have the value in the column are left out too.
        kind: 'data', 'task' or 'texts', for messages.

    Returns:
        The text columns and the commit (None in offline mode).

    Raises:
        UserError: besides the errors of `load_splits`, for a column that does not exist or holds other values than texts.
    """
    import pandas as pd

    table, commit = load_split(name, subset, split, revision, kind)
    noun = "data set" if kind == "data" else kind
    for column, value in (leave_out or {}).items():
        table = table[_column(table, column, f"{noun} '{name}'") != value]
    texts = pd.DataFrame({column_name(column): _column(table, column, f"{noun} '{name}'") for column in columns})
    for column in texts.columns:
        wrong = [value for value in texts[column].dropna() if not isinstance(value, str)]
        if wrong:
            raise UserError(
                f"{noun} '{name}': column '{column}' holds values that are not texts, such as {str(wrong[0])[:40]!r}"
            )
    texts = texts.dropna()
    full = [all(text.strip() for text in row) for row in texts.itertuples(index=False, name=None)]
    return texts[full].reset_index(drop=True), commit


def _column(table: "pd.DataFrame", column: str, where: str) -> "pd.Series":
    """Return a column, or for COLUMN.KEY the values under a key of the dictionaries in a column."""
    if column in table.columns:
        return table[column]
    name, _, key = column.rpartition(".")
    if name not in table.columns:
        raise UserError(f"{where} has no column '{column}'; it has: {', '.join(table.columns)}")
    values = table[name]
    keys = dict.fromkeys(key for value in values if isinstance(value, dict) for key in value)
    if key not in keys:
        inside = f"has: {', '.join(f'{name}.{key}' for key in keys)}" if keys else "holds no dictionaries"
        raise UserError(f"{where} has no column '{column}'; its column '{name}' {inside}")
    return values.map(lambda value: value.get(key) if isinstance(value, dict) else None)


def _table(name: str, subset: str | None, split: str, revision: str) -> "pd.DataFrame":
    from datasets import load_dataset
    from huggingface_hub.constants import HF_HUB_OFFLINE

    rows: Any = load_dataset(name, subset, split=split, revision=revision)
    if not HF_HUB_OFFLINE:
        check_commit(rows, revision)
    table: pd.DataFrame = rows.to_pandas()
    return table


def check_commit(rows: Any, commit: str) -> None:
    """Raise a ConnectionError if rows come from another commit.

    When a download fails, `load_dataset` reads the data set from the cache, of any commit, and only warns.
    """
    folders = {Path(file["filename"]).parent.name for file in rows.cache_files}
    if folders - {commit}:
        raise ConnectionError(f"commit {commit[:12]} could not be read; only another one is in the cache")
