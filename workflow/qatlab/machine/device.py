"""Facts of the machine a training runs on."""

import resource
import sys


def device_name() -> str:
    """'cuda' or 'cpu': a GPU is used where there is one."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def has_bf16() -> bool:
    """Whether bfloat16 matrix products run in hardware here (AVX512-BF16, AMX, or a GPU from Ampere on)."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(bool(getattr(torch.cpu, check, bool)()) for check in checks)


def use_threads(threads: int | None, processes: int = 1) -> None:
    """Lets torch use this many processor threads; all where None.

    Args:
        processes: that share them on this machine.
    """
    import torch

    if processes > 1:
        threads = max((threads or torch.get_num_threads()) // processes, 1)
    if threads is not None:
        torch.set_num_threads(threads)


def peak_memory_bytes() -> int:
    """Most memory held so far: by PyTorch's CUDA allocator on a GPU, resident in this process on a CPU."""
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def describe_device(device: str | None = None) -> str:
    """The GPU's name, or the processor's instruction set as torch sees it; of what torch would choose by default."""
    import torch

    if (device or device_name()) == "cuda":
        return torch.cuda.get_device_name()
    return f"cpu ({torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads)"
