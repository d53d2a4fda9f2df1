"""Checksums and row counts of local training files, which the plan computes before any job starts."""

from pathlib import Path
from typing import NamedTuple

from qatlab.artifact import sha256_of
from qatlab.remembered import is_read, remembered
from qatlab.sources.source import RowCounts, Source


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
        from qatlab.config.trainer import kept_rows  # It imports pandas, which only a plan with local data needs.

        if not is_read(files, "data"):
            return [[sha256_of(file) for file in files], None]
        table, _ = source.load()
        kept = table.iloc[kept_rows(len(table), source.shuffle_seed, source.rows)]
        distinct = {column: int(kept[column].nunique()) for column in kept.columns}
        return [[sha256_of(file) for file in files], RowCounts(len(table), len(kept), distinct)]

    digests, counts = remembered(f"training rows {source.model_dump_json()}", files, inspect)
    return Inspection(digests, RowCounts(*counts) if counts is not None else None)
