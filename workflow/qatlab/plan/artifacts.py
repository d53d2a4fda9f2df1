"""Artifacts: folders named after what makes them, and the collection of them that a study needs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from qatlab.artifact import identity
from qatlab.bundle import Bundle, Gathering

LOCAL_PATHS = ("path", "paths")


@dataclass(frozen=True)
class Artifact:
    """A folder `results/<kind>/<name>`, the configuration slice its stage reads, and the artifacts it is made from."""

    kind: str
    name: str
    config: dict[str, Any]
    inputs: dict[str, str]  # role → path below results/
    label: str  # what a person watching the terminal reads
    origin: Any = None  # content outside the configuration: versions, checksums
    family: str | None = None  # of the model that it is made from, which its inputs decide

    @property
    def description(self) -> dict[str, Any]:
        """What its stage reads, and what it keeps as config.json."""
        return {
            "kind": self.kind,
            "name": self.name,
            "label": self.label,
            "config": self.config,
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
        self.origins: dict[str, Any] = {}

    def origin(self, lookup: Callable[[Any], Any], config: BaseModel) -> Any:
        """`lookup(config)`, asked once for equal configurations."""
        key = f"{lookup.__name__} {config.model_dump_json()}"
        if key not in self.origins:
            self.origins[key] = self.bundle.origin(key, lookup, config) if self.bundle else lookup(config)
        return self.origins[key]

    def add(
        self,
        kind: str,
        slug: str,
        config: dict[str, Any],
        inputs: dict[str, str],
        label: str,
        origin: Any = None,
        family: str | None = None,
    ) -> str:
        """The path of an artifact. A local path is no part of its identity: the content it leads to is."""
        content = {
            "config": {key: value for key, value in config.items() if key not in LOCAL_PATHS},
            "inputs": inputs,
            "origin": origin,
        }
        artifact = Artifact(kind, identity(slug, content), config, inputs, label, origin, family)
        self.artifacts.setdefault(artifact.path, artifact)
        return artifact.path


def dump(section: BaseModel) -> dict[str, Any]:
    """A section of the configuration as builtin values."""
    values: dict[str, Any] = section.model_dump(mode="json")
    return values
