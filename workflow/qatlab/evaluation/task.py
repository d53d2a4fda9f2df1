"""An evaluation task: its kind, which determines how it is scored, its queries, its documents and its judgements."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow.parquet as pq

from qatlab.artifact import read_json

Kind = Literal["retrieval", "agreement", "reranking", "similarity", "translation", "language_modelling"]

# In tasks of these kinds, a query and the document with the same id form one item.
PAIRED: tuple[Kind, ...] = ("similarity", "translation", "language_modelling")
# In tasks of these kinds, all documents are searched for each query.
SEARCHED: tuple[Kind, ...] = ("retrieval", "agreement")


MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Task:
    """The ids and judgements of a task artifact; embeddings are in the order of the ids.

    Attributes:
        kind: Kind of the task. retrieval ranks all documents for each query; agreement compares such rankings with those of float
            embeddings, without judgements; reranking ranks the documents that are judged for it;
            similarity compares the first query with the first document, the second with the second, and so on.
        query_ids, document_ids: Ids in the order of the tables.
        judgements: By query id and document id, the relevance grade (retrieval), 1 or 0 (reranking), or the similarity of the two
            texts (similarity); empty for agreement.
        ignore_identical_ids: Whether a document with the id of the query is excluded from its results (for tasks whose queries are
            documents).
    """

    kind: Kind
    query_ids: list[str]
    document_ids: list[str]
    judgements: dict[str, dict[str, float]]
    ignore_identical_ids: bool = False

    def relevant(self, query: str) -> dict[str, float]:
        """Return the ids of a query's relevant documents and their grades."""
        return {document: grade for document, grade in self.judgements.get(query, {}).items() if grade > 0}


def load_task(folder: Path) -> Task:
    """Load a Task from the folder of a task artifact."""
    manifest = read_json(folder / MANIFEST)
    document_ids, query_ids = (
        pq.read_table(folder / f"{name}.parquet", columns=["id"])["id"].to_pylist() for name in ("documents", "queries")
    )
    judgements: dict[str, dict[str, float]] = {}
    for row in pq.read_table(folder / "qrels.parquet").to_pylist():
        judgements.setdefault(row["query_id"], {})[row["doc_id"]] = row["relevance"]
    return Task(manifest["kind"], query_ids, document_ids, judgements, manifest.get("ignore_identical_ids", False))
