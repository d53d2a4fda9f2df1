"""Which registered class an artifact is made by."""

from typing import TYPE_CHECKING, Any

from qatlab.deployments.deployment import DEPLOYMENTS
from qatlab.registry import Registry
from qatlab.sources.source import SOURCES
from qatlab.tasks.task import TASKS
from qatlab.text_sets.text_set import TEXT_SETS

if TYPE_CHECKING:
    from qatlab.plan.artifacts import Artifact

REGISTRIES: dict[str, Registry[Any]] = {  # by the kind of artifact
    "data": SOURCES,
    "task": TASKS,
    "texts": TEXT_SETS,
    "deploy": DEPLOYMENTS,
}


def registered_modules(artifact: "Artifact") -> tuple[str, ...]:
    """Return the module of the registered class that makes an artifact; nothing for kinds without a registry."""
    registry = REGISTRIES.get(artifact.kind)
    if registry is None:
        return ()
    return (registry.get(artifact.config[registry.key]).__module__,)
