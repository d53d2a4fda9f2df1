"""What a model is evaluated on (conf/task): any registered task."""

from typing import TYPE_CHECKING, TypeAlias

from qatlab.tasks.task import TASKS, Task

if TYPE_CHECKING:
    TaskConfig: TypeAlias = Task
else:
    TaskConfig = TASKS.config_type()
