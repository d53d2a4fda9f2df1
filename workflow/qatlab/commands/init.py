"""init: a folder to run studies in, with the workflow and its configuration; qatlab itself stays where it is installed."""

import argparse
import shlex
import shutil
from pathlib import Path

from qatlab.errors import UserError

PARTS = ("Snakefile", "conf", "envs", "profiles", "results/published", "workflow/rules", "workflow/report")


def main(arguments: list[str]) -> None:
    """Writes the folder. Raises UserError where that would overwrite something."""
    parser = argparse.ArgumentParser(
        prog="qatlab init", description="Write the workflow and its configuration into a folder, to run studies there."
    )
    parser.add_argument("folder", type=Path, help="new, or without files of these names")
    folder = parser.parse_args(arguments).folder
    for part in PARTS:
        if (folder / part).exists():
            raise UserError(f"'{folder / part}' exists; name another folder")
    copy_project(project(), folder)
    print(f"Studies are in {folder / 'conf' / 'study'}; yours go beside them. To run the first one:")
    print(f"  cd {shlex.quote(str(folder))} && snakemake --cores all")


def project() -> Path:
    """Where the workflow is: in the package that a wheel installs, or around that of a checkout."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "project", package.parent.parent):
        if (folder / "Snakefile").is_file():
            return folder
    raise UserError('this installation has no workflow; install qatlab from its wheel: pip install "qatlab[workflow]"')


def copy_project(source: Path, target: Path) -> None:
    """Copies the workflow and its configuration, without qatlab itself."""
    for part in PARTS:
        (target / part).parent.mkdir(parents=True, exist_ok=True)
        if (source / part).is_dir():
            shutil.copytree(source / part, target / part, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        else:
            shutil.copyfile(source / part, target / part)
