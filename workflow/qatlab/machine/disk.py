"""Whether an error is that of a full disk, which libraries say in many ways, or not at all."""

import errno
import shutil
from pathlib import Path

from qatlab.errors import UserError

FULL = (errno.ENOSPC, errno.EDQUOT)
SAID = "No space left"
LITTLE = 64 * 1024  # bytes; what fails to write then, fails for want of space


def full(error: BaseException, folder: Path) -> UserError | None:
    """One line for an error that a full disk has caused; None for others.

    Args:
        folder: on the disk that was written to.
    """
    line = UserError(f"no space is left on the disk that holds {folder.absolute().parent}; make some, and start again")
    seen: BaseException | None = error
    while seen is not None:
        if getattr(seen, "errno", None) in FULL or SAID in str(seen):
            return line
        seen = seen.__cause__ or seen.__context__
    exists = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return line if isinstance(error, Exception) and shutil.disk_usage(exists).free < LITTLE else None
