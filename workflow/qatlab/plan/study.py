"""From a study's name to its plan, and to the files that its stages read."""

from collections.abc import Iterable
from pathlib import Path

from qatlab.artifact import write_json
from qatlab.plan.compose import FULL_SCALE, compose_runs, stands_for
from qatlab.plan.plan import Plan, make_plan
from qatlab.plan.published import Published, check_published


def load_study(conf: Path, study: str, scale: str | None = None, overrides: Iterable[str] = ()) -> Plan:
    """The valid plan of a study. Raises UserError, before anything is written, for what a user can mend."""
    cells = compose_runs(conf, study, scale, overrides)
    plan = make_plan(cells)
    plan.scale = scale or FULL_SCALE
    shown = cells[0][1].study.published
    if shown is not None:
        matrix = list(cells[0][1].study.matrix)
        plan.published = Published(check_published(conf, shown, matrix), stands_for(conf, study, scale))
    return plan


def write_descriptions(plan: Plan, folder: Path) -> None:
    """Writes <folder>/<kind>/<artifact>.json for each artifact and study/<study>.json, where they differ from what is there."""
    descriptions = {f"{artifact.path}.json": artifact.description for artifact in plan.artifacts.values()}
    descriptions[f"study/{plan.study}.json"] = plan.study_description()
    for relative, description in descriptions.items():
        path = folder / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path.with_suffix(".new"), description)
        path.with_suffix(".new").replace(path)
