"""Recognition of errors caused by a full disk, which libraries report in different ways or not at all."""

import errno
import shutil
from pathlib import Path

from qatlab.errors import UserError

FULL = (errno.ENOSPC, errno.EDQUOT)
NO_SPACE = "No space left"
LITTLE = 64 * 1024  # bytes; with less free space, a failed write is attributed to the full disk


def full(error: BaseException, folder: Path) -> UserError | None:
    """Return a one-line error for an error that a full disk caused, and None for other errors.

    Args:
        error: The error, whose causes are examined too.
        folder: A folder on the disk that was written to; it need not exist.
    """
    line = UserError(
        f"no space is left on the disk of {folder.absolute().parent}; free some space, and start the command again"
    )
    cause: BaseException | None = error
    while cause is not None:
        if getattr(cause, "errno", None) in FULL or NO_SPACE in str(cause):
            return line
        cause = cause.__cause__ or cause.__context__
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return line if isinstance(error, Exception) and shutil.disk_usage(existing).free < LITTLE else None
