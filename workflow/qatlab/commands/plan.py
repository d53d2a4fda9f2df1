"""Command plan: show what a study would do, or write the configurations of its stages, to run them by hand."""

import argparse
from pathlib import Path

from qatlab.bundle import add_option
from qatlab.plan.plan import load_study, trainings, write_descriptions
from qatlab.plan.safe_files import split_overrides


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
