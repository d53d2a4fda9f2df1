"""GPUs for one job: jobs on a machine with several don't land on the same ones."""

import fcntl
import os
import tempfile
from pathlib import Path
from typing import IO

from qatlab.errors import UserError

_held: list[IO[str]] = []  # an open lock file holds its lock until the process ends, however it ends


def claim_gpu(visible: list[str], locks: Path | None = None) -> str | None:
    """Takes one GPU, as `claim_gpus` does; None where there is none."""
    return next(iter(claim_gpus(visible, 1, locks)), None)


def claim_gpus(visible: list[str], wanted: int, locks: Path | None = None) -> list[str]:
    """Takes the first GPUs that no other qatlab job on this machine has, and makes them the only ones this process sees.

    Must run before CUDA is initialized. Where too many are taken, the profile has allowed more jobs than there are GPUs:
    the first are shared. A scheduler that gave this job as many as it wants leaves nothing to choose.

    Args:
        visible: the GPUs' names for CUDA_VISIBLE_DEVICES.
        wanted: one for each of the job's processes on this machine.
        locks: where lock files stand; the machine's temporary folder by default.

    Returns:
        The chosen GPUs; none on a machine without.

    Raises:
        UserError: where a machine has GPUs, but fewer than are wanted.
    """
    if not visible:
        return []
    if len(visible) < wanted:
        raise UserError(
            f"trainer.distributed.processes={wanted} needs as many GPUs on each node; {len(visible)} can be used here"
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
