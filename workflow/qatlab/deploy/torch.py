"""The trained model as it is, in float32; or with a rotation of its embeddings appended."""

from pathlib import Path

from qatlab.artifact import link_or_copy_tree
from qatlab.config.precision import FittedRotationConfig


def deploy(
    source: Path, target: Path, rotation: FittedRotationConfig | None, data: Path | None, threads: int | None
) -> None:
    """The same folder again, its files shared where the file system allows; or a rotated model's own folder.

    Args:
        data: the data artifact with the training documents, for a rotation.
    """
    if rotation is None or rotation.kind == "none":
        link_or_copy_tree(source, target)
        return
    assert data is not None
    from sentence_transformers import SentenceTransformer

    from qatlab.models.rotated import append_rotation
    from qatlab.training.device import device_name, use_threads
    from qatlab.training.gpu import claim_gpu, visible_gpus

    claim_gpu(visible_gpus())
    use_threads(threads)
    model = SentenceTransformer(
        str(source), device=device_name(), trust_remote_code=False, model_kwargs={"use_safetensors": True}
    )
    append_rotation(model, source, rotation, data)
    model.save_pretrained(str(target), safe_serialization=True, create_model_card=False)
