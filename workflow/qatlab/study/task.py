"""Configuration of the evaluation tasks (conf/task): any registered task."""

from typing import TYPE_CHECKING, TypeAlias

from qatlab.tasks.task import TASKS, Task

if TYPE_CHECKING:
    TaskConfig: TypeAlias = Task
else:
    TaskConfig = TASKS.config_type()
