"""Device, threads and memory of the process that trains or encodes with torch."""

import resource
import sys


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
