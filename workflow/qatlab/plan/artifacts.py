"""Artifacts: folders named after what makes them, what decides their content besides their configuration, and which code makes them.

Looking up an origin (versions of packages, checksums of local files, revisions of the hub) also checks that local files and packages
exist, before any job starts.
"""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qatlab.artifact import identity, sha256_of
from qatlab.bundle import Bundle, Gathering
from qatlab.config.evaluate import EvaluateConfig
from qatlab.config.method import TrainingConfig
from qatlab.config.model import ModelConfig
from qatlab.config.trainer import TrainerConfig
from qatlab.deployments.vectors import read_folder
from qatlab.engines.engine import Engine
from qatlab.errors import UserError
from qatlab.evaluation.task import Kind
from qatlab.job import FAMILY_STAGES, part_name, training_part
from qatlab.models.folders import check_folder, model_source, packaged_folder, verify
from qatlab.models.settings import check_dense_encoder, check_positions
from qatlab.registry import Strict, distribution, origin_of
from qatlab.remembered import checked
from qatlab.sources.packages import package_version
from qatlab.sources.source import RowCounts, Source
from qatlab.tasks.task import Task
from qatlab.text_sets import TextSet

LOCAL_PATHS = ("path", "paths")


class Nothing(Strict):
    """Configuration of an artifact that its inputs alone determine."""


@dataclass(frozen=True)
class Artifact:
    """Folder `results/<kind>/<name>`, with the section of the configuration that its stage reads, and its input artifacts.

    Attributes:
        config: section of the configuration that its stage reads.
        inputs: paths below results/, by role.
        label: the name of the artifact on the terminal.
        origin: what determines the content besides the configuration: versions, checksums.
        family: family of the model that it is made from, which its inputs determine.
        called: the study's name for a task or a set of texts, which is written to its configuration besides the fields.
    """

    kind: str
    name: str
    config: Strict
    inputs: dict[str, str]
    label: str
    origin: Any = None
    family: str | None = None
    called: str | None = None

    @property
    def description(self) -> dict[str, object]:
        """Return the content of its config.json, which its stage reads, as builtin values."""
        return {
            "kind": self.kind,
            "name": self.name,
            "label": self.label,
            "config": _written(self.kind, self.config, self.called),
            "inputs": self.inputs,
            "origin": self.origin,
            **({"family": self.family} if self.family else {}),
        }

    @property
    def path(self) -> str:
        """Return `<kind>/<name>`, relative to the results folder."""
        return f"{self.kind}/{self.name}"


class Planner:
    """Collection of a study's artifacts, in which equal content yields one artifact.

    Args:
        bundle: a bundle that contains the origins of external files, or that records them; without one, they are looked up.
    """

    def __init__(self, bundle: Bundle | Gathering | None = None) -> None:
        self.bundle = bundle
        self.artifacts: dict[str, Artifact] = {}
        self.origins: dict[str, object] = {}

    def origin(self, lookup: Callable[[Any], Any], config: Strict) -> Any:
        """Return `lookup(config)`, which is computed once for equal configurations."""
        key = f"{lookup.__name__} {config.model_dump_json()}"
        if key not in self.origins:
            self.origins[key] = self.bundle.origin(key, lookup, config) if self.bundle else lookup(config)
        return self.origins[key]

    def add(
        self,
        kind: str,
        slug: str,
        config: Strict,
        inputs: dict[str, str],
        label: str,
        origin: Any = None,
        family: str | None = None,
        called: str | None = None,
    ) -> str:
        """Add an artifact, unless an equal one exists, and return its path.

        Its fingerprint depends on the content of a local file, not on its path.

        Args:
            kind: kind of artifact, which names its folder.
            slug: start of its name, before the fingerprint.
            config: section of the configuration that its stage reads.
            inputs: paths of its input artifacts, by role.
            label: name on the terminal.
            origin: what determines its content besides the configuration and inputs.
            family: family of the model that it is made from, if any.
            called: the study's name for a task or a set of texts.
        """
        values = _written(kind, config, called)
        content = {
            "config": {key: value for key, value in values.items() if key not in LOCAL_PATHS},
            "inputs": inputs,
            "origin": origin,
        }
        artifact = Artifact(kind, identity(slug, content), config, inputs, label, origin, family, called)
        self.artifacts.setdefault(artifact.path, artifact)
        return artifact.path


def _written(kind: str, config: Strict, called: str | None) -> dict[str, object]:
    """Return the configuration of an artifact as builtin values, as its stage reads it."""
    return {**({kind: called} if called is not None else {}), **config.model_dump(mode="json")}


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
            if config.kind == "vectors":
                read_folder(folder)
                return
            check_folder(folder, config.name)
            if config.embeds:
                check_dense_encoder(folder, config.name)
            if config.kind != "static":  # whose vectors have no positions
                check_positions(folder, config.max_seq_length, config.name)

        return checked(f"{config.kind} model of {config.max_seq_length} tokens", folder, check, job=None)
    if source == "package":
        packaged = packaged_folder(config.name)
        assert packaged is not None
        verify(config.name, packaged)
        if config.kind != "static":
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


def engine_origin(config: Engine) -> Any:
    """Return what determines the results of an engine besides its fields: versions of its packages, and of a plugin's."""
    return {**config.package_versions(), **distribution(type(config))}


# Kinds of artifacts that a registered class makes: a source, a task, a set of texts, a deployment, or the loss of a training.
REGISTERED = ("data", "task", "texts", "deploy", "train")


def registered_modules(artifact: "Artifact") -> tuple[str, ...]:
    """Return the modules that an artifact's job runs besides its stage's own: of its registered class, then of its model's family."""
    registered: object = artifact.config
    if isinstance(artifact.config, TrainingConfig):
        registered = artifact.config.method.loss
    own: tuple[str, ...] = (type(registered).__module__,) if artifact.kind in REGISTERED else ()
    if isinstance(artifact.config, EvaluateConfig):
        metrics = {metric.__module__ for metric in artifact.config.metric_classes() if distribution(metric)}
        own = tuple(sorted(metrics | {type(engine).__module__ for engine in artifact.config.engines}))
    part = next((stage for stage in FAMILY_STAGES if stage == artifact.kind), None)
    if isinstance(artifact.config, TrainingConfig):
        part = training_part(artifact.config.method.head is not None)
    return (*own, part_name(artifact.family, part)) if artifact.family and part else own
