"""gc: the artifacts that no study names any more, and what killed stages left; listed, or removed."""

import argparse
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qatlab.artifact import folder_bytes, read_json, readable_bytes
from qatlab.errors import UserError

CHECKPOINTS, FAILED = ".checkpoints", ".failed.json"


def main(arguments: list[str]) -> None:
    """Prints a line for each folder that nothing names, and what they take; with --remove, removes them."""
    parser = argparse.ArgumentParser(
        prog="qatlab gc",
        description="List the artifacts that no study names any more. A study names what it needed when it was last started, "
        "at the scale and with the overrides that it had then, for as long as its file is in conf/study.",
    )
    parser.add_argument("--remove", action="store_true", help="remove what is listed (default: list only)")
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--conf", type=Path, default=Path("conf"))
    options = parser.parse_args(arguments)
    plans = options.results / "plan"
    if not (plans / "study").is_dir():
        raise UserError(
            f"--results: '{options.results}' holds no study; run one, or give the folder that results are in"
        )
    if options.remove:
        _check_nothing_runs(options.results)
    studies = sorted(plans.glob("study/*.json"))
    there = [path for path in studies if (options.conf / "study" / path.name).with_suffix(".yaml").is_file()]
    for path in sorted(set(studies) - set(there)):
        print(f"study {path.stem} has no file in {options.conf / 'study'} any more: what only it names is listed")
    kept_artifacts = named(plans, there)
    unnamed = sorted(_unnamed(options.results, kept_artifacts))
    total = 0
    for path in unnamed:
        size = folder_bytes(path)
        total += size
        print(f"{readable_bytes(size):>10}  {path}")
        if options.remove:
            _remove(path, options.results)
    if options.remove:
        for path in set(studies) - set(there):
            path.unlink()
        for mark in options.results.glob(f"*/.*{FAILED}"):
            if _whose(mark) not in kept_artifacts:
                mark.unlink()
    kept = f"studies {', '.join(path.stem for path in there)}" if there else "no study"
    done = "removed" if options.remove else "to be removed with --remove"
    print(f"{len(unnamed)} folders, {readable_bytes(total)}: {done}; what {kept} name{'' if there else 's'} is kept")


def named(plans: Path, studies: list[Path]) -> set[str]:
    """`<kind>/<name>` of every artifact that the studies' plans name, and of what those are made from."""
    found: set[str] = set()
    waiting = [text for study in studies for text in _texts(read_json(study))]
    while waiting:
        path = waiting.pop()
        if path in found or path.count("/") != 1 or not (plans / f"{path}.json").is_file():
            continue
        found.add(path)
        waiting.extend(read_json(plans / f"{path}.json")["inputs"].values())
    return found


def _texts(value: Any) -> Iterator[str]:
    """Every text in builtin values, wherever it stands."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner)


def _unnamed(results: Path, kept: set[str]) -> Iterator[Path]:
    """Artifacts, and the scratch folders and checkpoints beside them."""
    yield from results.glob("studies/.*.partial/")
    for plan in sorted(results.glob("plan/*/")):
        for path in sorted((results / plan.name).glob("*/")) if plan.name != "study" else []:
            artifact = f"{plan.name}/{path.name}"
            leftover = path.name.startswith(".")
            if leftover and (path.name.endswith(CHECKPOINTS) and _whose(path) in kept):
                continue  # a training that will go on
            if leftover or artifact not in kept:
                yield path


def _whose(leftover: Path) -> str:
    name = leftover.name.removeprefix(".").removesuffix(CHECKPOINTS).removesuffix(FAILED)
    return f"{leftover.parent.name}/{name}"


def _remove(path: Path, results: Path) -> None:
    shutil.rmtree(path)
    if not path.name.startswith("."):
        for below, ending in (("plan", "json"), ("logs", "log")):
            (results / below / path.parent.name / f"{path.name}.{ending}").unlink(missing_ok=True)


def _check_nothing_runs(results: Path) -> None:
    """Snakemake's locks stand in the folder that it was started in."""
    locks = results.parent / ".snakemake" / "locks"
    if locks.is_dir() and any(locks.iterdir()):
        raise UserError(
            f"a workflow runs on these results, or was killed ({locks} has locks); remove nothing until it ended"
        )
