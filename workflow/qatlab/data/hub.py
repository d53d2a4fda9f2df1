"""Data sets of the Hugging Face hub, by id and revision."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub.constants import HF_HUB_OFFLINE

from qatlab.config.fields import column_name
from qatlab.errors import UserError
from qatlab.hub import commit_of, hub_errors_explained, patiently

if TYPE_CHECKING:
    import pandas as pd


def load_splits(
    name: str, subsets: list[str | None], split: str, revision: str, kind: str = "data"
) -> "tuple[list[pd.DataFrame], str | None]":
    """One split of each subset as a table, all of one commit, and that commit (None without network on purpose).

    Raises:
        UserError: for an unknown name, subset, split or revision, or a hub that cannot be reached.
    """
    from datasets.exceptions import DatasetNotFoundError

    commit = commit_of(kind, name, revision)
    with hub_errors_explained(kind, name, revision), unreadable_explained(kind, name):
        try:
            return [patiently(partial(_table, name, subset, split, commit or revision)) for subset in subsets], commit
        except DatasetNotFoundError as error:
            raise UserError(f"{kind} '{name}' (revision {revision}): {' '.join(str(error).split())}") from None
        except ValueError as error:  # unknown subset or split: the message lists the valid ones
            raise UserError(f"{kind} '{name}': {' '.join(str(error).split())}") from None


@contextmanager
def unreadable_explained(kind: str, name: str) -> Iterator[None]:
    """Turns what `datasets` raises for a script, which it never runs, or for a file that is not what it is called, into a UserError."""
    from datasets.exceptions import DatasetGenerationError

    try:
        yield
    except (RuntimeError, DatasetGenerationError) as error:
        raise UserError(f"{kind} '{name}' cannot be read: {' '.join(str(error).split())[:200]}") from None


def load_split(
    name: str, subset: str | None, split: str, revision: str, kind: str = "data"
) -> "tuple[pd.DataFrame, str | None]":
    """The same of one subset."""
    (table,), commit = load_splits(name, [subset], split, revision, kind)
    return table, commit


def load_texts(
    name: str,
    subset: str | None,
    split: str,
    revision: str,
    columns: list[str],
    leave_out: dict[str, Any] | None = None,
    kind: str = "data",
) -> "tuple[pd.DataFrame, str | None]":
    """Text columns of a split, without rows that have no text in one of them, and the commit that they are of.

    Args:
        columns: `translation.en` is what the dictionaries of the column translation have under en; it is called en.
        leave_out: rows that have such a value in such a column are left out too.

    Raises:
        UserError: besides what `load_splits` raises, for a column that is not there or holds no texts.
    """
    import pandas as pd

    table, commit = load_split(name, subset, split, revision, kind)
    what = "data set" if kind == "data" else kind
    for column, value in (leave_out or {}).items():
        table = table[_column(table, column, f"{what} '{name}'") != value]
    texts = pd.DataFrame({column_name(column): _column(table, column, f"{what} '{name}'") for column in columns})
    for column in texts.columns:
        wrong = [value for value in texts[column].dropna() if not isinstance(value, str)]
        if wrong:
            raise UserError(f"{what} '{name}': column '{column}' holds no texts, but such as {str(wrong[0])[:40]!r}")
    texts = texts.dropna()
    full = [all(text.strip() for text in row) for row in texts.itertuples(index=False, name=None)]
    return texts[full].reset_index(drop=True), commit


def _column(table: "pd.DataFrame", column: str, where: str) -> "pd.Series":
    """A column, or what its dictionaries have under a key."""
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
    """Where anything fails, `load_dataset` takes what is cached of the data set, of whatever commit, and only warns."""
    folders = {Path(file["filename"]).parent.name for file in rows.cache_files}
    if folders - {commit}:
        raise ConnectionError(f"commit {commit[:12]} could not be read; only another one is in the cache")
