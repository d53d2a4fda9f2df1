"""Command push: upload a study's models to the Hugging Face hub, each to its own repository."""

import argparse
import os
from pathlib import Path

from qatlab.artifact import write_json
from qatlab.errors import UserError
from qatlab.progress import output_to
from qatlab.upload import repositories, token_from, upload


def main(arguments: list[str]) -> None:
    """Upload every folder of --models, and write their repositories and commits when all are uploaded.

    The token is read from the environment variable HF_TOKEN.
    """
    parser = argparse.ArgumentParser(
        prog="qatlab push",
        description="Upload a study's models to the Hugging Face hub, with the token in HF_TOKEN.",
    )
    parser.add_argument("--models", type=Path, required=True, help="folder of the models: results/studies/STUDY/models")
    parser.add_argument("--study", required=True, help="name of the study; repositories are OWNER/STUDY-RUN")
    parser.add_argument("--owner", required=True, help="user or organization that owns the repositories")
    parser.add_argument("--public", action="store_true", help="create public repositories (default: private)")
    parser.add_argument("--output", type=Path, required=True, help="file to write: repositories and commits")
    parser.add_argument("--log", type=Path, default=None, help="file for the output of libraries")
    options = parser.parse_args(arguments)
    folders = sorted(path for path in options.models.glob("*") if path.is_dir())
    if not folders:
        raise UserError(f"--models: '{options.models}' has no folders with models")
    names = repositories(options.owner, options.study, [folder.name for folder in folders])
    token = token_from(os.environ)
    options.output.unlink(missing_ok=True)  # The file must exist only if all models are uploaded.
    with output_to(options.log):
        pushed = {folder.name: upload(folder, names[folder.name], token, options.public) for folder in folders}
    write_json(options.output, {run: repository._asdict() for run, repository in pushed.items()})
