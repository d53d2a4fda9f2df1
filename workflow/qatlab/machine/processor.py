"""What this machine's processor multiplies 8-bit integers with: the same int8 file gives other embeddings on another."""

import platform
import re
from pathlib import Path

# From the fastest on, as cpuinfo names them: x86's matrix and dot-product instructions, then Arm's.
SATURATING = ("avx512f", "avx2")
KERNELS = ("amx_int8", "avx512_vnni", "avx_vnni", "avx512f", "avx2", "i8mm", "asimddp")
CPUINFO = Path("/proc/cpuinfo")


def features(cpuinfo: Path = CPUINFO) -> list[str]:
    """Those of KERNELS that the processor has; none where the system does not say (it is not Linux)."""
    if not cpuinfo.exists():
        return []
    flags = re.search(r"^(?:flags|Features)\s*:(.*)$", cpuinfo.read_text(encoding="utf-8"), re.MULTILINE)
    listed = set(flags.group(1).split()) if flags else set()
    return [name for name in KERNELS if name in listed]


def integer_kernel(found: list[str], exact_products: bool = False) -> str:
    """What runtimes use of these features; the architecture where they are not known.

    avx2 and avx512f have no VNNI: there the product of unsigned and signed bytes is added up in 16 bits, and saturates,
    unless exact products are asked for.
    Reference: https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
    """
    kernel = found[0] if found else platform.machine()
    return f"{kernel}, exact" if exact_products and kernel in SATURATING else kernel
