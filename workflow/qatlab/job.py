"""The description of a job: what the plan writes, a stage reads, and an artifact keeps as config.json."""

from pathlib import Path
from typing import Any

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
