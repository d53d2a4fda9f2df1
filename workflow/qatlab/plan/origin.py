"""What decides an input's content besides its configuration: package versions, checksums of local files, hub revisions.

Looking it up is also the check that local things are there, before any job starts.
"""

import importlib.util
from pathlib import Path
from typing import Any

from qatlab.artifact import sha256_of
from qatlab.config.kind import Kind
from qatlab.config.model import ModelConfig
from qatlab.config.trainer import TrainerConfig
from qatlab.data.checksums import checked
from qatlab.data.docstrings import package_version
from qatlab.errors import UserError
from qatlab.models.dense_encoder import check_dense_encoder
from qatlab.models.packaged import packaged_folder, verify
from qatlab.models.positions import check_positions
from qatlab.models.safe_folder import check_folder
from qatlab.models.source import model_source
from qatlab.registry import origin_of
from qatlab.sources.source import RowCounts, Source
from qatlab.tasks.task import Task
from qatlab.text_sets.text_set import TextSet


def model_origin(config: ModelConfig) -> Any:
    """A checksum for a local folder or a packaged model; the hub id and revision otherwise stand in the configuration."""
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
    """Return what decides the rows of a source besides its fields."""
    return config.fingerprint()


def training_rows(config: Source) -> RowCounts | None:
    """Return how many rows a source has and keeps, and different texts by column, where a plan can count them."""
    return config.counts()


def check_trackers(config: TrainerConfig) -> None:
    """Raises UserError for an experiment tracker whose package is not installed."""
    for tracker in config.report_to:
        if importlib.util.find_spec(tracker) is None:
            raise UserError(f"trainer.report_to names {tracker}, which is not installed; pip install {tracker}")


def task_origin(config: Task) -> Any:
    """Return what decides the texts of a task besides its fields."""
    return config.fingerprint()


def task_kind(config: Task, origin: Any) -> Kind:
    """Return what is asked in a task, given what `task_origin` returned."""
    return config.kind_of(origin_of(origin))


def texts_origin(config: TextSet) -> Any:
    """Return what decides a set of texts besides its fields."""
    return config.fingerprint()
