"""Which registry an artifact's configuration is of."""

from typing import Any

from qatlab.registry import Registry
from qatlab.sources.source import SOURCES
from qatlab.tasks.task import TASKS
from qatlab.text_sets.text_set import TEXT_SETS

REGISTRIES: dict[str, Registry[Any]] = {"data": SOURCES, "task": TASKS, "texts": TEXT_SETS}  # by the kind of artifact
