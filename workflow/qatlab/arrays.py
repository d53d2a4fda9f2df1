"""NumPy files of numbers. Those of objects are pickles, which run code when they are read: they are not read."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from qatlab.errors import UserError


def load_array(path: Path, mapped: bool = False) -> np.ndarray:
    """The array of a .npy file; raises UserError for one that holds anything else.

    Args:
        path: the file.
        mapped: leave it on disk, and read what is computed with: for files that need not fit in memory.
    """
    with numbers_alone(path):
        array: np.ndarray = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    return array


@contextmanager
def numbers_alone(path: Path) -> Iterator[None]:
    """Turns NumPy's refusal to read a file's pickles, or a file that is cut off, into a UserError."""
    try:
        yield
    except (ValueError, EOFError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"{path} holds no numbers ({reason[:80]}); delete {path.parent} and run again") from None
