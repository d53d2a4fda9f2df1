"""Command gc: list or remove the artifacts that no study refers to, and the remains of killed stages."""

import argparse
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qatlab.artifact import folder_bytes, read_json, readable_bytes
from qatlab.commands.score import COMPOSED
from qatlab.errors import UserError

CHECKPOINTS, FAILED = ".checkpoints", ".failed.json"


def main(arguments: list[str]) -> None:
    """Print each folder that no study refers to and their total size, and remove them with --remove."""
    parser = argparse.ArgumentParser(
        prog="qatlab gc",
        description="List the artifacts that no study refers to. A study refers to the artifacts that it needed when it was last "
        "started, with the scale and overrides of that time, as long as its file is in conf/study; a study of `qatlab score`, as long "
        "as its folder is in results/studies.",
    )
    parser.add_argument("--remove", action="store_true", help="remove the listed folders (default: list only)")
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of the results")
    parser.add_argument("--conf", type=Path, default=Path("conf"), help="folder of the configuration")
    options = parser.parse_args(arguments)
    plans = options.results / "plan"
    if not (plans / "study").is_dir():
        raise UserError(f"--results: '{options.results}' holds no study; run one, or give the folder of the results")
    if options.remove:
        _check_nothing_runs(options.results)
    studies = sorted(plans.glob("study/*.json"))
    current = [path for path in studies if _is_current(path.stem, options.conf, options.results)]
    for path in sorted(set(studies) - set(current)):
        print(
            f"study {path.stem} no longer has a file in {options.conf / 'study'}: artifacts of this study alone are listed"
        )
    kept = referenced(plans, current)
    unreferenced = sorted(_unreferenced(options.results, kept))
    total = 0
    for path in unreferenced:
        size = folder_bytes(path)
        total += size
        print(f"{readable_bytes(size):>10}  {path}")
        if options.remove:
            _remove(path, options.results)
    if options.remove:
        for path in set(studies) - set(current):
            path.unlink()
        for mark in options.results.glob(f"*/.*{FAILED}"):
            if _owner(mark) not in kept:
                mark.unlink()
    owners = f"studies {', '.join(path.stem for path in current)}" if current else "no study"
    status = "removed" if options.remove else "to be removed with --remove"
    print(f"{len(unreferenced)} folders, {readable_bytes(total)}: {status}; artifacts of {owners} are kept")


def _is_current(study: str, conf: Path, results: Path) -> bool:
    """Return whether a study has a file, or is one of `qatlab score`, which has none, and its results have not been removed."""
    if study.startswith(COMPOSED) and (results / "studies" / study).is_dir():
        return True
    return (conf / "study" / f"{study}.yaml").is_file()


def referenced(plans: Path, studies: list[Path]) -> set[str]:
    """Return `<kind>/<name>` of every artifact that the plans of studies refer to, and of the inputs of these artifacts."""
    artifacts: set[str] = set()
    waiting = [text for study in studies for text in _texts(read_json(study))]
    while waiting:
        path = waiting.pop()
        if path in artifacts or path.count("/") != 1 or not (plans / f"{path}.json").is_file():
            continue
        artifacts.add(path)
        waiting.extend(read_json(plans / f"{path}.json")["inputs"].values())
    return artifacts


def _texts(value: Any) -> Iterator[str]:
    """Yield every text in nested builtin values."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner)


def _unreferenced(results: Path, kept: set[str]) -> Iterator[Path]:
    """Yield the artifacts that are not to be kept, and the scratch folders and checkpoints beside them."""
    yield from results.glob("studies/.*.partial/")
    for plan in sorted(results.glob("plan/*/")):
        for path in sorted((results / plan.name).glob("*/")) if plan.name != "study" else []:
            artifact = f"{plan.name}/{path.name}"
            leftover = path.name.startswith(".")
            if leftover and (path.name.endswith(CHECKPOINTS) and _owner(path) in kept):
                continue  # The training will resume from them.
            if leftover or artifact not in kept:
                yield path


def _owner(leftover: Path) -> str:
    name = leftover.name.removeprefix(".").removesuffix(CHECKPOINTS).removesuffix(FAILED)
    return f"{leftover.parent.name}/{name}"


def _remove(path: Path, results: Path) -> None:
    shutil.rmtree(path)
    if not path.name.startswith("."):
        for below, ending in (("plan", "json"), ("logs", "log")):
            (results / below / path.parent.name / f"{path.name}.{ending}").unlink(missing_ok=True)


def _check_nothing_runs(results: Path) -> None:
    """Raise a UserError if Snakemake's lock folder, which is in its working directory, holds locks."""
    locks = results.parent / ".snakemake" / "locks"
    if locks.is_dir() and any(locks.iterdir()):
        raise UserError(
            f"a workflow runs on these results, or was killed ({locks} has locks); remove nothing until it has ended"
        )
