"""Base class and registry of the sources of training data, the rows that are kept, and what a plan computes of local files."""

import random
from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from qatlab.artifact import sha256_of
from qatlab.errors import UserError
from qatlab.registry import Name, Registered, Registry, Rows, ShuffleSeed, Skip
from qatlab.remembered import is_read, remembered

if TYPE_CHECKING:
    import pandas as pd


class DataManifest(BaseModel):
    """The manifest of a data artifact: what the stage `data` has written.

    Attributes:
        origin: what `Source.origin` returned.
        columns: names of the text columns.
        commit: commit of the hub that the rows come from; None for other sources.
    """

    model_config = ConfigDict(frozen=True)

    source: str
    name: str
    origin: Any = None
    rows: int
    columns: list[str]
    commit: str | None = None


class RowCounts(NamedTuple):
    """How many rows a source has, how many of them are kept, and the number of distinct kept texts by column."""

    rows: int
    kept: int
    distinct: dict[str, int]


class Source(Registered):
    """Base class of the sources of training data. A configuration chooses one by `data.source`.

    A subclass adds its fields, the names of its text columns, and the methods below. The modules of sources import libraries that
    read data inside these methods only, because the plan and other stages need just the fields.
    """

    source: str
    name: Annotated[Name, Field(description="Name of the data in tables.")]
    rows: Rows = None
    skip: Skip = 0
    shuffle_seed: ShuffleSeed = 0

    if TYPE_CHECKING:  # Some sources define it as a field, others as a property with a constant value.

        @property
        def columns(self) -> list[str]:
            """Return the names of the text columns that `load` returns."""

    @abstractmethod
    def load(self) -> "tuple[pd.DataFrame, str | None]":
        """Return all rows of the text columns in their stored order, and the hub commit that they come from (None for others).

        Raises:
            UserError: if the rows cannot be read.
        """

    @abstractmethod
    def describe(self, manifest: DataManifest) -> str:
        """Return the origin of the rows in Markdown, to continue the sentence 'fine-tuned on 1,024 rows (anchor, positive) …'.

        Args:
            manifest: the manifest of the data artifact.
        """

    def hub_ids(self) -> list[str] | None:
        """Return the ids of the hub data sets that the rows come from, for the metadata of model cards; None for other sources."""
        return None

    def counts(self) -> RowCounts | None:
        """Return the number of rows and of distinct texts if the plan can count them, else None."""
        return None


SOURCES: Registry[type[Source]] = Registry("source of training data", "qatlab.sources")


def kept_rows(count: int, seed: int, kept: int | None, skip: int = 0) -> list[int]:
    """Return the numbers of the rows to keep, in the shuffled order in which they are stored.

    Args:
        count: number of rows of the table.
        seed: random seed of the shuffle.
        kept: number of rows to keep; None keeps all.
        skip: number of shuffled rows before those that are kept.
    """
    order = list(range(count))
    random.Random(seed).shuffle(order)
    return order[skip:][:kept]


def check_count(name: str, count: int, kept: int | None, skip: int = 0) -> None:
    """Raise a UserError if a data set has no rows, or fewer rows than are to be kept.

    Args:
        name: name of the data set, for messages.
        count: number of rows of the data set.
        kept: number of rows to keep; None keeps all.
        skip: number of rows that are left out before them.
    """
    if skip and count < skip + (kept or 1):
        raise UserError(
            f"data '{name}' has {count} rows, fewer than the {skip} that are skipped, or that an earlier training uses, and the "
            f"{kept or 1} after them; lower data.rows, data.skip or method.start_from.rows"
        )
    if count == 0:
        raise UserError(f"data '{name}' has no rows")
    if kept is not None and count < kept:
        raise UserError(f"data '{name}' has {count} rows, fewer than data.rows={kept}; data.rows=null takes all rows")


class Inspection(NamedTuple):
    """The hexadecimal SHA-256 digest of each file, and the counts of rows; None for very large files."""

    sha256: list[str]
    counts: RowCounts | None


def inspect_files(source: Source, files: list[Path]) -> Inspection:
    """Compute the checksums of local files, and count their rows unless the files are very large.

    Args:
        source: the source of training data, which loads the rows as training will.
        files: the files that the source reads.

    Returns:
        The digests and the counts, which are cached until a file changes.

    Raises:
        UserError: if a file cannot be read.
    """

    def inspect() -> list[object]:
        if not is_read(files, "data"):
            return [[sha256_of(file) for file in files], None]
        table, _ = source.load()
        kept = table.iloc[kept_rows(len(table), source.shuffle_seed, source.rows, source.skip)]
        distinct = {column: int(kept[column].nunique()) for column in kept.columns}
        return [[sha256_of(file) for file in files], RowCounts(len(table), len(kept), distinct)]

    digests, counts = remembered(f"training rows {source.model_dump_json()}", files, inspect)
    return Inspection(digests, RowCounts(*counts) if counts is not None else None)
