"""Import of the parts of stages that differ between model families, by the names of their modules.

A family is a package beside this module. Its modules `train`, `deploy`, `encode` and `score` are its parts of the stages: the
stage of that name imports the part for the family of its job. The module `family` beside this one has what the plan needs.
"""

from importlib import import_module
from typing import Any, Literal, get_args

from qatlab.job import JobDescription

FamilyName = Literal["embedding", "causal_lm"]
Part = Literal["train", "deploy", "encode", "score"]
FAMILIES: tuple[FamilyName, ...] = get_args(FamilyName)
STAGES: tuple[Part, ...] = ("train", "deploy", "encode", "score")  # each writes artifacts of its name
DEFAULT: FamilyName = "embedding"


def part_name(family: str, part: Part) -> str:
    """Return the name of the module that is a family's part of a stage."""
    return f"{__package__}.{family}.{part}"


def part_of(description: JobDescription, part: Part) -> Any:
    """Import a family's part of a stage.

    Args:
        description: the job's description, as the plan writes it; the family is `embedding` if it names none.
        part: name of the part, which is the name of its module.
    """
    return import_module(part_name(description.family or DEFAULT, part))
