"""Stage task: an evaluation task of any source as three Parquet tables with a manifest."""

from pathlib import Path

import pandas as pd

from qatlab.artifact import sha256_of, write_json
from qatlab.errors import UserError
from qatlab.evaluation.task import PAIRED, Kind
from qatlab.job import JobDescription
from qatlab.progress import say
from qatlab.tasks.task import TASKS, Loaded, Task


def run(description: JobDescription, inputs: dict[str, Path], output: Path, threads: int | None) -> None:
    """Write documents.parquet (id, text), queries.parquet (id, text), qrels.parquet (query_id, doc_id, relevance), manifest.json."""
    values = dict(description.config)
    name = values.pop("task")
    config = TASKS.read(values)
    loaded = config.load(name, inputs["model"] / "model" if "model" in inputs else None)
    documents = loaded.documents
    queries, qrels, unjudged = _judged(name, loaded, config)
    if unjudged:
        missing = "positive and a negative" if loaded.kind == "reranking" else "relevant document"
        say(f"task {name}: {unjudged} of {len(loaded.queries)} queries have no {missing}, and are left out")
    if loaded.kind == "reranking":  # the others are not candidates of any remaining query
        documents = documents[documents["id"].isin(set(qrels["doc_id"]))]
    if loaded.kind in PAIRED:
        documents = documents[documents["id"].isin(set(queries["id"]))]
    tables = {
        "documents": documents.sort_values("id"),
        "queries": queries.sort_values("id"),
        "qrels": qrels.sort_values(["query_id", "doc_id"]),
    }
    for table, rows in tables.items():
        rows.reset_index(drop=True).to_parquet(output / f"{table}.parquet", index=False)
    manifest = {
        "name": name,
        "kind": loaded.kind,
        "source": config.source,
        "origin": description.origin,
        "rows": {table: len(rows) for table, rows in tables.items()},
        "queries_without_judgement": unjudged,
        **loaded.more,
    }
    checksums = {table: sha256_of(output / f"{table}.parquet") for table in tables}
    write_json(output / "manifest.json", {**manifest, "sha256": checksums})


def _judged(name: str, loaded: Loaded, config: Task) -> tuple[pd.DataFrame, pd.DataFrame, int]:
    """Return at most `config.queries` queries that can be scored, their judgements, and the number of queries that cannot be."""
    documents, queries, qrels = loaded.documents, loaded.queries, loaded.judgements
    if documents.empty or queries.empty:
        raise UserError(
            f"task '{name}' has {len(documents)} documents and {len(queries)} queries; it needs some of both"
        )
    named = qrels[["query_id", "doc_id"]]
    if config.judges_missing_texts:
        qrels = qrels[qrels["query_id"].isin(set(queries["id"]))]
        named = named[:0]
    _check_ids(name, "document", documents, named["doc_id"])
    _check_ids(name, "query", queries, named["query_id"])
    judged = set(queries["id"]) if loaded.kind == "agreement" else _answered(loaded.kind, qrels)
    kept = queries[queries["id"].isin(judged)]
    if kept.empty:
        raise UserError(f"task '{name}' has no query with a relevant document")
    if not config.chooses_queries and config.queries is not None:
        kept = kept.sample(n=min(config.queries, len(kept)), random_state=config.shuffle_seed)
    return kept, qrels[qrels["query_id"].isin(set(kept["id"]))], len(queries) - len(set(queries["id"]) & judged)


def _answered(kind: Kind, qrels: pd.DataFrame) -> set[str]:
    """Return the queries with a relevant document, and for reranking also an irrelevant one; for similarity, all pairs."""
    if kind == "similarity":
        return set(qrels["query_id"])
    relevant = set(qrels.loc[qrels["relevance"] > 0, "query_id"])
    return relevant & set(qrels.loc[qrels["relevance"] <= 0, "query_id"]) if kind == "reranking" else relevant


def _check_ids(name: str, table_kind: str, table: pd.DataFrame, named: pd.Series) -> None:
    """Raise UserError for an id of two texts, or for an id in the judgements that no text has."""
    twice = table.loc[table["id"].duplicated(), "id"]
    if len(twice):
        raise UserError(
            f"task '{name}': {len(twice)} {table_kind} ids occur twice, such as '{twice.iloc[0]}'; ids must be unique"
        )
    unknown = set(named) - set(table["id"])
    if unknown:
        reason = "is missing from the corpus" if table_kind == "document" else "is not a query"
        raise UserError(
            f"task '{name}': judgements name {table_kind} '{min(unknown)}', which {reason} ({len(unknown)} such)"
        )
