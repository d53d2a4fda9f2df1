"""The CPU and the GPUs of this machine: their names and features, and which GPUs a job has claimed.

PyTorch is imported only by the functions that need it, because workflows count GPUs without it. How many GPUs a job receives is decided
by `gpus` in workflow/rules/resources.smk.
"""

import fcntl
import os
import platform
import re
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO

from qatlab.errors import UserError


def device_name() -> str:
    """Return 'cuda' if torch can use a GPU, otherwise 'cpu'."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def has_bf16() -> bool:
    """Return whether the GPU, or else the CPU, has bfloat16 matrix products in hardware (Ampere or later, AVX512-BF16, AMX)."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(bool(getattr(torch.cpu, check, bool)()) for check in checks)


def use_threads(threads: int | None, processes: int = 1) -> None:
    """Set the number of CPU threads that torch uses.

    Args:
        threads: Number of threads of all processes together; None for the number that torch uses by default.
        processes: Number of processes on this machine that share the threads.
    """
    import torch

    if processes > 1:
        threads = max((threads or torch.get_num_threads()) // processes, 1)
    if threads is not None:
        torch.set_num_threads(threads)


def peak_memory_bytes() -> int:
    """Return the peak memory in bytes so far: of PyTorch's CUDA allocator on a GPU, resident in this process on a CPU."""
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def describe_device(device: str | None = None) -> str:
    """Return the name of the GPU, or the CPU's instruction set and number of threads as torch reports them.

    Args:
        device: 'cuda' or 'cpu'; None for the device of `device_name`.
    """
    import torch

    if (device or device_name()) == "cuda":
        return torch.cuda.get_device_name()
    return f"cpu ({torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads)"


SATURATING = ("avx512f", "avx2")  # features whose 8-bit products saturate at 16 bits
# Features by the names in cpuinfo, the fastest first: the matrix and dot-product instructions of x86, then those of Arm.
KERNELS = ("amx_int8", "avx512_vnni", "avx_vnni", "avx512f", "avx2", "i8mm", "asimddp")
CPUINFO = Path("/proc/cpuinfo")


def features(cpuinfo: Path = CPUINFO) -> list[str]:
    """Return the features of KERNELS that the CPU has, the fastest first; an empty list on systems other than Linux."""
    if not cpuinfo.exists():
        return []
    flags = re.search(r"^(?:flags|Features)\s*:(.*)$", cpuinfo.read_text(encoding="utf-8"), re.MULTILINE)
    listed = set(flags.group(1).split()) if flags else set()
    return [name for name in KERNELS if name in listed]


def integer_kernel(cpu_features: list[str], exact_products: bool = False) -> str:
    """Return the name of the integer kernel that runtimes use on a CPU, or the CPU's architecture if its features are unknown.

    avx2 and avx512f lack VNNI: products of unsigned and signed bytes are accumulated in 16 bits and saturate, unless the runtime is
    configured to compute exact products
    (https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html).

    Args:
        cpu_features: The result of `features`.
        exact_products: Whether the runtime computes exact products on CPUs without VNNI.
    """
    kernel = cpu_features[0] if cpu_features else platform.machine()
    return f"{kernel}, exact" if exact_products and kernel in SATURATING else kernel


def count_gpus() -> int:
    """Count the GPUs of this machine, or those that CUDA_VISIBLE_DEVICES lists, without creating a CUDA context."""
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    installed = len(capabilities())
    return installed if listed is None else min(installed, len([name for name in listed.split(",") if name.strip()]))


def capabilities() -> list[str]:
    """Return the CUDA compute capability of each GPU, such as '9.0', as nvidia-smi reports it; empty without nvidia-smi."""
    command = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.split()
    except (OSError, subprocess.SubprocessError):
        return []


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
