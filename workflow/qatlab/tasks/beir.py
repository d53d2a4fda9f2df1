"""Retrieval tasks as BEIR publishes them (Thakur et al. 2021): a corpus, queries and judgements.

In a folder they are corpus.jsonl, queries.jsonl and qrels/<split>.tsv; in a data set of the hub, subsets of these names.
"""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
from pydantic import Field

from qatlab.errors import UserError
from qatlab.evaluation.task import Kind
from qatlab.registry import FullLine, HubId, Line, LocalPath, Name
from qatlab.sources.readers import numbered_records, read_rows
from qatlab.tasks.task import TASKS, Loaded, MtebSource, Task

TREC_COLUMNS = 4


def check_layout(folder: Path, split: str) -> None:
    """Raise a UserError if the folder or a file of the layout is missing."""
    if not folder.is_dir():
        raise UserError(f"task folder '{folder}' does not exist")
    for relative in ("corpus.jsonl", "queries.jsonl", f"qrels/{split}.tsv"):
        if not (folder / relative).is_file():
            raise UserError(
                f"task folder '{folder}' has no {relative}; BEIR layout is corpus.jsonl, queries.jsonl, qrels/{split}.tsv"
            )


def load(folder: Path, split: str) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Load a task: documents (id, text), queries (id, text) and judgements (query_id, doc_id, relevance).

    A document's text is its title and its text with a blank between them, as BEIR's own loader joins them; one of the two
    may be missing.

    Raises:
        UserError: for a missing file, and for an invalid id, text or judgement, with its line.
    """
    check_layout(folder, split)
    return (
        read_documents(folder / "corpus.jsonl"),
        read_queries(folder / "queries.jsonl"),
        read_judgements(folder / f"qrels/{split}.tsv"),
    )


def check(folder: Path, split: str) -> dict[str, int]:
    """Check a task and return its numbers of documents and queries.

    Raises:
        UserError: if `load` fails, an id is not unique, a judgement refers to an unknown id, or no document is relevant.
    """
    documents, queries, judgements = load(folder, split)
    check_ids(folder / "corpus.jsonl", documents)
    check_ids(folder / "queries.jsonl", queries)
    files = folder / "corpus.jsonl", folder / "queries.jsonl", folder / f"qrels/{split}.tsv"
    check_judgements(files, documents, queries, judgements)
    return {"documents": len(documents), "queries": len(queries)}


def check_ids(file: Path, table: pd.DataFrame) -> None:
    """Raise a UserError for a table without rows, or with an id that occurs more than once."""
    duplicates = table.loc[table["id"].duplicated(), "id"]
    if len(duplicates):
        raise UserError(
            f"{file}: _id '{duplicates.iloc[0]}' occurs more than once ({len(duplicates)} such ids); ids must be unique"
        )
    if table.empty:
        raise UserError(f"{file}: no rows")


def check_judgements(
    files: tuple[Path, Path, Path], documents: pd.DataFrame, queries: pd.DataFrame, judgements: pd.DataFrame
) -> None:
    """Raise a UserError for a judgement of an unknown document or query, and if no document is relevant.

    Args:
        files: files of the documents, the queries and the judgements, for messages.
        documents: table with the column id.
        queries: table with the column id.
        judgements: table with the columns query_id, doc_id and relevance.
    """
    corpus, queries_file, qrels = files
    for file, table, kind, column in (
        (corpus, documents, "document", "doc_id"),
        (queries_file, queries, "query", "query_id"),
    ):
        unknown = judgements.loc[~judgements[column].isin(set(table["id"])), column]
        if len(unknown):
            raise UserError(
                f"{qrels}: judges {kind} '{unknown.iloc[0]}', which {file.name} does not hold ({unknown.nunique()} such)"
            )
    if not (judgements["relevance"] > 0).any():
        raise UserError(f"{qrels}: no query has a relevant document, which is one with a score above 0")


def read_documents(path: Path, numbered: bool = False) -> pd.DataFrame:
    """Return the documents (id, text) of a JSON Lines file.

    Args:
        path: the file.
        numbered: whether a file without any `_id` is accepted, whose ids are then the numbers of the lines.

    Raises:
        UserError: for an invalid id or text, with its line.
    """
    return _read_texts(path, _document, numbered)


def read_queries(path: Path, numbered: bool = False) -> pd.DataFrame:
    """Return the queries (id, text) of a JSON Lines file; see `read_documents`."""
    return _read_texts(path, _query, numbered)


def _read_texts(path: Path, text: Callable[[dict[str, object], str], str], numbered: bool) -> pd.DataFrame:
    records = list(numbered_records(path))
    by_line = numbered and not any("_id" in record for _, record in records)
    rows = []
    for number, record in records:
        place = f"{path}, line {number}"
        rows.append((str(number) if by_line else _id(record, place), text(record, place)))
    return pd.DataFrame(rows, columns=["id", "text"])


def _id(record: dict[str, object], place: str) -> str:
    """Return the id of a record as a string; raise a UserError unless it is a non-empty text or an integer."""
    if "_id" not in record:
        hint = ", but 'id': BEIR calls it _id" if "id" in record else f"; it has: {', '.join(record)}"
        raise UserError(f"{place}: no '_id'{hint}")
    value = record["_id"]
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise UserError(f"{place}: _id is {_describe(value)}; it must be a text or an integer")
    return str(value)


def _document(record: dict[str, object], place: str) -> str:
    for key in ("title", "text"):
        if not isinstance(record.get(key), str | None):
            raise UserError(f"{place}: {key} is {_describe(record[key])}; it must be a text")
    title, text = record.get("title"), record.get("text")
    if text is None and not title:
        has = "text is null" if "text" in record else f"no 'text'; it has: {', '.join(record)}"
        raise UserError(f"{place}: {has}")
    return " ".join(str(part) for part in (title, text) if part)


def _query(record: dict[str, object], place: str) -> str:
    text = record.get("text")
    if not isinstance(text, str) or not text.strip():
        has = f"text is {_describe(text)}" if "text" in record else f"no 'text'; it has: {', '.join(record)}"
        raise UserError(f"{place}: {has}; a query must be a text, and not empty")
    return text


def _describe(value: Any) -> str:
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    return {None: "null", "": "empty"}.get(value, repr(value))


def read_judgements(path: Path) -> pd.DataFrame:
    """Return the judgements of a file with three columns, with a header (as in BEIR) or without one.

    Raises:
        UserError: for an invalid judgement, with its line.
    """
    rows: list[tuple[str, str, int]] = []
    judged: dict[tuple[str, str], tuple[int, int]] = {}  # grade of each pair, and the line of its first judgement
    for position, (number, fields) in enumerate(read_rows(path, "\t")):
        if len(fields) != 3:
            raise UserError(f"{path}, line {number}: {_wrong_columns(fields)}")
        query, document, score = fields
        if position == 0 and not _is_number(score):
            continue  # It is the header.
        grade = _grade(score)
        if grade is None:
            raise UserError(f"{path}, line {number}: score '{score}' is not an integer")
        before, line = judged.setdefault((query, document), (grade, number))
        if before != grade:
            raise UserError(
                f"{path}, line {number}: document '{document}' has grade {grade} for query '{query}', but {before} in line {line}"
            )
        rows.append((query, document, grade))
    return pd.DataFrame(rows, columns=["query_id", "doc_id", "relevance"])


def _wrong_columns(fields: list[str]) -> str:
    needed = "three are needed, query-id, corpus-id and score, separated by tabs"
    if len(fields) == 1 and len(fields[0].split()) > 1:
        words = fields[0].split()
        trec = " (TREC's format, with query, iteration, document and relevance?)" * (len(words) == TREC_COLUMNS)
        return f"one column{trec}; {needed}"
    trec = " (TREC's, with query, iteration, document and relevance?)" * (len(fields) == TREC_COLUMNS)
    return f"{len(fields)} column{'s'[: len(fields) != 1]}{trec}; {needed}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _grade(score: str) -> int | None:
    """Return the integer that a text such as 2 or 2.0 represents, or None if it does not represent one."""
    number = float(score) if _is_number(score) else math.nan
    return int(number) if math.isfinite(number) and number == round(number) else None


@TASKS.register("local")
class BeirFolder(Task):
    """Folder in BEIR layout: corpus.jsonl, queries.jsonl and qrels/<split>.tsv."""

    source: Literal["local"]
    path: Annotated[LocalPath, Field(description="Path of the folder.")]
    split: Annotated[Name, Field(description="Name of the judgement file in qrels/, without .tsv.")] = "test"

    def origin(self) -> dict[str, object]:
        """Return the SHA-256 checksum of the folder and its numbers of documents and queries.

        Raises:
            UserError: if the folder is not a valid task.
        """
        from qatlab.remembered import checked

        folder = Path(self.path).expanduser()
        return checked(f"BEIR {self.split}", folder, lambda: check(folder, self.split))

    def load(self, name: str, model: Path | None) -> Loaded:
        """Return the corpus, the queries and the judgements of the split; see `Task.load`."""
        return Loaded("retrieval", *load(Path(self.path).expanduser(), self.split))


@TASKS.register("hub")
class HubTask(Task):
    """Hub data set with the subsets corpus, queries and qrels, as NanoBEIR publishes them."""

    source: Literal["hub"]
    name: Annotated[HubId, Field(description="Id of the data set on the hub, owner/name.")]
    revision: Annotated[Line, Field(description="Branch, tag or commit of the hub repository.")] = "main"
    split: Annotated[FullLine, Field(description="Split of the subsets.")] = "train"
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


# The tasks of NanoBEIR (https://huggingface.co/collections/zeta-alpha-ai/nanobeir), which configurations choose by name, such as
# task=[nano_scifact]: data set of zeta-alpha-ai, revision, and name in mteb.
_NANO_BEIR = {
    "nano_arguana": ("NanoArguAna", "8f4a982d470a32c45817738b9d29042ca55d75ad", "NanoArguAnaRetrieval"),
    "nano_climate_fever": ("NanoClimateFEVER", "96741bfa30b9f56db8c9eb7d08e775ed6474f206", "NanoClimateFeverRetrieval"),
    "nano_dbpedia": ("NanoDBPedia", "438f1c25129f05db6238699b5afdc9c6b58d2096", "NanoDBPediaRetrieval"),
    "nano_fever": ("NanoFEVER", "a8bfdf1bf15181167a7e22e69cf8754bdea9b4c8", "NanoFEVERRetrieval"),
    "nano_fiqa2018": ("NanoFiQA2018", "4163ba032953d5044a7a6244261413f609c14342", "NanoFiQA2018Retrieval"),
    "nano_hotpotqa": ("NanoHotpotQA", "d79c0cdda980aba54842756770928035e1b61a51", "NanoHotpotQARetrieval"),
    "nano_msmarco": ("NanoMSMARCO", "7b8ff22f2771dc65ac5b439f222eb19a1f56abda", "NanoMSMARCORetrieval"),
    "nano_nfcorpus": ("NanoNFCorpus", "dd542a7efb9ad2136b9e00768b60fca9038f8156", "NanoNFCorpusRetrieval"),
    "nano_nq": ("NanoNQ", "77540146379abf95df8326a3c5bb9eb21c7146c3", "NanoNQRetrieval"),
    "nano_quora": ("NanoQuoraRetrieval", "2ab2d73e6c862026282808b913a34f4136928545", "NanoQuoraRetrieval"),
    "nano_scidocs": ("NanoSCIDOCS", "484eb90549fc3f0b9c42b3551e80ceb999515537", "NanoSCIDOCSRetrieval"),
    "nano_scifact": ("NanoSciFact", "309f1d1ae3ae2e092444a8a0c25bed59b82318bc", "NanoSciFactRetrieval"),
    "nano_touche2020": ("NanoTouche2020", "0d2f26ed8c5ad309f95c7f9499c70a40e140fccd", "NanoTouche2020Retrieval"),
}


def nano_beir() -> dict[str, dict[str, object]]:
    """Return the fields of each task of NanoBEIR, by the name of the task."""
    return {
        task: {"source": "hub", "name": f"zeta-alpha-ai/{name}", "revision": revision, "mteb_name": mteb_name}
        for task, (name, revision, mteb_name) in _NANO_BEIR.items()
    }
