"""Documents of a user's own: a retrieval task with judgements, or without any the agreement of a search with the float search."""

from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
from pydantic import Field, model_validator

from qatlab.deployments.vectors import places, read_vectors
from qatlab.errors import UserError
from qatlab.evaluation.task import Kind
from qatlab.registry import LocalPath, Strict
from qatlab.tasks.beir import check_ids, check_judgements, read_documents, read_judgements, read_queries
from qatlab.tasks.task import TASKS, Loaded, Queries, Task

DRAWN = 1000  # documents that are queries where no queries are given, unless the task sets a number
LEAST = 12  # documents: with fewer, the 10 best of all others are all of them


class DocumentPaths(Strict):
    """Files of the documents, the queries and the judgements."""

    corpus: Annotated[
        LocalPath,
        Field(
            description="JSON Lines file of documents with the keys text, or title and text, and _id; without any _id, the ids are the "
            "numbers of the lines."
        ),
    ]
    queries: Annotated[
        LocalPath | None,
        Field(
            description="JSON Lines file of queries with the keys text and _id; null draws queries from the documents."
        ),
    ] = None
    qrels: Annotated[
        LocalPath | None,
        Field(
            description="Tab-separated file of judgements with the columns query-id, corpus-id and score; without one, the task "
            "measures the agreement with the float search."
        ),
    ] = None

    @model_validator(mode="after")
    def _judged_queries_are_given(self) -> "DocumentPaths":
        if self.qrels is not None and self.queries is None:
            raise ValueError("qrels judge documents for queries; give the file of the queries too")
        return self

    def files(self) -> dict[str, Path]:
        """Return the path of each file that is given, by its key."""
        given = {"corpus": self.corpus, "queries": self.queries, "qrels": self.qrels}
        return {key: Path(path).expanduser() for key, path in given.items() if path is not None}


@TASKS.register("documents")
class Documents(Task):
    """Documents in a JSON Lines file, with queries and judgements, with queries alone, or alone.

    Without judgements the task is of the kind agreement: it measures how far a search of quantized embeddings finds what the float
    search of the same embeddings finds. Without queries, documents are drawn as queries, and a query's own document is left out of its
    results.
    """

    source: Literal["documents"]
    paths: Annotated[DocumentPaths, Field(description="Files of the documents, the queries and the judgements.")]
    queries: Annotated[
        Queries,
        Field(
            description="Number of queries to keep after shuffling, or of documents to draw as queries; null keeps all, or draws "
            f"{DRAWN:,}."
        ),
    ] = None

    def origin(self) -> dict[str, object]:
        """Return the SHA-256 checksum of each file.

        Raises:
            UserError: if a file does not exist or is not valid.
        """
        from qatlab.remembered import checked_files

        files = self.paths.files()
        for path in files.values():
            if not path.is_file():
                raise UserError(f"task file '{path}' does not exist")
        question = f"{self.source} {' '.join(files)}"
        return {"files": list(files), **checked_files(question, list(files.values()), self._tables)}

    def kind_of(self, origin: Any) -> Kind:
        """Return retrieval if there are judgements, else agreement."""
        return "retrieval" if self.paths.qrels is not None else "agreement"

    def load(self, name: str, model: Path | None) -> Loaded:
        """Return the documents, the given or drawn queries, and the judgements, if any; see `Task.load`."""
        documents, queries, judgements = self._tables()
        kind = self.kind_of(None)
        if queries is not None:
            return Loaded(kind, documents, queries, judgements)
        count = min(self.queries or DRAWN, len(documents))
        drawn = documents.sort_values("id").sample(n=count, random_state=self.shuffle_seed)
        more = {"ignore_identical_ids": True, "drawn_queries": {"documents": count, "seed": self.shuffle_seed}}
        return Loaded(kind, documents, drawn, judgements, more)

    def _tables(self) -> tuple[pd.DataFrame, pd.DataFrame | None, pd.DataFrame]:
        """Return documents, queries (None if they are drawn) and judgements; raise a UserError if a file is invalid."""
        files = self.paths.files()
        documents = self._texts(files, "corpus")
        queries, judgements = None, pd.DataFrame(columns=["query_id", "doc_id", "relevance"])
        if "queries" in files:
            queries = self._texts(files, "queries")
        if "qrels" in files:
            assert queries is not None
            judgements = read_judgements(files["qrels"])
            check_judgements((files["corpus"], files["queries"], files["qrels"]), documents, queries, judgements)
        elif len(documents) < LEAST:
            raise UserError(
                f"{files['corpus']}: {len(documents)} documents; the agreement of the 10 best results needs at least {LEAST}"
            )
        return documents, queries, judgements

    def _texts(self, files: dict[str, Path], key: str) -> pd.DataFrame:
        """Return the ids and texts of the file of a key, `corpus` or `queries`."""
        texts = (read_documents if key == "corpus" else read_queries)(files[key], numbered=True)
        check_ids(files[key], texts)
        return texts


@TASKS.register("vectors")
class Vectors(Documents):
    """Documents and queries of which the embeddings are stored in files; as `Documents`, with judgements or without.

    Its texts are the places of the embeddings, which the deployment `vectors` reads.
    """

    source: Literal["vectors"]  # type: ignore[assignment]

    def _texts(self, files: dict[str, Path], key: str) -> pd.DataFrame:
        """Return the ids and places of the embeddings in the file of a key."""
        return places("documents" if key == "corpus" else "queries", read_vectors(files[key])[0])
