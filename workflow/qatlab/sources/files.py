"""What a plan finds out about local training files: checksums, and counts of rows and of different texts."""

from pathlib import Path
from typing import Any

from qatlab.artifact import sha256_of
from qatlab.data.checksums import is_read
from qatlab.remembered import remembered
from qatlab.sources.source import Source


def look_at(source: Source, files: list[Path]) -> dict[str, Any]:
    """Read local files as training will, or only their bytes where they are very large.

    Args:
        files: those that the source reads.

    Returns:
        `sha256`, one per file, and `counts`: None for very large files, else `rows`, `kept`, and `distinct`: different texts by
        column. Remembered until a file changes.

    Raises:
        UserError: for files that cannot be read.
    """

    def find_out() -> dict[str, Any]:
        from qatlab.data.sample import kept_rows  # pandas: only a plan with local data pays for it

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

    answer: dict[str, Any] = remembered(f"training rows {source.model_dump_json()}", files, find_out)
    return answer
