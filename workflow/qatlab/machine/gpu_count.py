"""Number and compute capability of this machine's GPUs, from nvidia-smi, without any import that takes time."""

import os
import subprocess


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
