"""Secrets in the environment of all that runs in copies of the project, and a search for them in what it has written."""

import base64
from collections.abc import Iterator
from pathlib import Path

PLANTED = {"HF_TOKEN": "hf_PlantedForTheTestsOfSecrets", "WANDB_API_KEY": "0123planted4567planted89abcdef"}


def forms(secret: str) -> Iterator[bytes]:
    """A text as it may stand in a file: as it is, or within base64, where it begins at any of three places."""
    yield secret.encode()
    for before in range(3):
        encoded = base64.b64encode(b"x" * before + secret.encode())
        yield encoded[4 if before else 0 : len(encoded) - 4]


def files_with_secrets(folder: Path) -> list[Path]:
    """Those below a folder that hold any form of them."""
    secrets = {form for secret in PLANTED.values() for form in forms(secret)}
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path for path in files if any(secret in path.read_bytes() for secret in secrets)]
