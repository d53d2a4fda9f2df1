"""task: an evaluation task, from wherever it comes, as three Parquet tables with a manifest."""

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from pydantic import TypeAdapter

from qatlab.artifact import sha256_of, write_json
from qatlab.config.task import (
    AnyTask,
    DocstringTask,
    HubParallelTask,
    HubTask,
    HubTextTask,
    HubWithheldTask,
    Kind,
    LocalTask,
    LocalTextTask,
    MtebTask,
    NumeralTask,
    PackageTextTask,
    PairsTask,
    ParallelTask,
    RecordsTask,
    TaskConfig,
    TextTask,
    TranslationTask,
    WithheldTask,
)
from qatlab.errors import UserError
from qatlab.progress import say

if TYPE_CHECKING:
    from qatlab.data.withheld import Record

# Kinds of tasks in which a query and the document of the same name are one item.
PAIRED: tuple[Kind, ...] = ("similarity", "translation", "language_modelling")


@dataclass(frozen=True)
class Loaded:
    """A task as it comes.

    Attributes:
        kind: what is asked.
        documents, queries: columns id, text.
        judgements: columns query_id, doc_id, relevance.
        more: what else the manifest says of it.
    """

    kind: Kind
    documents: pd.DataFrame
    queries: pd.DataFrame
    judgements: pd.DataFrame
    more: dict[str, Any] = field(default_factory=dict)


def run(description: dict[str, Any], inputs: dict[str, Path], output: Path, threads: int | None) -> None:
    """Writes documents.parquet (id, text), queries.parquet (id, text), qrels.parquet (query_id, doc_id, relevance), manifest.json."""
    values = dict(description["config"])
    name = values.pop("task")
    config: AnyTask = TypeAdapter(TaskConfig).validate_python(values)
    loaded = _load(name, config, inputs)
    documents = loaded.documents
    queries, qrels, unjudged = _judged(name, loaded, config)
    if unjudged:
        missing = "positive and a negative" if loaded.kind == "reranking" else "relevant document"
        say(f"task {name}: {unjudged} of {len(loaded.queries)} queries have no {missing}, and are left out")
    if loaded.kind == "reranking":  # others are no candidates of any query that is left
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
        "origin": description["origin"],
        "rows": {table: len(rows) for table, rows in tables.items()},
        "queries_without_judgement": unjudged,
        **loaded.more,
    }
    checksums = {table: sha256_of(output / f"{table}.parquet") for table in tables}
    write_json(output / "manifest.json", {**manifest, "sha256": checksums})


def _load(name: str, config: AnyTask, inputs: dict[str, Path]) -> Loaded:
    if isinstance(config, DocstringTask):
        return Loaded("retrieval", *_docstring_task(config))
    if isinstance(config, LocalTask):
        from qatlab.data.beir import load

        return Loaded("retrieval", *load(Path(config.path).expanduser(), config.split))
    if isinstance(config, PairsTask):
        from qatlab.data.similarity_pairs import as_task
        from qatlab.data.similarity_pairs import load as load_pairs

        return Loaded("similarity", *as_task(load_pairs(Path(config.path).expanduser(), config.columns, name)))
    if isinstance(config, RecordsTask):
        return _withheld_task(name, config, inputs)
    if isinstance(config, TranslationTask):
        return _translation_task(name, config)
    if isinstance(config, TextTask):
        return _text_task(name, config)
    return _hub_task(config) if isinstance(config, HubTask) else _mteb_task(config)


def _withheld_task(name: str, config: RecordsTask, inputs: dict[str, Path]) -> Loaded:
    from qatlab.data.mining import mine
    from qatlab.data.withheld import as_task

    records, commit = _records(name, config)
    model = inputs["model"] / "model" if "model" in inputs else None
    mined = sum(not record.negatives for record in records)
    more = {"records_with_mined_negatives": mined} | ({"commit": commit} if commit else {})
    return Loaded("reranking", *as_task(mine(records, config.mined, model)), more)


def _records(name: str, config: RecordsTask) -> tuple[list["Record"], str | None]:
    """Withheld records and, of the hub, the commit that they are of."""
    from qatlab.data.withheld import Record, as_records, load

    if isinstance(config, WithheldTask):
        return load(Path(config.path).expanduser(), config, name), None
    if isinstance(config, HubWithheldTask):
        from qatlab.data.hub import load_split

        table, commit = load_split(config.name, config.subset, config.split, config.revision, "task")
        listed = table.map(lambda value: value.tolist() if isinstance(value, np.ndarray) else value)
        where = f"task '{config.name}'"
        rows = [
            (f"{where}, record {number}", dict(zip(listed.columns, row, strict=True)))
            for number, row in enumerate(listed.to_numpy(), start=1)
        ]
        return as_records(rows, config, where, name), commit
    from qatlab.data.docstrings import extract

    return [Record(pair.summary, [pair.code], []) for pair in extract(config.package)], None


def _translation_task(name: str, config: TranslationTask) -> Loaded:
    from qatlab.data.counterparts import as_task

    commit = None
    if isinstance(config, NumeralTask):
        from qatlab.data.numerals import pairs

        texts = pd.DataFrame(pairs("test", config.shuffle_seed, config.queries))
    elif isinstance(config, ParallelTask):
        from qatlab.data.parallel import load

        texts = load(config, f"task.{name}")
    else:
        texts, commit = _hub_texts(config, config.columns)
    sides = [texts[column].tolist() for column in texts.columns]
    return Loaded("translation", *as_task(*sides), {"commit": commit} if commit else {})


def _text_task(name: str, config: TextTask) -> Loaded:
    from qatlab.data.counterparts import as_task

    commit = None
    if isinstance(config, PackageTextTask):
        from qatlab.data.package_texts import extract

        texts = extract(config.package)
    elif isinstance(config, LocalTextTask):
        from qatlab.data.local import read_columns

        table = read_columns(Path(config.path).expanduser(), [config.column], f"task.{name}.column")
        texts = table[config.column].tolist()
    else:
        table, commit = _hub_texts(config, [config.column])
        texts = table.iloc[:, 0].tolist()
    return Loaded("language_modelling", *as_task(texts, texts), {"commit": commit} if commit else {})


def _hub_texts(config: HubParallelTask | HubTextTask, columns: list[str]) -> tuple[pd.DataFrame, str | None]:
    from qatlab.data.hub import load_texts

    leave_out = config.leave_out if isinstance(config, HubParallelTask) else None
    return load_texts(config.name, config.subset, config.split, config.revision, columns, leave_out, "task")


def _mteb_task(config: MtebTask) -> Loaded:
    from qatlab.data.mteb_tasks import load, look_up

    source = look_up(config)
    more = {"mteb": source.as_dict(), "ignore_identical_ids": source.ignore_identical_ids}
    return Loaded(source.kind, *load(source), more)


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


def _hub_task(config: HubTask) -> Loaded:
    from qatlab.data.hub import load_splits

    subsets, commit = load_splits(config.name, ["corpus", "queries", "qrels"], config.split, config.revision, "task")
    documents, queries = (table.rename(columns={"_id": "id"})[["id", "text"]] for table in subsets[:2])
    qrels = subsets[2].rename(columns={"query-id": "query_id", "corpus-id": "doc_id", "score": "relevance"})
    if "relevance" not in qrels.columns:
        qrels["relevance"] = 1  # NanoBEIR lists relevant pairs without grades
    more = {"commit": commit} if commit else {}
    return Loaded("retrieval", documents, queries, qrels[["query_id", "doc_id", "relevance"]], more)


def _judged(name: str, loaded: Loaded, config: AnyTask) -> tuple[pd.DataFrame, pd.DataFrame, int]:
    """Queries that can be scored, at most `config.queries` of them, their judgements, and how many cannot be."""
    documents, queries, qrels = loaded.documents, loaded.queries, loaded.judgements
    if documents.empty or queries.empty:
        raise UserError(
            f"task '{name}' has {len(documents)} documents and {len(queries)} queries; it needs some of both"
        )
    named = qrels[["query_id", "doc_id"]]
    if isinstance(
        config, MtebTask
    ):  # some of its judgements name texts that are not there; it lets them stand, unfound
        qrels = qrels[qrels["query_id"].isin(set(queries["id"]))]
        named = named[:0]
    _check_ids(name, "document", documents, named["doc_id"])
    _check_ids(name, "query", queries, named["query_id"])
    judged = _answered(loaded.kind, qrels)
    kept = queries[queries["id"].isin(judged)]
    if kept.empty:
        raise UserError(f"task '{name}' has no query with a relevant document")
    if not isinstance(config, DocstringTask) and config.queries is not None:
        kept = kept.sample(n=min(config.queries, len(kept)), random_state=config.shuffle_seed)
    return kept, qrels[qrels["query_id"].isin(set(kept["id"]))], len(queries) - len(set(queries["id"]) & judged)


def _answered(kind: Kind, qrels: pd.DataFrame) -> set[str]:
    """The queries with a relevant document; of reranking, with an irrelevant one too; all pairs, whatever their score."""
    if kind == "similarity":
        return set(qrels["query_id"])
    relevant = set(qrels.loc[qrels["relevance"] > 0, "query_id"])
    return relevant & set(qrels.loc[qrels["relevance"] <= 0, "query_id"]) if kind == "reranking" else relevant


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
