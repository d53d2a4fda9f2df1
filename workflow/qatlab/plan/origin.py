"""What decides an input's content besides its configuration: package versions, checksums of local files, hub revisions.

Looking it up is also the check that local things are there, before any job starts.
"""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

from qatlab.artifact import sha256_of
from qatlab.config.model import ModelConfig
from qatlab.config.task import (
    AnyTask,
    DocstringTask,
    DocstringWithheldTask,
    Kind,
    LocalTask,
    LocalTextTask,
    MtebTask,
    NumeralTask,
    PackageTextTask,
    PairsTask,
    ParallelTask,
    RecordsTask,
    TextTask,
    TranslationTask,
    WithheldTask,
)
from qatlab.config.texts import DocstringTexts, HubTexts, LocalTexts
from qatlab.config.trainer import TrainerConfig
from qatlab.data.docstrings import package_version
from qatlab.data.limits import is_read
from qatlab.errors import UserError
from qatlab.models.dense_encoder import check_dense_encoder
from qatlab.models.packaged import packaged_folder, verify
from qatlab.models.positions import check_positions
from qatlab.models.safe_folder import check_folder
from qatlab.models.source import model_source
from qatlab.remembered import remembered
from qatlab.sources.source import Source


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

        return _checked(f"{config.kind} model of {config.max_seq_length} tokens", folder, check, job=None)
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


def training_rows(config: Source) -> dict[str, Any] | None:
    """Return how many rows a source has and keeps, and different texts by column, where a plan can count them."""
    return config.counts()


def _checked(question: str, path: Path, check: Callable[[], Any], job: str | None = "task") -> dict[str, Any]:
    """The checksum of a local file or folder that passes a check, and the counts that the check returns in a dictionary.

    Args:
        question: what is checked, with all that the answer depends on.
        check: raises UserError.
        job: the kind of job that checks very large files instead; None where the plan always does.
    """

    def find_out() -> dict[str, Any]:
        counts = check() if job is None or is_read([path], job) else None
        return {"sha256": sha256_of(path), **(counts if isinstance(counts, dict) else {})}

    found: dict[str, Any] = remembered(question, [path], find_out)
    return found


def _parallel_origin(config: ParallelTask) -> dict[str, list[str]]:
    from qatlab.data.parallel import load, local_paths

    paths = local_paths(config, "task.NAME")

    def find_out() -> dict[str, list[str]]:
        if is_read(paths, "task"):
            load(config, "task.NAME")
        return {"sha256": [sha256_of(path) for path in paths]}

    origin: dict[str, list[str]] = remembered(f"parallel texts {config.model_dump_json()}", paths, find_out)
    return origin


def check_trackers(config: TrainerConfig) -> None:
    """Raises UserError for an experiment tracker whose package is not installed."""
    for tracker in config.report_to:
        if importlib.util.find_spec(tracker) is None:
            raise UserError(f"trainer.report_to names {tracker}, which is not installed; pip install {tracker}")


def task_origin(config: AnyTask) -> Any:
    """The version of the package read, the checksum of the local file or folder, or what mteb says of the task."""
    if isinstance(config, DocstringTask | DocstringWithheldTask | PackageTextTask):
        return {config.package: package_version(config.package)}
    if isinstance(config, TranslationTask | TextTask):
        return _generation_origin(config)
    if isinstance(config, LocalTask):
        from qatlab.data.beir import check

        folder = Path(config.path).expanduser()
        return _checked(f"BEIR {config.split}", folder, lambda: check(folder, config.split))
    if isinstance(config, PairsTask):
        from qatlab.data.similarity_pairs import load

        path = Path(config.path).expanduser()
        return _checked(f"pairs {config.columns}", path, lambda: load(path, config.columns, "NAME"))
    if isinstance(config, WithheldTask):
        from qatlab.data.withheld import load as load_records

        path = Path(config.path).expanduser()
        return _checked(f"records {config.model_dump_json()}", path, lambda: load_records(path, config, "NAME"))
    if isinstance(config, MtebTask):
        from qatlab.data.mteb_tasks import look_up

        return look_up(config).as_dict()
    return "hub"


def _generation_origin(config: TranslationTask | TextTask) -> Any:
    if isinstance(config, NumeralTask):
        return "generated"
    if isinstance(config, ParallelTask):
        return _parallel_origin(config)
    if isinstance(config, LocalTextTask):
        from qatlab.data.local import read_columns

        path = Path(config.path).expanduser()
        return _checked(f"texts {config.column}", path, lambda: read_columns(path, [config.column], "task.NAME.column"))
    return "hub"


def task_kind(config: AnyTask, origin: Any) -> Kind:
    """What is asked in a task, given what `task_origin` found."""
    if isinstance(config, MtebTask):
        kind: Kind = origin["kind"]
        return kind
    kinds: list[tuple[Any, Kind]] = [
        (PairsTask, "similarity"),
        (RecordsTask, "reranking"),
        (TranslationTask, "translation"),
        (TextTask, "language_modelling"),
    ]
    return next((kind for types, kind in kinds if isinstance(config, types)), "retrieval")


def texts_origin(config: DocstringTexts | LocalTexts | HubTexts) -> Any:
    """The version of the package read, or the checksum of the local file."""
    if isinstance(config, DocstringTexts):
        return {config.package: package_version(config.package)}
    if isinstance(config, LocalTexts):
        from qatlab.data.local import read_columns

        path = Path(config.path).expanduser()
        return _checked(
            f"texts {config.column}", path, lambda: read_columns(path, [config.column], "texts.NAME.column"), "texts"
        )
    return "hub"
