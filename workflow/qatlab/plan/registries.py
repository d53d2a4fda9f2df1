"""Which registry an artifact's configuration is of."""

from typing import Any

from qatlab.registry import Registry
from qatlab.sources.source import SOURCES
from qatlab.tasks.task import TASKS

REGISTRIES: dict[str, Registry[Any]] = {"data": SOURCES, "task": TASKS}  # by the kind of artifact
