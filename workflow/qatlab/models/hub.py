"""Models of the Hugging Face hub: safetensors and plain files only, never remote code."""

from pathlib import Path

from huggingface_hub import snapshot_download

from qatlab.hub import hub_errors_explained, patiently

ALLOWED_FILES = ["*.safetensors", "*.json", "*.txt", "*.model", "**/*.json", "**/*.safetensors"]
IGNORED_FILES = ["onnx/*", "openvino/*"]


def download(name: str, revision: str) -> Path:
    """The local snapshot of a model (from the cache where it is complete); raises UserError with a way out."""
    with hub_errors_explained("model", name, revision):
        folder = patiently(
            lambda: snapshot_download(
                name, revision=revision, allow_patterns=ALLOWED_FILES, ignore_patterns=IGNORED_FILES
            )
        )
    return Path(folder)
