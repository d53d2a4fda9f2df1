"""What a training process has of its machine: a GPU, or some of the processor's cores; and the processes it trains with."""

import os
from typing import Any

import torch
from accelerate import PartialState

from qatlab.config.trainer import TrainerConfig
from qatlab.machine.device import device_name, use_threads
from qatlab.machine.gpu import claim_gpu, visible_gpus
from qatlab.training.worker_folder import is_worker

FOREIGN = "ACCELERATE_"  # precision, accumulation and more, as `accelerate launch` tells them, or an earlier training in this process


def take_share(config: TrainerConfig, threads: int | None) -> None:
    """Claims a GPU and threads, or in one of several processes takes its own of those that their launcher has claimed.

    What accelerate would read from the environment is taken out of it: the configuration alone says how a model is trained.
    Transformers' training arguments put `bf16` there, and read it where they are told none.

    Args:
        threads: of the processor, on this machine, where the configuration does not say.
    """
    for name in [name for name in os.environ if name.startswith(FOREIGN)]:
        del os.environ[name]
    several = config.distributed.in_all > 1
    if several != is_worker():
        raise RuntimeError("several processes are started by qatlab.training.launch, as `python -m qatlab train` does")
    if several:
        PartialState(cpu=device_name() == "cpu")  # gloo or nccl; each process has the GPU of its number
        # Accelerate (1.15) calls the processor cpu:0, by which name torch.load cannot put a checkpoint's tensors there.
        torch.serialization.register_package(0, lambda storage: None, _on_processor)
    else:
        claim_gpu(visible_gpus())
    use_threads(config.threads or threads, config.distributed.processes)


def _on_processor(storage: Any, location: str) -> Any:
    """What is loaded, where it is; None for other places, which PyTorch then asks others about."""
    return storage if location.startswith("cpu:") else None
