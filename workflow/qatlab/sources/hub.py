"""Data sets of the Hugging Face hub."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from qatlab.config.base import FullLine, HubId, Line
from qatlab.config.fields import HubColumns
from qatlab.sources.source import SOURCES, Source

if TYPE_CHECKING:
    import pandas as pd


@SOURCES.register("hub")
class HubDataset(Source):
    """A data set of the Hugging Face hub."""

    source: Literal["hub"]
    name: Annotated[HubId, Field(description="Hub id, owner/name")]
    subset: Annotated[Line | None, Field(description="The configuration of the data set, where it has several")] = None
    split: FullLine = "train"
    revision: Annotated[Line, Field(description="Hub branch, tag or commit")] = "main"
    columns: HubColumns = ["anchor", "positive"]

    def origin(self) -> str:
        """Return 'hub': the revision is looked up there."""
        return "hub"

    def load(self) -> "tuple[pd.DataFrame, str | None]":
        """Return the rows of the split and the commit that they are of."""
        from qatlab.data.hub import load_texts

        return load_texts(self.name, self.subset, self.split, self.revision, self.columns)

    def hub_ids(self) -> list[str]:
        """Return the id of the data set."""
        return [self.name]

    def describe(self, manifest: dict[str, Any]) -> str:
        """Link the data set."""
        commit = f" at commit `{manifest['commit']}`" if manifest.get("commit") else ""
        return f" of [{self.name}](https://huggingface.co/datasets/{self.name}){commit}"
