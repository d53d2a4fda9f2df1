"""Data sets of the Hugging Face hub."""

from typing import TYPE_CHECKING, Any, Literal

from qatlab.base import FullLine
from qatlab.config.fields import HubColumns, HubSplit
from qatlab.sources.source import SOURCES, Source

if TYPE_CHECKING:
    import pandas as pd


@SOURCES.register("hub")
class HubDataset(HubSplit, Source):
    """A data set of the Hugging Face hub."""

    source: Literal["hub"]
    split: FullLine = "train"
    columns: HubColumns = ["anchor", "positive"]

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
