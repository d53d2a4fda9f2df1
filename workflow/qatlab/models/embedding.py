"""Loading of embedding models from Sentence Transformers folders."""

from pathlib import Path
from typing import Any

from sentence_transformers import SentenceTransformer

from qatlab.models.safe_folder import check_folder, code_refused


def load_model(
    folder: Path, device: str = "cpu", dtype: str | None = None, config: dict[str, object] | None = None
) -> SentenceTransformer:
    """Load a model from safetensors only, without running code of the folder.

    Args:
        folder: a Sentence Transformers folder, or the folder of a plain encoder, which gets mean pooling.
        device: cpu or cuda.
        dtype: data type of the weights, such as float32; None keeps that of the files.
        config: values that replace those of the model's config.json, by key.

    Raises:
        UserError: for a folder that needs custom code, or has pickled weights.
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
    if getattr(tokenizer, "pad_token", "") is None:  # Decoders that were never trained on batches have none.
        tokenizer.pad_token = tokenizer.eos_token
    return model
