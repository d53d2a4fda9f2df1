"""Which registered class, and which part of a model family, an artifact is made by."""

from typing import TYPE_CHECKING, Any

from qatlab.deployments.deployment import DEPLOYMENTS
from qatlab.families.parts import STAGES, part_name
from qatlab.registry import Registry
from qatlab.sources.source import SOURCES
from qatlab.tasks.task import TASKS
from qatlab.text_sets.text_set import TEXT_SETS
from qatlab.training_losses.loss import LOSSES

if TYPE_CHECKING:
    from qatlab.plan.artifacts import Artifact

REGISTRIES: dict[str, Registry[Any]] = {  # by the kind of artifact
    "data": SOURCES,
    "task": TASKS,
    "texts": TEXT_SETS,
    "deploy": DEPLOYMENTS,
}


def registered_modules(artifact: "Artifact") -> tuple[str, ...]:
    """Return the modules that make an artifact besides its stage's own: of its registered class, then of its model's family."""
    registry, choice = REGISTRIES.get(artifact.kind), artifact.config
    if artifact.kind == "train":
        registry, choice = LOSSES, artifact.config["method"]["loss"]
    own = (registry.get(choice[registry.key]).__module__,) if registry else ()
    part = next((stage for stage in STAGES if stage == artifact.kind), None)
    return (*own, part_name(artifact.family, part)) if artifact.family and part else own
