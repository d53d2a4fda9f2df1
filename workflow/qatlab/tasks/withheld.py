"""Held-out triplets, which no training uses: a query, its positives, and hard negatives among which they must be ranked.

Triplets without negatives get mined ones: what a search for the query finds among all texts of the file, besides its positives.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from qatlab.errors import UserError
from qatlab.evaluation.task import Kind
from qatlab.registry import HubSplit, LocalPath, Name, RecordKeys
from qatlab.sources.readers import numbered_records
from qatlab.tasks.task import TASKS, Loaded, MiningConfig, Task


@dataclass(frozen=True)
class Record:
    """One query with its positive and negative texts."""

    query: str
    positives: list[str]
    negatives: list[str]


def load(path: Path, keys: RecordKeys, mines: bool, task: str) -> list[Record]:
    """Load all records of a JSON Lines file.

    Args:
        path: the file.
        keys: names of the keys of query, positives and negatives.
        mines: whether negatives are mined for records that have none.
        task: name of the task in the study, for messages.

    Raises:
        UserError: for a missing file or key, empty texts, or records without negatives if none are mined.
    """
    if not path.is_file():
        raise UserError(f"task file '{path}' does not exist")
    placed = [(f"{path}, line {number}", record) for number, record in numbered_records(path)]
    return as_records(placed, keys, mines, str(path), task)


def as_records(
    rows: Iterable[tuple[str, dict[str, object]]], keys: RecordKeys, mines: bool, where: str, task: str
) -> list[Record]:
    """Convert dictionaries to records.

    Args:
        rows: pairs of a place (such as a file and line), for messages, and a dictionary.
        keys: names of the keys of query, positives and negatives.
        mines: whether negatives are mined for records that have none.
        where: the file or data set, for messages.
        task: name of the task in the study, for messages.

    Raises:
        UserError: for a missing key, empty texts, no records, or records without negatives if none are mined.
    """
    records = [_record(row, place, keys) for place, row in rows]
    if not records:
        raise UserError(f"{where}: no records")
    without = sum(not record.negatives for record in records)
    if without and not mines:
        raise UserError(
            f"{where}: {without} of {len(records)} records have no '{keys.negatives}'; "
            f"add them, or have them mined (task.{task}.mined.bm25=4 task.{task}.mined.model=4)"
        )
    return records


def _record(row: dict[str, object], where: str, keys: RecordKeys) -> Record:
    for key in (keys.query, keys.positive):
        if key not in row:
            raise UserError(f"{where}: no '{key}'; it has: {', '.join(row)}")
    query, positives = row[keys.query], _texts(row[keys.positive])
    negatives = [text for text in _texts(row.get(keys.negatives) or []) if text not in positives]
    texts = [query, *positives, *negatives]
    if not positives or not all(isinstance(text, str) and text.strip() for text in texts):
        raise UserError(f"{where}: queries, positives and negatives must be texts, and not empty")
    return Record(str(query), positives, list(dict.fromkeys(negatives)))


def _texts(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def as_task(records: list[Record]) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return documents (each text once), queries, and judgements of all candidates: 1 for a positive, 0 for a negative."""
    texts = dict.fromkeys(text for record in records for text in (*record.positives, *record.negatives))
    names = {text: f"text-{number:0{len(str(len(texts)))}}" for number, text in enumerate(texts)}
    query_ids = [f"query-{number:0{len(str(len(records)))}}" for number in range(len(records))]
    judged = [
        (query, names[text], grade)
        for query, record in zip(query_ids, records, strict=True)
        for grade, side in ((1, record.positives), (0, record.negatives))
        for text in dict.fromkeys(side)
    ]
    return (
        pd.DataFrame([(name, text) for text, name in names.items()], columns=["id", "text"]),
        pd.DataFrame({"id": query_ids, "text": [record.query for record in records]}),
        pd.DataFrame(judged, columns=["query_id", "doc_id", "relevance"]),
    )


Search = Callable[[list[str], list[str], int], np.ndarray]


def mine(records: list[Record], config: MiningConfig, model: Path | None) -> list[Record]:
    """Add hard negatives to the records that have none.

    A record gets the `config.bm25` best texts by BM25, then the `config.model` best other texts by cosine similarity of a model's
    embeddings. Positives of the same query in other records are never its negatives.

    Args:
        records: records with or without negatives.
        config: numbers of negatives of both kinds.
        model: folder of a Sentence Transformers model; required if `config.model` > 0.

    Returns:
        All records in the same order.

    Raises:
        UserError: if the records hold too few texts.
    """
    pool = list(dict.fromkeys(text for record in records for text in (*record.positives, *record.negatives)))
    answers: dict[str, set[str]] = {}
    for record in records:
        answers.setdefault(record.query, set()).update(record.positives)
    incomplete = [number for number, record in enumerate(records) if not record.negatives]
    queries = [records[number].query for number in incomplete]
    most = max((len(answers[query]) for query in queries), default=0)
    if queries and len(pool) < config.bm25 + config.model + most:
        raise UserError(
            f"negatives are mined from the texts of all records, and {len(pool)} are too few for "
            f"{config.bm25 + config.model} beside {most} positives"
        )
    negatives_of_queries: list[list[str]] = [[] for _ in queries]
    methods: list[tuple[int, Search]] = [(config.bm25, _by_words), (config.model, _by_model(model))]
    for count, search in methods:
        if count and queries:
            depth = min(len(pool), count + config.bm25 + most)
            for negatives, query, best in zip(negatives_of_queries, queries, search(queries, pool, depth), strict=True):
                known = answers[query] | set(negatives)
                negatives += [pool[position] for position in best if pool[position] not in known][:count]
    mined = dict(zip(incomplete, negatives_of_queries, strict=True))
    return [replace(record, negatives=mined.get(number, record.negatives)) for number, record in enumerate(records)]


def _by_words(queries: list[str], pool: list[str], depth: int) -> np.ndarray:
    """Return the positions of the best texts by BM25 (Lucene's variant), (queries, depth)."""
    import bm25s

    words = {"stopwords": "en", "show_progress": False}
    index = bm25s.BM25()
    index.index(bm25s.tokenize(pool, **words), show_progress=False)
    # The top-k search of bm25s orders equal scores differently from machine to machine; a stable sort of all scores is
    # deterministic. It takes one query at a time, because the scores of tens of thousands of queries would take gigabytes.
    tokenized = bm25s.tokenize(queries, return_ids=False, **words)
    return np.stack([np.argsort(-index.get_scores(tokens), kind="stable")[:depth] for tokens in tokenized])


def _by_model(folder: Path | None) -> Search:
    def search(queries: list[str], pool: list[str], depth: int) -> np.ndarray:
        """Return the positions of the most similar texts by cosine similarity, (queries, depth)."""
        from qatlab.evaluation.axes import unit_length
        from qatlab.evaluation.search import best_by_product
        from qatlab.machine.hardware import device_name
        from qatlab.models.embedding import load_model

        assert folder is not None
        model = load_model(folder, device_name())
        query_embeddings = unit_length(model.encode_query(queries, show_progress_bar=False))
        text_embeddings = unit_length(model.encode_document(pool, show_progress_bar=False))
        return best_by_product(
            query_embeddings, lambda first, last: text_embeddings[first:last], len(text_embeddings), depth
        )

    return search


class Records(Task):
    """Base class of the tasks on held-out records, whose negatives are given or mined."""

    kind: ClassVar[Kind] = "reranking"

    mined: Annotated[MiningConfig, Field(description="How hard negatives are mined for records that have none.")] = (
        MiningConfig()
    )

    @abstractmethod
    def records(self, name: str) -> "tuple[list[Record], str | None]":
        """Return the records, and the hub commit that they come from (None for other sources)."""

    def load(self, name: str, model: Path | None) -> Loaded:
        """Return the records as a task, after mining negatives for the records that have none."""
        records, commit = self.records(name)
        mined = sum(not record.negatives for record in records)
        more = {"records_with_mined_negatives": mined} | ({"commit": commit} if commit else {})
        return Loaded("reranking", *as_task(mine(records, self.mined, model)), more)

    def mines_with(self) -> MiningConfig | None:
        """Return the configuration of hard-negative mining if it uses a model, else None."""
        return self.mined if self.mined.model else None


@TASKS.register("withheld")
class WithheldTask(RecordKeys, Records):
    """Held-out records in a JSON Lines file: a query, its positives, and hard negatives."""

    source: Literal["withheld"]
    path: Annotated[LocalPath, Field(description="Path of the file.")]

    def origin(self) -> dict[str, object]:
        """Return the SHA-256 checksum of the file."""
        from qatlab.remembered import checked

        path = Path(self.path).expanduser()
        return checked(f"records {self.model_dump_json()}", path, lambda: load(path, self, self.mined.mines, "NAME"))

    def records(self, name: str) -> "tuple[list[Record], None]":
        """Return the records of the file, and None, since there is no hub commit."""
        return load(Path(self.path).expanduser(), self, self.mined.mines, name), None


@TASKS.register("hub_withheld")
class HubWithheldTask(HubSplit, RecordKeys, Records):
    """Held-out records that are the rows of a hub data set."""

    source: Literal["hub_withheld"]

    def records(self, name: str) -> "tuple[list[Record], str | None]":
        """Return the rows of the split as records, and the hub commit."""
        import numpy as np

        from qatlab.hub import load_split

        table, commit = load_split(self.name, self.subset, self.split, self.revision, "task")
        listed = table.map(lambda value: value.tolist() if isinstance(value, np.ndarray) else value)
        where = f"task '{self.name}'"
        rows = [
            (f"{where}, record {number}", dict(zip(listed.columns, row, strict=True)))
            for number, row in enumerate(listed.to_numpy(), start=1)
        ]
        return as_records(rows, self, self.mined.mines, where, name), commit


@TASKS.register("docstring_withheld")
class DocstringWithheldTask(Records):
    """Functions of an installed package: a docstring summary as query, its code as positive, and the code of others as negatives."""

    source: Literal["docstring_withheld"]
    package: Annotated[Name, Field(description="Import name of an installed package, or 'stdlib'.")]
    mined: MiningConfig = MiningConfig(bm25=4)

    @model_validator(mode="after")
    def _mines(self) -> "DocstringWithheldTask":
        if not self.mined.mines:
            raise ValueError("functions have no negatives; set mined.bm25 or mined.model above 0")
        return self

    def origin(self) -> dict[str, str]:
        """Return the version of the package, by its name."""
        from qatlab.sources.packages import package_version

        return {self.package: package_version(self.package)}

    def records(self, name: str) -> "tuple[list[Record], None]":
        """Return one record per function, without negatives, and None, since there is no hub commit."""
        from qatlab.sources.packages import extract

        return [Record(pair.summary, [pair.code], []) for pair in extract(self.package)], None
