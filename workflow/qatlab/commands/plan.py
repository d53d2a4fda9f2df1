"""Commands plan, schema and schemes: show a study's plan, the JSON Schema of the configuration, and the schemes of weights."""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qatlab.artifact import read_json
from qatlab.bundle import add_option
from qatlab.config.weights import SCHEMES
from qatlab.plan.artifacts import Artifact
from qatlab.plan.plan import Plan, load_study, trainings, write_descriptions
from qatlab.plan.safe_files import split_overrides
from qatlab.study.config import RunConfig


def main(arguments: list[str]) -> None:
    """Print the runs and the numbers of artifacts; with --why and --write, what `reasons` and `write_descriptions` give."""
    parser = argparse.ArgumentParser(prog="qatlab plan", description="Show a study's runs and artifacts.")
    parser.add_argument("--study", default="quickstart", help="name of the study")
    parser.add_argument("--scale", default=None, help="scale of the study")
    parser.add_argument(
        "--overrides",
        default="",
        help='overrides in Hydra\'s grammar, e.g. "trainer.batch_size=32 deploy=[torch_fp32]"',
    )
    parser.add_argument("--conf", type=Path, default=Path("conf"), help="folder of the configuration")
    parser.add_argument(
        "--write",
        type=Path,
        default=None,
        metavar="FOLDER",
        help="write <kind>/<artifact>.json for the stages' --config",
    )
    parser.add_argument(
        "--why",
        action="store_true",
        help="say why each artifact that does not exist yet will be made: what has changed since the last one of its label",
    )
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of the results, for --why")
    add_option(parser)
    options = parser.parse_args(arguments)
    plan = load_study(options.conf, options.study, options.scale, split_overrides(options.overrides))
    print(f"{plan.study}: {plan.title}")
    for run in plan.runs:
        print(f"  {run.name:32} {run.trained}")
    for line in trainings(plan.runs):
        print(f"  {line}")
    kinds = [artifact.kind for artifact in plan.artifacts.values()]
    print("  " + ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds)))
    if options.why:
        for line in reasons(plan, options.results):
            print(f"  {line}")
    if options.write is not None:
        write_descriptions(plan, options.write)
        print(f"configurations written below {options.write}")


def reasons(plan: Plan, results: Path) -> Iterator[str]:
    """Yield one line per artifact that a study needs and that does not exist: what differs from the latest one of the same label.

    An artifact is a folder that is named after what determines its content, so a changed key gives a new artifact, and everything that
    is made from it is new as well: these are counted in the last line. Changed code keeps the folder's name; `snakemake -n` reports it.

    Args:
        plan: plan of the study.
        results: folder of the artifacts.
    """
    new = {path: artifact for path, artifact in plan.artifacts.items() if not (results / path).is_dir()}
    earlier = _latest(results, {artifact.kind for artifact in new.values()})
    following = 0
    for artifact in new.values():
        before = earlier.get((artifact.kind, artifact.label))
        if before is None:
            yield f"{artifact.kind} {artifact.label}: none has been made yet"
            continue
        differences = [*_differences(artifact, before)]
        if differences:
            yield f"{artifact.kind} {artifact.label}: {'; '.join(differences)} (before: {before['name']})"
        elif any(source in new for source in artifact.inputs.values()):
            following += 1
        else:
            yield f"{artifact.kind} {artifact.label}: other inputs (before: {before['name']})"
    existing = len(plan.artifacts) - len(new)
    yield f"{existing} of {len(plan.artifacts)} artifacts exist; {following} follow from those above"


def _latest(results: Path, kinds: set[str]) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the description of the latest artifact of each kind and label."""
    descriptions = {}
    files = [file for kind in kinds for file in results.glob(f"{kind}/[!.]*/config.json")]
    for file in sorted(files, key=lambda file: file.stat().st_mtime):
        description = read_json(file)
        descriptions[description["kind"], description["label"]] = description
    return descriptions


def _differences(artifact: Artifact, before: dict[str, Any]) -> Iterator[str]:
    """Yield each key whose value differs, with both values."""
    old, new = (dict(_flat({"": one["config"], "origin": one["origin"]})) for one in (before, artifact.description))
    for key in {**old, **new}:
        if old.get(key) != new.get(key):
            yield f"{key} {_shown(old.get(key))} → {_shown(new.get(key))}"


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of nested mappings by dotted keys."""
    if not isinstance(value, dict) or not value:
        yield prefix, value
        return
    for key, inner in value.items():
        yield from _flat(inner, ".".join(part for part in (prefix, str(key)) if part))


def _shown(value: object) -> str:
    """Return a value as text of limited length."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LETTERS else f"{text[: LETTERS - 1]}…"


LETTERS = 60  # largest number of characters of a value in a reason
TITLE = "qatlab configuration"


def schema() -> dict[str, object]:
    """Return the JSON Schema of the configuration that Hydra composes from conf/."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **RunConfig.model_json_schema(), "title": TITLE}


def print_schema(arguments: list[str]) -> None:
    """Print the schema."""
    argparse.ArgumentParser(
        prog="qatlab schema",
        description="Print the JSON Schema of the configuration: every key with its type, default and description.",
    ).parse_args(arguments)
    print(json.dumps(schema(), indent=2, ensure_ascii=False))


def print_schemes(arguments: list[str]) -> None:
    """Print the name and description of each scheme."""
    parser = argparse.ArgumentParser(
        prog="qatlab schemes",
        description="List the schemes of weights: METHOD:SCHEME trains with one, torchao:SCHEME deploys it.",
    )
    parser.parse_args(arguments)
    width = max(map(len, SCHEMES))
    for name, scheme in SCHEMES.items():
        print(f"{name:{width}}  {scheme.description}")
