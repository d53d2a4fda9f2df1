"""Loading of a study's plan by its name, and writing of the description files that its stages read."""

from collections.abc import Iterable
from pathlib import Path

import yaml

from qatlab.artifact import write_json
from qatlab.bundle import Gathering, in_use
from qatlab.plan.answers import planned_answers
from qatlab.plan.compose import FULL_SCALE, compose_runs, stands_for
from qatlab.plan.plan import Plan, make_plan
from qatlab.plan.published import Published, check_published
from qatlab.plan.safe_files import check_files

ALL = "all"


def load_study(
    conf: Path,
    study: str,
    scale: str | None = None,
    overrides: Iterable[str] = (),
    gathering: Gathering | None = None,
) -> Plan:
    """Return the validated plan of a study.

    Args:
        conf: folder of the configuration files.
        study: name of the study.
        scale: name of one of its scales; None for full scale.
        overrides: user's overrides, in Hydra's override grammar.
        gathering: bundle to be made of the study; without one, external files come from the bundle in use, if any.

    Raises:
        UserError: before anything is written, for an error that a user can correct.
    """
    cells = compose_runs(conf, study, scale, overrides)
    plan = make_plan(cells, gathering or in_use())
    settings = cells[0][1].study
    plan.scale, plan.question = scale or FULL_SCALE, settings.question
    if settings.published is None and not settings.answers:
        return plan
    names = stands_for(conf, study, scale)
    plan.answers = planned_answers(settings.answers, plan.runs, names)
    if settings.published is not None:
        plan.published = Published(check_published(conf, settings.published, list(settings.matrix)), names)
    return plan


def load_studies(conf: Path, names: str, scale: str | None = None, overrides: Iterable[str] = ()) -> list[Plan]:
    """Return the plans of studies.

    Args:
        conf: folder of the configuration files.
        names: names of one or several studies (NAME,NAME), or `all` for those that show published results.
        scale: name of one of their scales; None for full scale.
        overrides: user's overrides, in Hydra's override grammar.

    Raises:
        UserError: for an error that a user can correct.
    """
    given = list(overrides)
    studies = published_studies(conf) if names == ALL else names.split(",")
    return [load_study(conf, study, scale, given) for study in studies]


def published_studies(conf: Path) -> list[str]:
    """Return the names of the studies that show a file of published results of other work."""
    check_files(conf)
    files = sorted((conf / "study").glob("*.yaml"))
    return [file.stem for file in files if (yaml.safe_load(file.read_text()).get("study") or {}).get("published")]


def write_descriptions(plan: Plan, folder: Path) -> None:
    """Write <folder>/<kind>/<artifact>.json for each artifact, and <folder>/study/<study>.json."""
    descriptions = {f"{artifact.path}.json": artifact.description for artifact in plan.artifacts.values()}
    descriptions[f"study/{plan.study}.json"] = plan.study_description()
    for relative, description in descriptions.items():
        path = folder / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path.with_suffix(".new"), description)
        path.with_suffix(".new").replace(path)
