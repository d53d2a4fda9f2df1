"""Modules of the registered class and of the part of a model family that make an artifact."""

from typing import TYPE_CHECKING

from qatlab.config.evaluate import EvaluateConfig
from qatlab.config.method import TrainingConfig
from qatlab.families.parts import STAGES, part_name
from qatlab.registry import distribution

if TYPE_CHECKING:
    from qatlab.plan.artifacts import Artifact

# Kinds of artifacts that a registered class makes: a source, a task, a set of texts, a deployment, or the loss of a training.
REGISTERED = ("data", "task", "texts", "deploy", "train")


def registered_modules(artifact: "Artifact") -> tuple[str, ...]:
    """Return the modules that an artifact's job runs besides its stage's own: of its registered class, then of its model's family."""
    registered: object = artifact.config
    if isinstance(artifact.config, TrainingConfig):
        registered = artifact.config.method.loss
    own: tuple[str, ...] = (type(registered).__module__,) if artifact.kind in REGISTERED else ()
    if isinstance(artifact.config, EvaluateConfig):
        own = tuple(sorted({metric.__module__ for metric in artifact.config.metric_classes() if distribution(metric)}))
    part = next((stage for stage in STAGES if stage == artifact.kind), None)
    return (*own, part_name(artifact.family, part)) if artifact.family and part else own
