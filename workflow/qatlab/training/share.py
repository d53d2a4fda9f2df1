"""What a training process has of its machine: a GPU, or some of the processor's cores; and the processes it trains with."""

from accelerate import PartialState

from qatlab.config.trainer import TrainerConfig
from qatlab.training.device import device_name, use_threads
from qatlab.training.gpu import claim_gpu, visible_gpus
from qatlab.training.worker_folder import is_worker


def take_share(config: TrainerConfig, threads: int | None) -> None:
    """Claims a GPU and threads, or in one of several processes takes its own of those that their launcher has claimed.

    Args:
        threads: of the processor, on this machine, where the configuration does not say.
    """
    several = config.distributed.in_all > 1
    if several != is_worker():
        raise RuntimeError("several processes are started by qatlab.training.launch, as `python -m qatlab train` does")
    if several:
        PartialState(cpu=device_name() == "cpu")  # gloo or nccl; each process has the GPU of its number
    else:
        claim_gpu(visible_gpus())
    use_threads(config.threads or threads, config.distributed.processes)
