"""Commands plan, schema and schemes: show a study's plan, the JSON Schema of the configuration, and the schemes of weights."""

import argparse
import json
from pathlib import Path

from qatlab.bundle import add_option
from qatlab.config.weights import SCHEMES
from qatlab.plan.plan import load_study, trainings, write_descriptions
from qatlab.plan.safe_files import split_overrides
from qatlab.study.config import RunConfig


def main(arguments: list[str]) -> None:
    """Print the runs and the numbers of artifacts; with --write, write the configuration of each artifact below a folder."""
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
    if options.write is not None:
        write_descriptions(plan, options.write)
        print(f"configurations written below {options.write}")


TITLE = "qatlab configuration"


def schema() -> dict[str, object]:
    """Return the JSON Schema of the configuration that Hydra composes from conf/."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **RunConfig.model_json_schema(), "title": TITLE}


def print_schema(arguments: list[str]) -> None:
    """Print the schema."""
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
