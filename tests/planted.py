"""Secrets in the environment of commands that run in copies of the project, and a search for them in the files written."""

import base64
from collections.abc import Iterator
from pathlib import Path

PLANTED = {"HF_TOKEN": "hf_PlantedForTheTestsOfSecrets", "WANDB_API_KEY": "0123planted4567planted89abcdef"}


def encodings(secret: str) -> Iterator[bytes]:
    """Yield the ways in which a text can be contained in a file: unchanged, and in base64 at each of the three alignments."""
    yield secret.encode()
    for before in range(3):
        encoded = base64.b64encode(b"x" * before + secret.encode())
        yield encoded[4 if before else 0 : len(encoded) - 4]


def files_with_secrets(folder: Path) -> list[Path]:
    """Return the files below a folder that contain a secret in any encoding."""
    secrets = {encoding for secret in PLANTED.values() for encoding in encodings(secret)}
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path for path in files if any(secret in path.read_bytes() for secret in secrets)]
