"""Artifacts, which are folders named by a fingerprint of everything that determines their content, and their planner."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from qatlab.artifact import identity
from qatlab.bundle import Bundle, Gathering
from qatlab.registry import Strict

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
