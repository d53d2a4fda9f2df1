"""Instructions with which this machine's CPU multiplies 8-bit integers; embeddings of an int8 model depend on them."""

import platform
import re
from pathlib import Path

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
