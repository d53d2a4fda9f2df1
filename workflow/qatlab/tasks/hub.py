"""Retrieval task that is read from the Hugging Face hub."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from qatlab.evaluation.task import Kind
from qatlab.registry import FullLine, HubId, Line
from qatlab.tasks.task import TASKS, Loaded, MtebSource, Task


@TASKS.register("hub")
class HubTask(Task):
    """Hub data set with the subsets corpus, queries and qrels, as NanoBEIR publishes them."""

    source: Literal["hub"]
    name: Annotated[HubId, Field(description="Id of the data set on the hub, owner/name.")]
    revision: Line = "main"
    split: FullLine = "train"
    mteb_name: Annotated[
        Line | None, Field(description="Name of the task in mteb; required for results in mteb's format.")
    ] = None

    def origin(self) -> str:
        """Return 'hub', because the revision identifies the content."""
        return "hub"

    def load(self, name: str, model: Path | None) -> Loaded:
        """Return the three subsets of the split; pairs without a relevance column get grade 1, as in NanoBEIR."""
        from qatlab.hub import load_splits

        subsets, commit = load_splits(self.name, ["corpus", "queries", "qrels"], self.split, self.revision, "task")
        documents, queries = (table.rename(columns={"_id": "id"})[["id", "text"]] for table in subsets[:2])
        qrels = subsets[2].rename(columns={"query-id": "query_id", "corpus-id": "doc_id", "score": "relevance"})
        if "relevance" not in qrels.columns:
            qrels["relevance"] = 1
        more = {"commit": commit} if commit else {}
        return Loaded("retrieval", documents, queries, qrels[["query_id", "doc_id", "relevance"]], more)

    def in_mteb(self, kind: Kind) -> bool:
        """Return whether the configuration gives the name of the task in mteb."""
        return self.mteb_name is not None

    def mteb_source(self, manifest: Mapping[str, Any]) -> MtebSource | None:
        """Return the configured name and split, with the commit that was read as the revision."""
        if self.mteb_name is None:
            return None
        revision = manifest.get("commit") or self.revision
        return MtebSource(self.mteb_name, revision, self.split, "default")
