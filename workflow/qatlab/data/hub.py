"""Reader of data sets of the Hugging Face hub, by id and revision."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub.constants import HF_HUB_OFFLINE

from qatlab.config.fields import column_name
from qatlab.errors import UserError
from qatlab.hub import commit_of, hub_errors_explained, with_retries

if TYPE_CHECKING:
    import pandas as pd


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
