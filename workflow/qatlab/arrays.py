"""Safe reading of NumPy files: arrays of objects are pickles, which run code when they are read, so they are refused."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from qatlab.errors import UserError


def load_array(path: Path, mapped: bool = False) -> np.ndarray:
    """Load the array of a .npy file.

    Args:
        path: the file.
        mapped: whether to map the file into memory, for files that do not fit in it, instead of reading it.

    Raises:
        UserError: if the file holds anything else than an array of numbers.
    """
    with pickles_refused(path):
        array: np.ndarray = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    return array


@contextmanager
def pickles_refused(path: Path) -> Iterator[None]:
    """Convert NumPy's errors for pickles and truncated files into a UserError."""
    try:
        yield
    except (ValueError, EOFError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"{path} holds no valid array of numbers ({reason[:80]}); delete {path.parent} and run again"
        ) from None
