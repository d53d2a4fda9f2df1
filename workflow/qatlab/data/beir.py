"""Retrieval tasks in BEIR's layout: corpus.jsonl, queries.jsonl, qrels/<split>.tsv (Thakur et al. 2021)."""

from pathlib import Path

import pandas as pd

from qatlab.data.local import read_records
from qatlab.errors import UserError


def check_layout(folder: Path, split: str) -> None:
    """Raises UserError if a file of the layout is missing."""
    if not folder.is_dir():
        raise UserError(f"task folder '{folder}' does not exist")
    for relative in ("corpus.jsonl", "queries.jsonl", f"qrels/{split}.tsv"):
        if not (folder / relative).is_file():
            raise UserError(
                f"task folder '{folder}' has no {relative}; BEIR layout is corpus.jsonl, queries.jsonl, qrels/{split}.tsv"
            )


def load(folder: Path, split: str) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """(documents: id, text), (queries: id, text), (judgements: query_id, doc_id, relevance)."""
    check_layout(folder, split)
    documents = pd.DataFrame(
        [
            (str(r["_id"]), " ".join(part for part in (r.get("title", ""), r["text"]) if part))
            for r in read_records(folder / "corpus.jsonl")
        ],
        columns=["id", "text"],
    )
    queries = pd.DataFrame(
        [(str(r["_id"]), r["text"]) for r in read_records(folder / "queries.jsonl")], columns=["id", "text"]
    )
    return documents, queries, _judgements(folder / f"qrels/{split}.tsv")


def _judgements(path: Path) -> pd.DataFrame:
    """Three columns, with a header (as BEIR has it) or without one."""
    table = pd.read_csv(path, sep="\t", dtype=str, header=None, keep_default_na=False)
    if table.shape[1] != 3:
        raise UserError(
            f"'{path}' has {table.shape[1]} columns; it needs query-id, corpus-id and score, separated by tabs"
        )
    table.columns = ["query_id", "doc_id", "relevance"]
    grades = pd.to_numeric(table["relevance"], errors="coerce")
    if pd.isna(grades.iloc[0]):
        table, grades = table.iloc[1:], grades.iloc[1:]
    wrong = grades.isna() | (grades != grades.round())
    if wrong.any():
        raise UserError(f"'{path}': score '{table.loc[wrong, 'relevance'].iloc[0]}' is no whole number")
    return table.assign(relevance=grades.astype(int)).reset_index(drop=True)
