"""Command init: write the workflow and its configuration into a folder, in which studies run with the installed qatlab."""

import argparse
import shlex
import shutil
from pathlib import Path

from qatlab.errors import UserError

PARTS = (
    "Snakefile",
    "conf",
    "config",
    "envs",
    "profiles",
    "results/published",
    "workflow/Snakefile",
    "workflow/rules",
    "workflow/report",
)


def main(arguments: list[str]) -> None:
    """Write the folder; raise a UserError if a file or folder would be overwritten."""
    parser = argparse.ArgumentParser(
        prog="qatlab init", description="Write the workflow and its configuration into a folder, to run studies there."
    )
    parser.add_argument("folder", type=Path, help="folder to write; existing files are not overwritten")
    folder = parser.parse_args(arguments).folder
    for part in PARTS:
        if (folder / part).exists():
            raise UserError(f"'{folder / part}' exists; name another folder")
    copy_project(project(), folder)
    print(f"Studies are in {folder / 'conf' / 'study'}; add your own there. To run the first one:")
    print(f"  cd {shlex.quote(str(folder))} && snakemake --cores all")


def project() -> Path:
    """Return the folder of the workflow: inside the package if a wheel installed it, or the root of a checkout.

    Raises:
        UserError: if the installation has no workflow.
    """
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "project", package.parent.parent):
        if (folder / "Snakefile").is_file():
            return folder
    raise UserError('this installation has no workflow; install qatlab from its wheel: pip install "qatlab[workflow]"')


def copy_project(source: Path, target: Path) -> None:
    """Copy the workflow and its configuration, without qatlab itself."""
    for part in PARTS:
        (target / part).parent.mkdir(parents=True, exist_ok=True)
        if (source / part).is_dir():
            shutil.copytree(source / part, target / part, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        else:
            shutil.copyfile(source / part, target / part)
