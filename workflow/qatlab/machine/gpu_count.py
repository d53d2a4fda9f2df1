"""The GPUs of this machine, for jobs on clusters to count without importing what a plan needs."""

import os
import subprocess


def count_gpus() -> int:
    """This machine's, or those of them that CUDA_VISIBLE_DEVICES lists. Asks no CUDA context."""
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    there = len(capabilities())
    return there if listed is None else min(there, len([name for name in listed.split(",") if name.strip()]))


def capabilities() -> list[str]:
    """The CUDA compute capability of each, such as 9.0, as nvidia-smi says it."""
    command = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.split()
    except (OSError, subprocess.SubprocessError):
        return []
