"""Source of training data that reads a data set of the Hugging Face hub."""

from typing import TYPE_CHECKING, Literal

from qatlab.registry import FullLine, HubColumns, HubSplit
from qatlab.sources.source import SOURCES, DataManifest, Source

if TYPE_CHECKING:
    import pandas as pd


@SOURCES.register("hub")
class HubDataset(HubSplit, Source):
    """One split of a data set of the Hugging Face hub."""

    source: Literal["hub"]
    split: FullLine = "train"
    columns: HubColumns = ["anchor", "positive"]

    def load(self) -> "tuple[pd.DataFrame, str | None]":
        """Return the text columns of the split, and the commit of the data set (None in offline mode).

        Raises:
            UserError: for an unknown data set, subset, split, revision or column, or if the hub cannot be reached.
        """
        from qatlab.hub import load_texts

        return load_texts(self.name, self.subset, self.split, self.revision, self.columns)

    def hub_ids(self) -> list[str]:
        """Return a list with the id of the data set."""
        return [self.name]

    def describe(self, manifest: DataManifest) -> str:
        """Return a Markdown link to the data set, with the commit that was read."""
        commit = f" at commit `{manifest.commit}`" if manifest.commit else ""
        return f" of [{self.name}](https://huggingface.co/datasets/{self.name}){commit}"
