"""task: an evaluation task, from wherever it comes, as three Parquet tables with a manifest."""

import random
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import TypeAdapter

from qatlab.artifact import sha256_of, write_json
from qatlab.config.task import DocstringTask, HubTask, LocalTask, TaskConfig
from qatlab.errors import UserError


def run(description: dict[str, Any], inputs: dict[str, Path], output: Path, threads: int | None) -> None:
    """Writes documents.parquet (id, text), queries.parquet (id, text), qrels.parquet (query_id, doc_id, relevance), manifest.json."""
    values = dict(description["config"])
    name = values.pop("task")
    config: DocstringTask | LocalTask | HubTask = TypeAdapter(TaskConfig).validate_python(values)
    (documents, queries, qrels), commit = _load(config)
    queries, qrels, unjudged = _judged(name, documents, queries, qrels, config)
    tables = {
        "documents": documents.sort_values("id"),
        "queries": queries.sort_values("id"),
        "qrels": qrels.sort_values(["query_id", "doc_id"]),
    }
    for table, rows in tables.items():
        rows.reset_index(drop=True).to_parquet(output / f"{table}.parquet", index=False)
    counts = {table: len(rows) for table, rows in tables.items()}
    checksums = {table: sha256_of(output / f"{table}.parquet") for table in tables}
    manifest = {
        "name": name,
        "source": config.source,
        "origin": description["origin"],
        "rows": counts,
        "queries_without_judgement": unjudged,
    } | ({"commit": commit} if commit else {})
    write_json(output / "manifest.json", {**manifest, "sha256": checksums})


def _load(
    config: DocstringTask | LocalTask | HubTask,
) -> tuple[tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame], str | None]:
    """Documents, queries and judgements and, of the hub, the commit that they are of."""
    if isinstance(config, DocstringTask):
        return _docstring_task(config), None
    if isinstance(config, LocalTask):
        from qatlab.data.beir import load

        return load(Path(config.path).expanduser(), config.split), None
    return _hub_task(config)


def _docstring_task(config: DocstringTask) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    from qatlab.data.docstrings import extract

    pairs = extract(config.package)
    random.Random(config.shuffle_seed).shuffle(pairs)
    pairs = pairs[: config.documents]
    asked = pairs[: config.queries]
    return (
        pd.DataFrame([(pair.id, pair.code) for pair in pairs], columns=["id", "text"]),
        pd.DataFrame([(pair.id, pair.summary) for pair in asked], columns=["id", "text"]),
        pd.DataFrame([(pair.id, pair.id, 1) for pair in asked], columns=["query_id", "doc_id", "relevance"]),
    )


def _hub_task(config: HubTask) -> tuple[tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame], str | None]:
    from qatlab.data.hub import load_splits

    subsets, commit = load_splits(config.name, ["corpus", "queries", "qrels"], config.split, config.revision, "task")
    documents, queries = (table.rename(columns={"_id": "id"})[["id", "text"]] for table in subsets[:2])
    qrels = subsets[2].rename(columns={"query-id": "query_id", "corpus-id": "doc_id", "score": "relevance"})
    if "relevance" not in qrels.columns:
        qrels["relevance"] = 1  # NanoBEIR lists relevant pairs without grades
    return (documents, queries, qrels[["query_id", "doc_id", "relevance"]]), commit


def _judged(
    name: str,
    documents: pd.DataFrame,
    queries: pd.DataFrame,
    qrels: pd.DataFrame,
    config: DocstringTask | LocalTask | HubTask,
) -> tuple[pd.DataFrame, pd.DataFrame, int]:
    """Queries that have a relevant document among the documents, at most `config.queries` of them."""
    if documents.empty or queries.empty:
        raise UserError(
            f"task '{name}' has {len(documents)} documents and {len(queries)} queries; it needs some of both"
        )
    for what, table in (("document", documents), ("query", queries)):
        _check_ids(name, what, table, qrels["doc_id" if what == "document" else "query_id"])
    judged = set(qrels.loc[qrels["relevance"] > 0, "query_id"])
    kept = queries[queries["id"].isin(judged)]
    if kept.empty:
        raise UserError(f"task '{name}' has no query with a relevant document")
    if not isinstance(config, DocstringTask) and config.queries is not None:
        kept = kept.sample(n=min(config.queries, len(kept)), random_state=config.shuffle_seed)
    return kept, qrels[qrels["query_id"].isin(set(kept["id"]))], len(queries) - len(set(queries["id"]) & judged)


def _check_ids(name: str, what: str, table: pd.DataFrame, named: pd.Series) -> None:
    """Raises UserError for an id that stands for two texts, or that judgements name and nothing has."""
    twice = table.loc[table["id"].duplicated(), "id"]
    if len(twice):
        raise UserError(
            f"task '{name}': {len(twice)} {what} ids are there twice, such as '{twice.iloc[0]}'; ids must be unique"
        )
    unknown = set(named) - set(table["id"])
    if unknown:
        missing = "the corpus does not hold" if what == "document" else "is no query"
        raise UserError(
            f"task '{name}': judgements name {what} '{min(unknown)}', which {missing} ({len(unknown)} such)"
        )
