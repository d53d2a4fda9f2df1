"""Data sets of the Hugging Face hub, by id and revision."""

from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from datasets import load_dataset
from datasets.exceptions import DatasetNotFoundError
from huggingface_hub.constants import HF_HUB_OFFLINE

from qatlab.errors import UserError
from qatlab.hub import commit_of, hub_errors_explained, patiently


def load_splits(
    name: str, subsets: list[str | None], split: str, revision: str, kind: str = "data"
) -> tuple[list[pd.DataFrame], str | None]:
    """One split of each subset as a table, all of one commit, and that commit (None without network on purpose).

    Raises:
        UserError: for an unknown name, subset, split or revision, or a hub that cannot be reached.
    """
    commit = commit_of(kind, name, revision)
    with hub_errors_explained(kind, name, revision):
        try:
            return [patiently(partial(_table, name, subset, split, commit or revision)) for subset in subsets], commit
        except DatasetNotFoundError as error:
            raise UserError(f"{kind} '{name}' (revision {revision}): {' '.join(str(error).split())}") from None
        except ValueError as error:  # unknown subset or split: the message lists the valid ones
            raise UserError(f"{kind} '{name}': {' '.join(str(error).split())}") from None


def load_split(
    name: str, subset: str | None, split: str, revision: str, kind: str = "data"
) -> tuple[pd.DataFrame, str | None]:
    """The same of one subset."""
    (table,), commit = load_splits(name, [subset], split, revision, kind)
    return table, commit


def _table(name: str, subset: str | None, split: str, revision: str) -> pd.DataFrame:
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
