"""The description of a job, which the plan writes, a stage reads, and an artifact keeps as config.json; its family's part of a stage.

A family is a package below `qatlab.families`. Its modules `train`, `deploy`, `encode` and `score` are its parts of the stages: the
stage of that name imports the part for the family of its job. The part `head` takes the place of `train` in the training of a head.
"""

from importlib import import_module
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import ValidationError

from qatlab.artifact import read_json
from qatlab.errors import UserError
from qatlab.registry import Strict


class JobDescription(Strict):
    """What one job makes, and from what.

    Attributes:
        config: the slice of the configuration that the stage validates, as builtin values.
        label: the name of the job on the terminal.
        kind, name: of the artifact: its folder is `results/<kind>/<name>`.
        inputs: paths of the artifacts that it is made from, below the results folder, by role.
        origin: content outside of the configuration: versions, checksums.
        family: of the model that the artifact is made from; None where it is made from no model.
    """

    config: dict[str, Any]
    label: str = ""
    kind: str = ""
    name: str = ""
    inputs: dict[str, str] = {}
    origin: Any = None
    family: str | None = None

    @classmethod
    def read(cls, path: Path) -> "JobDescription":
        """Read a description.

        Raises:
            UserError: for a file that is not the description of a job.
        """
        try:
            return cls.model_validate(read_json(path))
        except (ValueError, RecursionError, ValidationError):
            raise UserError(
                f"--config: '{path}' is not the configuration of a stage, as `qatlab plan --write` writes it"
            ) from None


FamilyName = Literal["embedding", "causal_lm"]
Part = Literal["train", "deploy", "encode", "score", "head"]
FAMILIES: tuple[FamilyName, ...] = get_args(FamilyName)
FAMILY_STAGES: tuple[Part, ...] = ("train", "deploy", "encode", "score")  # each writes artifacts of its name
DEFAULT_FAMILY: FamilyName = "embedding"
START = "start"  # role of the first of two trainings among the inputs of the second


def begins_with(inputs: dict[str, Path]) -> Path:
    """Return the model folder from which a training starts: of the training that it starts from, or of the base model.

    Args:
        inputs: artifacts of the training by role.
    """
    return inputs.get(START, inputs["model"]) / "model"


def training_part(has_head: bool) -> Part:
    """Return the part of the stage `train` for a method, by whether it trains a head on cached embeddings."""
    return "head" if has_head else "train"


def part_name(family: str, part: Part) -> str:
    """Return the name of the module that is a family's part of a stage."""
    return f"qatlab.families.{family}.{part}"


def part_of(description: JobDescription, part: Part) -> Any:
    """Import a family's part of a stage.

    Args:
        description: the job's description, as the plan writes it; the family is `embedding` if it names none.
        part: name of the part, which is the name of its module.
    """
    return import_module(part_name(description.family or DEFAULT_FAMILY, part))
