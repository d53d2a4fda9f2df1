"""What decides an input's content besides its configuration: package versions, checksums of local files, hub revisions.

Looking it up is also the check that local things are there, before any job starts.
"""

import importlib.util
from pathlib import Path
from typing import Any

from qatlab.artifact import sha256_of
from qatlab.config.data import (
    AnyData,
    DocstringData,
    GrammarData,
    LocalData,
    PackageTextData,
    ParallelData,
)
from qatlab.config.model import ModelConfig
from qatlab.config.task import (
    AnyTask,
    DocstringTask,
    DocstringWithheldTask,
    GrammarTask,
    Kind,
    LocalTask,
    LocalTextTask,
    MtebTask,
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
from qatlab.models.packaged import packaged_folder, verify
from qatlab.models.safe_folder import check_folder
from qatlab.models.source import model_source


def model_origin(config: ModelConfig) -> Any:
    """A checksum for a local folder or a packaged model; the hub id and revision otherwise stand in the configuration."""
    source = model_source(config)
    if source == "made":
        return {"transformers": package_version("transformers"), "torch": package_version("torch")}
    if source == "local":
        folder = Path(config.name).expanduser()
        check_folder(folder, config.name)
        return {"sha256": sha256_of(folder)}
    if source == "package":
        packaged = packaged_folder(config.name)
        assert packaged is not None
        verify(config.name, packaged)
        return {"sha256": sha256_of(packaged / "model.safetensors")}
    return "hub"


def data_origin(config: AnyData) -> Any:
    """Versions of the packages read, the checksums of local files, or that of the grammar."""
    if isinstance(config, DocstringData | PackageTextData):
        return {package: package_version(package) for package in sorted({*config.packages, *config.held_out})}
    if isinstance(config, LocalData):
        from qatlab.data.local import read_columns  # pandas: only a plan with local data pays for it

        path = Path(config.path).expanduser()
        read_columns(path, config.columns)
        return {"sha256": sha256_of(path)}
    if isinstance(config, GrammarData):
        return _grammar_origin()
    if isinstance(config, ParallelData):
        return _parallel_origin(config.paths, config.columns, "data")
    return "hub"


def _grammar_origin() -> dict[str, str]:
    from qatlab.data.grammar import version

    return {"grammar": version()}


def _parallel_origin(names: list[str], columns: list[str], key: str) -> dict[str, list[str]]:
    from qatlab.data.parallel import load

    paths = [Path(name).expanduser() for name in names]
    load(paths, columns, key)
    return {"sha256": [sha256_of(path) for path in paths]}


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
        from qatlab.data.beir import check_layout

        folder = Path(config.path).expanduser()
        check_layout(folder, config.split)
        return {"sha256": sha256_of(folder)}
    if isinstance(config, PairsTask):
        from qatlab.data.similarity_pairs import load

        load(Path(config.path).expanduser(), config.columns, "NAME")
        return {"sha256": sha256_of(Path(config.path).expanduser())}
    if isinstance(config, WithheldTask):
        from qatlab.data.withheld import load as load_records

        load_records(Path(config.path).expanduser(), config, "NAME")
        return {"sha256": sha256_of(Path(config.path).expanduser())}
    if isinstance(config, MtebTask):
        from qatlab.data.mteb_tasks import look_up

        return look_up(config).as_dict()
    return "hub"


def _generation_origin(config: TranslationTask | TextTask) -> Any:
    if isinstance(config, GrammarTask):
        return _grammar_origin()
    if isinstance(config, ParallelTask):
        return _parallel_origin(config.paths, config.columns, "task.NAME")
    if isinstance(config, LocalTextTask):
        from qatlab.data.local import read_columns

        path = Path(config.path).expanduser()
        read_columns(path, [config.column], "task.NAME.column")
        return {"sha256": sha256_of(path)}
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
        read_columns(path, [config.column], "texts.NAME.column")
        return {"sha256": sha256_of(path)}
    return "hub"
