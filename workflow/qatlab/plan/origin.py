"""What decides an input's content besides its configuration: package versions, checksums of local files, hub revisions.

Looking it up is also the check that local things are there, before any job starts.
"""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

from qatlab.artifact import files_below, sha256_of
from qatlab.config.data import (
    AnyData,
    DocstringData,
    LocalData,
    NumeralData,
    PackageTextData,
    ParallelData,
)
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
from qatlab.errors import UserError
from qatlab.models.dense_encoder import check_dense_encoder
from qatlab.models.packaged import packaged_folder, verify
from qatlab.models.positions import check_positions
from qatlab.models.safe_folder import check_folder
from qatlab.models.source import model_source
from qatlab.plan.remembered import remembered
from qatlab.progress import say

LARGEST_READ = 1 << 30  # bytes of data files that a plan parses, at some 30 MB a second


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


def data_origin(config: AnyData) -> Any:
    """Versions of the packages read, the checksums of local files, or 'generated'."""
    if isinstance(config, DocstringData | PackageTextData):
        return {package: package_version(package) for package in sorted({*config.packages, *config.held_out})}
    if isinstance(config, LocalData | ParallelData):
        return {"sha256": training_rows(config)["sha256"]}
    if isinstance(config, NumeralData):
        return "generated"
    return "hub"


def training_rows(config: AnyData) -> Any:
    """Return the checksums of local files, how many rows they have and are kept, and how many different texts each column has.

    None of data from elsewhere, whose rows are known when they are there.
    """
    if not isinstance(config, LocalData | ParallelData):
        return None

    def find_out() -> dict[str, Any]:
        from qatlab.data.local import read_columns  # pandas: only a plan with local data pays for it
        from qatlab.data.parallel import load
        from qatlab.data.sample import kept_rows

        checksums = [sha256_of(path) for path in paths]
        checksum = checksums[0] if isinstance(config, LocalData) else checksums
        if not _is_read(paths, "data"):
            return {"sha256": checksum}
        table = read_columns(paths[0], config.columns) if isinstance(config, LocalData) else load(config, "data")
        kept = table.iloc[kept_rows(len(table), config.shuffle_seed, config.rows)]
        return {
            "sha256": checksum,
            "rows": len(table),
            "kept": len(kept),
            "distinct": {column: int(kept[column].nunique()) for column in kept.columns},
        }

    if isinstance(config, ParallelData):
        from qatlab.data.parallel import local_paths

        paths = local_paths(config, "data")
    else:
        paths = [Path(config.path).expanduser()]
    return remembered(f"training rows {config.model_dump_json()}", paths, find_out)


def _is_read(paths: list[Path], job: str) -> bool:
    """Whether a plan reads files as a whole; a line says so where they are too large for that."""
    files = [file for path in paths for file in (files_below(path) if path.is_dir() else [path])]
    size = sum(file.stat().st_size for file in files if file.is_file())
    if size > LARGEST_READ:
        say(
            f"{paths[0]}{' …' * (len(paths) > 1)}: {size / 1e9:.1f} GB; its rows are read and checked by the job '{job}', and only its "
            "checksum by the plan"
        )
    return size <= LARGEST_READ


def _checked(question: str, path: Path, check: Callable[[], Any], job: str | None = "task") -> dict[str, Any]:
    """The checksum of a local file or folder that passes a check, and the counts that the check returns in a dictionary.

    Args:
        question: what is checked, with all that the answer depends on.
        check: raises UserError.
        job: the kind of job that checks very large files instead; None where the plan always does.
    """

    def find_out() -> dict[str, Any]:
        counts = check() if job is None or _is_read([path], job) else None
        return {"sha256": sha256_of(path), **(counts if isinstance(counts, dict) else {})}

    found: dict[str, Any] = remembered(question, [path], find_out)
    return found


def _parallel_origin(config: ParallelTask) -> dict[str, list[str]]:
    from qatlab.data.parallel import load, local_paths

    paths = local_paths(config, "task.NAME")

    def find_out() -> dict[str, list[str]]:
        if _is_read(paths, "task"):
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
