"""Embedding models, as folders of Sentence Transformers."""

from pathlib import Path
from typing import Any

from sentence_transformers import SentenceTransformer

from qatlab.models.safe_folder import check_folder, code_refused


def load_model(
    folder: Path, device: str = "cpu", dtype: str | None = None, config: dict[str, Any] | None = None
) -> SentenceTransformer:
    """The model of a folder: safetensors only, no code of the folder's own.

    Args:
        folder: a Sentence Transformers folder, or a plain encoder's, which gets mean pooling.
        device: cpu or cuda.
        dtype: of the weights, such as float32; None for that of the files.
        config: keys of the model's config.json that are to have other values.

    Raises:
        UserError: for a folder that needs code of its own, or has pickled weights.
    """
    name = folder.parent.name if folder.name == "model" else folder.name
    check_folder(folder, name)
    with code_refused(name):
        model = SentenceTransformer(
            str(folder),
            device=device,
            trust_remote_code=False,
            model_kwargs={"use_safetensors": True} | ({"dtype": dtype} if dtype else {}),
            config_kwargs=config,
        )
    tokenizer: Any = getattr(model[0], "tokenizer", None)
    if getattr(tokenizer, "pad_token", "") is None:  # of decoders that were never trained on batches
        tokenizer.pad_token = tokenizer.eos_token
    return model
