"""Task of the mteb library, chosen by its name."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from qatlab.evaluation.task import Kind
from qatlab.registry import FullLine, Line
from qatlab.tasks.task import TASKS, Loaded, MtebSource, Task


@TASKS.register("mteb")
class MtebTask(Task):
    """Retrieval, reranking or STS task of mteb, chosen by its name in mteb and at the data set revision that mteb pins."""

    judges_missing_texts: ClassVar[bool] = True

    source: Literal["mteb"]
    name: FullLine
    split: Annotated[
        Line | None, Field(description="Evaluation split; null is valid for a task that has only one.")
    ] = None
    subset: Annotated[
        Line | None, Field(description="Subset, such as a language; null is valid for a task that has only one.")
    ] = None

    def origin(self) -> dict[str, object]:
        """Return the metadata that mteb has for the task."""
        from qatlab.data.mteb_tasks import look_up

        return look_up(self.name, self.split, self.subset).as_dict()

    def on_hub(self, origin: Any) -> tuple[str, str] | None:
        """Return the data set id and revision that mteb pins."""
        return origin["dataset"], origin["revision"]

    def kind_of(self, origin: Any) -> Kind:
        """Return the kind of the task, as its type in mteb determines it."""
        kind: Kind = origin["kind"]
        return kind

    def load(self, name: str, model: Path | None) -> Loaded:
        """Return the texts and judgements that mteb loads, with the task's metadata for the manifest."""
        from qatlab.data.mteb_tasks import load, look_up

        task = look_up(self.name, self.split, self.subset)
        more = {"mteb": task.as_dict(), "ignore_identical_ids": task.ignore_identical_ids}
        return Loaded(task.kind, *load(task), more)

    def in_mteb(self, kind: Kind) -> bool:
        """Return False for reranking, which mteb scores by ranks among all candidates, and qatlab by the best-ranked positive."""
        return kind != "reranking"

    def mteb_source(self, manifest: Mapping[str, Any]) -> MtebSource:
        """Return the names that mteb had for the task when it was read, from the manifest."""
        known = manifest["mteb"]
        return MtebSource(known["name"], known["revision"], known["split"], known["subset"])
