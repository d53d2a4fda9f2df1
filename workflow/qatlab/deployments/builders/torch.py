"""Builder of PyTorch deployments: the unchanged model in float32 or bfloat16, or with an appended rotation of its embeddings."""

from pathlib import Path

from qatlab.artifact import link_or_copy_tree
from qatlab.deployments.torch import TorchDeployment
from qatlab.machine.hardware import claim_gpu, device_name, use_threads, visible_gpus


def deploy(source: Path, target: Path, config: TorchDeployment, data: Path | None, threads: int | None) -> None:
    """Write the folder of a PyTorch deployment; an unchanged model shares its files if the file system allows hard links.

    Args:
        source: folder of the trained model.
        target: the folder to write.
        config: data type and rotation.
        data: folder of the data artifact with the training documents, for a rotation.
        threads: number of CPU threads; None for all.
    """
    if not config.rotated and config.dtype == "float32":
        link_or_copy_tree(source, target)
        return
    from qatlab.models.embedding import append_rotation, load_model

    if config.rotated:
        claim_gpu(visible_gpus())
    use_threads(threads)
    model = load_model(source, device_name() if config.rotated else "cpu", config.dtype)
    if config.rotated:
        assert config.rotation is not None
        assert data is not None
        append_rotation(model, source, config.rotation, data)
    model.save_pretrained(str(target), safe_serialization=True, create_model_card=False)
