"""Download of models from the Hugging Face hub: safetensors and plain files only, never remote code."""

from pathlib import Path

from huggingface_hub import snapshot_download

from qatlab.hub import hub_errors_explained, with_retries

ALLOWED_FILES = ["*.safetensors", "*.json", "*.txt", "*.model", "**/*.json", "**/*.safetensors"]
IGNORED_FILES = ["onnx/*", "openvino/*"]


def download(name: str, revision: str) -> Path:
    """Download a model and return the folder of its snapshot; a complete snapshot in the cache is not downloaded again.

    Raises:
        UserError: if the hub does not have the model or cannot be reached; the message names the alternatives.
    """
    with hub_errors_explained("model", name, revision):
        folder = with_retries(
            lambda: snapshot_download(
                name, revision=revision, allow_patterns=ALLOWED_FILES, ignore_patterns=IGNORED_FILES
            )
        )
    return Path(folder)
