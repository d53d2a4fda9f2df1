"""Command bundle: gather all external inputs of a study in a folder, for machines without network access."""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from qatlab.artifact import folder_bytes, readable_bytes, write_json, written_aside
from qatlab.bundle import KINDS, Gathering
from qatlab.commands.init import project
from qatlab.errors import UserError, printable
from qatlab.plan.artifacts import Artifact
from qatlab.plan.plan import Plan, load_study
from qatlab.plan.safe_files import split_overrides
from qatlab.progress import say

PACKAGES = "packages"
OLDEST_GLIBC = 5  # minor version of the oldest manylinux tag, manylinux_2_5
# Packages with which pip builds qatlab itself from a checkout.
BUILT_WITH = ("setuptools>=77", "wheel")


def main(arguments: list[str]) -> int:
    """Write the bundle's folder, which does not exist until it is complete, and return the exit code."""
    options = _options(arguments)
    if options.output.exists():
        raise UserError(f"--output: '{options.output}' exists; remove it, or name another folder")
    if not options.python_packages and (options.python or options.platform):
        raise UserError("--python and --platform choose the packages to gather; add --python-packages")
    study, overrides = options.study, split_overrides(options.overrides)
    label = " ".join([study, *([f"scale={options.scale}"] if options.scale else []), *overrides])
    try:
        with written_aside(options.output) as folder:
            gathering = Gathering(folder, label, options.half)
            plan = load_study(options.conf, study, options.scale, overrides, gathering)
            _gather(plan, gathering)
            if options.python_packages:
                _download(folder / PACKAGES, options.python, options.platform)
            gathering.close()
    except _StageFailed as failed:
        return failed.code
    _describe(plan, options)
    return 0


class _StageFailed(Exception):
    """Failure of a stage, which has already printed the reason."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="qatlab bundle",
        description="Gather all external inputs of a study (base models, training data, tasks, texts), to run it on machines "
        "without network access.",
    )
    parser.add_argument("--study", required=True, help="name of the study")
    parser.add_argument("--scale", default=None, help="scale of the study")
    parser.add_argument(
        "--overrides", default="", help="overrides as for the study's run; the bundle serves only this study"
    )
    parser.add_argument("--conf", type=Path, default=Path("conf"), help="folder of the configuration")
    parser.add_argument(
        "--output", type=Path, required=True, metavar="FOLDER", help="folder to write; it must not exist"
    )
    parser.add_argument(
        "--half",
        action="store_true",
        help="round the weights of base models to float16, which halves their size and changes them slightly",
    )
    parser.add_argument(
        "--python-packages", action="store_true", help="also gather wheels of the locked packages and of qatlab itself"
    )
    parser.add_argument(
        "--python",
        metavar="VERSION",
        help="Python version of the other machine, such as 3.12 (default: that of this one)",
    )
    parser.add_argument(
        "--platform",
        metavar="TAG",
        help="platform of the other machine, such as manylinux_2_28_x86_64 (default: that of this one)",
    )
    return parser.parse_args(arguments)


def _gather(plan: Plan, gathering: Gathering) -> None:
    """Run the stages whose artifacts have external inputs, and add their outputs to the bundle."""
    from qatlab.__main__ import main as stage

    for artifact in outside(plan):
        with tempfile.TemporaryDirectory() as aside:
            description = Path(aside) / "config.json"
            write_json(description, artifact.description)
            output = gathering.folder / artifact.path
            say(f"{artifact.kind} {printable(artifact.label)}")
            code = stage([artifact.kind, "--config", str(description), "--output", str(output)])
        if code:
            raise _StageFailed(code)
        gathering.add(artifact.path)


def outside(plan: Plan) -> list[Artifact]:
    """Return a plan's artifacts with external inputs, models first, because hard negatives of tasks may be mined with them."""
    artifacts = [artifact for artifact in plan.artifacts.values() if artifact.kind in KINDS]
    return sorted(artifacts, key=lambda artifact: KINDS.index(artifact.kind))


def _download(folder: Path, python: str | None, platform: str | None) -> None:
    """Download the locked packages, torch and the build dependencies of qatlab, and build qatlab's wheel.

    Packages without a wheel are downloaded as source.

    Args:
        folder: the folder to write.
        python: Python version of the other machine; None for that of this one.
        platform: platform tag of the other machine; None for that of this one.

    Raises:
        UserError: with pip's message, for a package that the index does not have.
    """
    where = ["--dest", str(folder), *target(python, platform)]
    envs = project() / "envs"
    _pip("download", "--no-deps", "--require-hashes", "-r", str(envs / "requirements.txt"), *where)
    _pip("download", "--only-binary", ":all:", "-r", str(envs / "torch.txt"), *where)
    _pip("download", "--no-deps", *BUILT_WITH, *where)
    if (project() / "pyproject.toml").is_file():
        _pip("wheel", "--no-deps", "--wheel-dir", str(folder), str(project()))


def target(python: str | None, platform: str | None) -> list[str]:
    """Return pip's options for another machine, or none for this one.

    A manylinux tag names the oldest glibc that a wheel works with, so a machine also accepts the wheels of lower tags.
    """
    if not python and not platform:
        return []
    chosen = ["--python-version", python] if python else []
    if platform is None:
        return chosen
    tags = [platform]
    parts = platform.split("_", 3)
    if len(parts) == 4 and parts[:2] == ["manylinux", "2"] and parts[2].isdigit():
        tags = [f"manylinux_2_{minor}_{parts[3]}" for minor in range(int(parts[2]), OLDEST_GLIBC - 1, -1)]
        tags += [f"{name}_{parts[3]}" for name in ("manylinux2014", "manylinux2010", "manylinux1")]
    return [*chosen, *(part for tag in tags for part in ("--platform", tag))]


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        errors = [line for line in result.stderr.splitlines() if line.startswith("ERROR: ")]
        reason = errors[-1].removeprefix("ERROR: ") if errors else f"pip {arguments[0]} failed"
        raise UserError(f"--python-packages: {reason}")


def _describe(plan: Plan, options: argparse.Namespace) -> None:
    """Print the sizes of the bundle's parts, and the commands that use it."""
    folder = options.output
    for artifact in outside(plan):
        print(
            f"{readable_bytes(folder_bytes(folder / artifact.path)):>10}  {artifact.kind} {printable(artifact.label)}"
        )
    if options.python_packages:
        files = sorted(path.name for path in (folder / PACKAGES).iterdir())
        print(f"{readable_bytes(folder_bytes(folder / PACKAGES)):>10}  {len(files)} packages")
        sources = [name for name in files if not name.endswith(".whl")]
        if sources:
            print(f"            of which as source, to be built on the other machine: {', '.join(sources)}")
        print("To create the environment on the other machine:")
        where = folder if folder.is_absolute() else f"$PWD/{folder}"
        print(f"  PIP_NO_INDEX=1 PIP_FIND_LINKS={where}/{PACKAGES} make .venv/.installed")
    print(f"{readable_bytes(folder_bytes(folder)):>10}  in all. To run the study on the other machine:")
    scale = f" scale={options.scale}" if options.scale else ""
    overrides = f' overrides="{options.overrides}"' if options.overrides else ""
    print(f"  snakemake --cores all --config study={plan.study} bundle={folder}{scale}{overrides}")
