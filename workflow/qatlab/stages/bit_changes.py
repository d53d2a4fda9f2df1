"""Stage bit_changes: share of the bits in which one model's encoding of a task differs from another's."""

from pathlib import Path

import numpy as np

from qatlab.artifact import load_array, write_json
from qatlab.errors import UserError
from qatlab.job import JobDescription

TABLES = ("documents", "queries")
ROWS_AT_ONCE = 8192


def run(description: JobDescription, inputs: dict[str, Path], output: Path, threads: int | None) -> None:
    """Write bit_changes.json: the shares of `documents` and `queries` bits that differ, and `bits`, their number per embedding.

    A bit is 1 where the value is above 0, as in the grid `binary`.
    """
    shares: dict[str, object] = {}
    for name in TABLES:
        before, after = (load_array(inputs[role] / f"{name}.npy", mapped=True) for role in ("reference", "encode"))
        if before.shape != after.shape:
            raise UserError(
                f"the bits of {before.shape[0]:,} {name} of {before.shape[1]} dimensions and of {after.shape[0]:,} of "
                f"{after.shape[1]} cannot be compared; put methods with other dimensions into a separate study"
            )
        shares[name] = share_changed(before, after)
        shares["bits"] = before.shape[1]
    write_json(output / "bit_changes.json", shares)


def share_changed(before: np.ndarray, after: np.ndarray) -> float:
    """Compute the share of signs that differ between two arrays of embeddings, both (n, dim), a block of rows at a time."""
    changed = 0
    for start in range(0, len(before), ROWS_AT_ONCE):
        block = slice(start, start + ROWS_AT_ONCE)
        changed += int(np.count_nonzero((before[block] > 0) != (after[block] > 0)))
    return changed / before.size
