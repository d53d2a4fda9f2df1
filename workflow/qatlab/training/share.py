"""Resources of a training process: a GPU or CPU threads, and the group of processes that it trains with."""

import os
from typing import Any

import torch
from accelerate import PartialState

from qatlab.config.trainer import TrainerConfig
from qatlab.machine.hardware import claim_gpu, device_name, use_threads, visible_gpus
from qatlab.training.worker_folder import is_worker

# Prefix of variables for precision, accumulation and more, which `accelerate launch` sets, or an earlier training in this process.
FOREIGN = "ACCELERATE_"


def claim_resources(config: TrainerConfig, threads: int | None) -> None:
    """Claim a GPU and threads; a process of a distributed training takes its share of those that its launcher has claimed.

    Variables that accelerate would read are removed from the environment, because the configuration alone determines how a model is
    trained. Transformers' training arguments write `bf16` there, and read it if it is not passed to them.

    Args:
        config: the trainer's configuration.
        threads: number of CPU threads on this machine if the configuration does not set it; None for all.
    """
    for name in [name for name in os.environ if name.startswith(FOREIGN)]:
        del os.environ[name]
    is_distributed = config.distributed.in_all > 1
    if is_distributed != is_worker():
        raise RuntimeError("several processes are started by qatlab.training.launch, as `python -m qatlab train` does")
    if is_distributed:
        PartialState(cpu=device_name() == "cpu")  # gloo or nccl; each process has the GPU of its number
        # Accelerate (1.15) names the CPU cpu:0, to which torch.load cannot map the tensors of a checkpoint.
        torch.serialization.register_package(0, lambda storage: None, _on_cpu)
    else:
        claim_gpu(visible_gpus())
    use_threads(config.threads or threads, config.distributed.processes)


def _on_cpu(storage: Any, location: str) -> Any:
    """Return the loaded storage unchanged for the CPU, and None for other devices, which PyTorch's own functions handle."""
    return storage if location.startswith("cpu:") else None
