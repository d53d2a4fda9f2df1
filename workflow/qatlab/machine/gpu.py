"""Claim of GPUs by a job, so that jobs on a machine with several GPUs use different ones."""

import fcntl
import os
import tempfile
from pathlib import Path
from typing import IO

from qatlab.errors import UserError

_held: list[IO[str]] = []  # An open lock file keeps its lock until the process ends, even if it is killed.


def claim_gpu(visible: list[str], locks: Path | None = None) -> str | None:
    """Claim one GPU as `claim_gpus` does.

    Args:
        visible: Names of the GPUs for CUDA_VISIBLE_DEVICES.
        locks: Folder of the lock files; the machine's temporary folder by default.

    Returns:
        The name of the GPU, or None on a machine without GPUs.
    """
    return next(iter(claim_gpus(visible, 1, locks)), None)


def claim_gpus(visible: list[str], wanted: int, locks: Path | None = None) -> list[str]:
    """Claim the first GPUs that no other qatlab job on this machine has, and make them the only ones that this process sees.

    The function must run before CUDA is initialized. Where too few GPUs are free, because the profile allows more jobs than there
    are GPUs, the first ones are shared. A scheduler that assigned exactly the wanted number to this job leaves no choice.

    Args:
        visible: Names of the GPUs for CUDA_VISIBLE_DEVICES.
        wanted: Number of GPUs, one for each process of the job on this machine.
        locks: Folder of the lock files; the machine's temporary folder by default.

    Returns:
        The names of the claimed GPUs; an empty list on a machine without GPUs.

    Raises:
        UserError: If the machine has GPUs, but fewer than wanted.
    """
    if not visible:
        return []
    if len(visible) < wanted:
        raise UserError(
            f"trainer.distributed.processes={wanted} needs {wanted} GPUs on each node, but {len(visible)} can be used here; "
            f"set at most {len(visible)} processes"
        )
    folder = Path(tempfile.gettempdir()) if locks is None else locks
    chosen: list[str] = []
    for name in visible:
        if len(chosen) < wanted and _try_lock(folder / f"qatlab-gpu-{name}.lock"):
            chosen.append(name)
    chosen += [name for name in visible if name not in chosen][: wanted - len(chosen)]
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(chosen)
    return chosen


def visible_gpus() -> list[str]:
    """Return the GPUs that CUDA_VISIBLE_DEVICES lists, or all GPUs of the machine, counted without initializing CUDA."""
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
