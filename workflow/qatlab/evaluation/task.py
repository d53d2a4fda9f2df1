"""What a task asks: its queries, its documents, and which of them belong together."""

from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from qatlab.artifact import read_json
from qatlab.config.kind import Kind

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Task:
    """Read from a task artifact; embeddings are in the order of the ids.

    Attributes:
        kind: retrieval: documents are ranked for each query. reranking: those that are judged for it are. similarity: the
            first query and the first document are a pair, and so on.
        query_ids, document_ids: names, in the order of the tables.
        judgements: by query, by document: its grade (retrieval), 1 or 0 (reranking), how alike they are (similarity).
        ignore_identical_ids: whether a document of the same name as the query is no answer to it (where queries are documents).
    """

    kind: Kind
    query_ids: list[str]
    document_ids: list[str]
    judgements: dict[str, dict[str, float]]
    ignore_identical_ids: bool = False

    def relevant(self, query: str) -> dict[str, float]:
        """The documents that answer a query, and how well."""
        return {document: grade for document, grade in self.judgements.get(query, {}).items() if grade > 0}


def load_task(folder: Path) -> Task:
    """Of a task artifact."""
    manifest = read_json(folder / MANIFEST)
    document_ids, query_ids = (
        pq.read_table(folder / f"{name}.parquet", columns=["id"])["id"].to_pylist() for name in ("documents", "queries")
    )
    judgements: dict[str, dict[str, float]] = {}
    for row in pq.read_table(folder / "qrels.parquet").to_pylist():
        judgements.setdefault(row["query_id"], {})[row["doc_id"]] = row["relevance"]
    return Task(manifest["kind"], query_ids, document_ids, judgements, manifest.get("ignore_identical_ids", False))
