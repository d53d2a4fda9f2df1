"""One GPU for one job: jobs on a machine with several don't land on the same one."""

import fcntl
import os
import tempfile
from pathlib import Path
from typing import IO

_held: list[IO[str]] = []  # an open lock file holds its lock until the process ends, however it ends


def claim_gpu(visible: list[str], locks: Path | None = None) -> str | None:
    """Takes the first GPU that no other qatlab job on this machine has, and makes it the only one this process sees.

    Must run before CUDA is initialized. Where all are taken, the profile has allowed more jobs than there are GPUs:
    the first is shared. A scheduler that gave this job one GPU leaves nothing to choose.

    Args:
        visible: the GPUs' names for CUDA_VISIBLE_DEVICES.
        locks: where lock files stand; the machine's temporary folder by default.

    Returns:
        The chosen GPU, or None where there is none.
    """
    if not visible:
        return None
    folder = Path(tempfile.gettempdir()) if locks is None else locks
    chosen = next((name for name in visible if _try_lock(folder / f"qatlab-gpu-{name}.lock")), visible[0])
    os.environ["CUDA_VISIBLE_DEVICES"] = chosen
    return chosen


def visible_gpus() -> list[str]:
    """What CUDA_VISIBLE_DEVICES lists, or all GPUs of the machine (counted without initializing CUDA)."""
    import torch

    count = torch.cuda.device_count()
    listed = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return (listed or [str(index) for index in range(count)])[:count]


def _try_lock(path: Path) -> bool:
    stream = path.open("a")
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        stream.close()
        return False
    _held.append(stream)
    return True
