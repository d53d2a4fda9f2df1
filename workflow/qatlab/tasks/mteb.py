"""Tasks of mteb, by name."""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from qatlab.base import FullLine, Line
from qatlab.config.kind import Kind
from qatlab.tasks.task import TASKS, Loaded, Task


@TASKS.register("mteb")
class MtebTask(Task):
    """A retrieval, reranking or STS task of mteb, by the name that mteb gives it, at the revision that mteb names."""

    judges_missing_texts: ClassVar[bool] = True

    source: Literal["mteb"]
    name: FullLine
    split: Annotated[Line | None, Field(description="Of its evaluation splits; null where it has one only")] = None
    subset: Annotated[Line | None, Field(description="Such as a language; null where it has one only")] = None

    def origin(self) -> dict[str, Any]:
        """Return what mteb says of the task."""
        from qatlab.data.mteb_tasks import look_up

        return look_up(self.name, self.split, self.subset).as_dict()

    def on_hub(self, origin: Any) -> tuple[str, str] | None:
        """Return the data set and revision that mteb names."""
        return origin["dataset"], origin["revision"]

    def kind_of(self, origin: Any) -> Kind:
        """Return the kind that mteb gives the task."""
        kind: Kind = origin["kind"]
        return kind

    def load(self, name: str, model: Path | None) -> Loaded:
        """Return what mteb loads."""
        from qatlab.data.mteb_tasks import load, look_up

        task = look_up(self.name, self.split, self.subset)
        more = {"mteb": task.as_dict(), "ignore_identical_ids": task.ignore_identical_ids}
        return Loaded(task.kind, *load(task), more)

    def in_mteb(self, kind: Kind) -> bool:
        """Return False for reranking, which mteb scores by ranks among all candidates, and qatlab by the best-placed positive."""
        return kind != "reranking"

    def mteb_source(self, manifest: dict[str, Any]) -> dict[str, Any]:
        """Return what mteb said when the task was read."""
        known = manifest["mteb"]
        return {
            "task": known["name"],
            "dataset_revision": known["revision"],
            "split": known["split"],
            "subset": known["subset"],
        }
