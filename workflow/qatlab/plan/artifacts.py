"""Artifacts: folders named after what makes them, and the collection of them that a study needs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from qatlab.artifact import identity
from qatlab.base import Strict
from qatlab.bundle import Bundle, Gathering

LOCAL_PATHS = ("path", "paths")


class Nothing(Strict):
    """The configuration of an artifact that follows from its inputs alone."""


@dataclass(frozen=True)
class Artifact:
    """A folder `results/<kind>/<name>`, the configuration slice its stage reads, and the artifacts it is made from.

    Attributes:
        config: typed until it is written.
        inputs: paths below results/, by role.
        label: the name of the artifact on the terminal.
        origin: content outside of the configuration: versions, checksums.
        family: of the model that it is made from, which its inputs decide.
        called: the study's name for a task or a set of texts, which stands in its configuration beside the fields.
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
        """Return what its stage reads, and keeps as config.json, as builtin values."""
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
        """`<kind>/<name>`, relative to the results folder."""
        return f"{self.kind}/{self.name}"


class Planner:
    """Collects artifacts; the same content gives the same artifact, made once.

    Args:
        bundle: what knows the origins of things outside, or remembers them; without one, they are looked up.
    """

    def __init__(self, bundle: Bundle | Gathering | None = None) -> None:
        self.bundle = bundle
        self.artifacts: dict[str, Artifact] = {}
        self.origins: dict[str, object] = {}

    def origin(self, lookup: Callable[[Any], Any], config: Strict) -> Any:
        """`lookup(config)`, asked once for equal configurations."""
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
        """Add an artifact, unless there is an equal one, and return its path.

        A local path is not part of its identity: the content of the file is.

        Args:
            slug: the words of its name, before the fingerprint.
            kind, config, inputs, label, origin, family, called: attributes of `Artifact`.
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
