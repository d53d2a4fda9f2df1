"""Origin of an input: what determines its content besides its configuration (package versions, checksums, hub revisions).

Looking it up also checks, before any job starts, that local files exist.
"""

import importlib.util
from pathlib import Path
from typing import Any

from qatlab.artifact import sha256_of
from qatlab.config.model import ModelConfig
from qatlab.config.trainer import TrainerConfig
from qatlab.errors import UserError
from qatlab.evaluation.task import Kind
from qatlab.models.folders import check_folder, model_source, packaged_folder, verify
from qatlab.models.settings import check_dense_encoder, check_positions
from qatlab.registry import origin_of
from qatlab.remembered import checked
from qatlab.sources.packages import package_version
from qatlab.sources.source import RowCounts, Source
from qatlab.tasks.task import Task
from qatlab.text_sets import TextSet


def model_origin(config: ModelConfig) -> Any:
    """Return what determines the files of a model besides its fields.

    It is a checksum for a local folder or a packaged model, package versions for a model that is built from a configuration, and
    "hub" otherwise, because the configuration has the hub's name and revision.

    Raises:
        UserError: for a missing or unsupported model folder.
    """
    source = model_source(config)
    if source == "made":
        return {"transformers": package_version("transformers"), "torch": package_version("torch")}
    if source == "local":
        folder = Path(config.name).expanduser()

        def check() -> None:
            check_folder(folder, config.name)
            if config.kind == "embedding":
                check_dense_encoder(folder, config.name)
            check_positions(folder, config.max_seq_length, config.name)

        return checked(f"{config.kind} model of {config.max_seq_length} tokens", folder, check, job=None)
    if source == "package":
        packaged = packaged_folder(config.name)
        assert packaged is not None
        verify(config.name, packaged)
        check_positions(packaged, config.max_seq_length, config.name)
        return {"sha256": sha256_of(packaged / "model.safetensors")}
    return "hub"


def data_origin(config: Source) -> Any:
    """Return what determines the rows of a source besides its fields."""
    return config.fingerprint()


def training_rows(config: Source) -> RowCounts | None:
    """Return the numbers of rows and of distinct texts of a source, where they can be counted before any job; else None."""
    return config.counts()


def check_trackers(config: TrainerConfig) -> None:
    """Raise UserError for an experiment tracker whose package is not installed."""
    for tracker in config.report_to:
        if importlib.util.find_spec(tracker) is None:
            raise UserError(f"trainer.report_to names {tracker}, which is not installed; pip install {tracker}")


def task_origin(config: Task) -> Any:
    """Return what determines the texts of a task besides its fields."""
    return config.fingerprint()


def task_kind(config: Task, origin: Any) -> Kind:
    """Return the kind of a task, given the result of `task_origin`."""
    return config.kind_of(origin_of(origin))


def texts_origin(config: TextSet) -> Any:
    """Return what determines a set of texts besides its fields."""
    return config.fingerprint()
