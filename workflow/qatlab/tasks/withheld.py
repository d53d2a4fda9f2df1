"""Reranking tasks on held-out records: a query, its positives, and hard negatives below which no positive should rank."""

from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from qatlab.config.mining import MiningConfig
from qatlab.evaluation.task import Kind
from qatlab.registry import HubSplit, LocalPath, Name, RecordKeys
from qatlab.tasks.task import TASKS, Loaded, Task

if TYPE_CHECKING:
    from qatlab.data.withheld import Record


class Records(Task):
    """Base class of the tasks on held-out records, whose negatives are given or mined."""

    kind: ClassVar[Kind] = "reranking"

    mined: Annotated[MiningConfig, Field(description="How hard negatives are mined for records that have none.")] = (
        MiningConfig()
    )

    @abstractmethod
    def records(self, name: str) -> "tuple[list[Record], str | None]":
        """Return the records, and the hub commit that they come from (None for other sources)."""

    def load(self, name: str, model: Path | None) -> Loaded:
        """Return the records as a task, after mining negatives for the records that have none."""
        from qatlab.data.mining import mine
        from qatlab.data.withheld import as_task

        records, commit = self.records(name)
        mined = sum(not record.negatives for record in records)
        more = {"records_with_mined_negatives": mined} | ({"commit": commit} if commit else {})
        return Loaded("reranking", *as_task(mine(records, self.mined, model)), more)

    def mines_with(self) -> MiningConfig | None:
        """Return the configuration of hard-negative mining if it uses a model, else None."""
        return self.mined if self.mined.model else None


@TASKS.register("withheld")
class WithheldTask(RecordKeys, Records):
    """Held-out records in a JSON Lines file: a query, its positives, and hard negatives."""

    source: Literal["withheld"]
    path: Annotated[LocalPath, Field(description="Path of the file.")]

    def origin(self) -> dict[str, object]:
        """Return the SHA-256 checksum of the file."""
        from qatlab.data.withheld import load
        from qatlab.remembered import checked

        path = Path(self.path).expanduser()
        return checked(f"records {self.model_dump_json()}", path, lambda: load(path, self, self.mined.mines, "NAME"))

    def records(self, name: str) -> "tuple[list[Record], None]":
        """Return the records of the file, and None, since there is no hub commit."""
        from qatlab.data.withheld import load

        return load(Path(self.path).expanduser(), self, self.mined.mines, name), None


@TASKS.register("hub_withheld")
class HubWithheldTask(HubSplit, RecordKeys, Records):
    """Held-out records that are the rows of a hub data set."""

    source: Literal["hub_withheld"]

    def records(self, name: str) -> "tuple[list[Record], str | None]":
        """Return the rows of the split as records, and the hub commit."""
        import numpy as np

        from qatlab.data.withheld import as_records
        from qatlab.hub import load_split

        table, commit = load_split(self.name, self.subset, self.split, self.revision, "task")
        listed = table.map(lambda value: value.tolist() if isinstance(value, np.ndarray) else value)
        where = f"task '{self.name}'"
        rows = [
            (f"{where}, record {number}", dict(zip(listed.columns, row, strict=True)))
            for number, row in enumerate(listed.to_numpy(), start=1)
        ]
        return as_records(rows, self, self.mined.mines, where, name), commit


@TASKS.register("docstring_withheld")
class DocstringWithheldTask(Records):
    """Functions of an installed package: a docstring summary as query, its code as positive, and the code of others as negatives."""

    source: Literal["docstring_withheld"]
    package: Annotated[Name, Field(description="Import name of an installed package, or 'stdlib'.")]
    mined: MiningConfig = MiningConfig(bm25=4)

    @model_validator(mode="after")
    def _mines(self) -> "DocstringWithheldTask":
        if not self.mined.mines:
            raise ValueError("functions have no negatives; set mined.bm25 or mined.model above 0")
        return self

    def origin(self) -> dict[str, str]:
        """Return the version of the package, by its name."""
        from qatlab.data.docstrings import package_version

        return {self.package: package_version(self.package)}

    def records(self, name: str) -> "tuple[list[Record], None]":
        """Return one record per function, without negatives, and None, since there is no hub commit."""
        from qatlab.data.docstrings import extract
        from qatlab.data.withheld import Record

        return [Record(pair.summary, [pair.code], []) for pair in extract(self.package)], None
