"""Checksums and row counts of local training files, which the plan computes before any job starts."""

from pathlib import Path
from typing import Any

from qatlab.artifact import sha256_of
from qatlab.data.checksums import is_read
from qatlab.remembered import remembered
from qatlab.sources.source import Source


def inspect_files(source: Source, files: list[Path]) -> dict[str, Any]:
    """Compute the checksums of local files, and count their rows unless the files are very large.

    Args:
        source: the source of training data, which loads the rows as training will.
        files: the files that the source reads.

    Returns:
        A dictionary with `sha256`, one hexadecimal digest per file, and `counts`: None for very large files, else `rows` (rows of
        the files), `kept` (rows that training uses) and `distinct` (number of distinct kept texts by column). The result is
        cached until a file changes.

    Raises:
        UserError: if a file cannot be read.
    """

    def inspect() -> dict[str, Any]:
        from qatlab.data.sample import kept_rows  # It imports pandas, which only a plan with local data needs.

        if not is_read(files, "data"):
            return {"sha256": [sha256_of(file) for file in files], "counts": None}
        table, _ = source.load()
        kept = table.iloc[kept_rows(len(table), source.shuffle_seed, source.rows)]
        counts = {
            "rows": len(table),
            "kept": len(kept),
            "distinct": {column: int(kept[column].nunique()) for column in kept.columns},
        }
        return {"sha256": [sha256_of(file) for file in files], "counts": counts}

    result: dict[str, Any] = remembered(f"training rows {source.model_dump_json()}", files, inspect)
    return result
