"""push: a study's models to the Hugging Face hub, each to a repository of its own."""

import argparse
import os
from pathlib import Path

from qatlab.artifact import write_json
from qatlab.errors import UserError
from qatlab.progress import output_to
from qatlab.upload import repositories, token_from, upload


def main(arguments: list[str]) -> None:
    """Uploads every folder of --models; writes what was pushed when all are there. The token is HF_TOKEN of the environment."""
    parser = argparse.ArgumentParser(
        prog="qatlab push",
        description="Upload a study's models to the Hugging Face hub, with the token that HF_TOKEN has.",
    )
    parser.add_argument("--models", type=Path, required=True, help="results/studies/STUDY/models")
    parser.add_argument("--study", required=True, help="repositories are OWNER/STUDY-RUN")
    parser.add_argument("--owner", required=True, help="the user or organization that they go to")
    parser.add_argument("--public", action="store_true", help="make public repositories (default: private)")
    parser.add_argument("--output", type=Path, required=True, help="file to write: repositories and commits")
    parser.add_argument("--log", type=Path, default=None, help="file for everything that libraries print")
    options = parser.parse_args(arguments)
    folders = sorted(path for path in options.models.glob("*") if path.is_dir())
    if not folders:
        raise UserError(f"--models: '{options.models}' has no folders with models")
    names = repositories(options.owner, options.study, [folder.name for folder in folders])
    token = token_from(os.environ)
    options.output.unlink(missing_ok=True)  # it says that all of them are there
    with output_to(options.log):
        pushed = {folder.name: upload(folder, names[folder.name], token, options.public) for folder in folders}
    write_json(options.output, {run: made._asdict() for run, made in pushed.items()})
