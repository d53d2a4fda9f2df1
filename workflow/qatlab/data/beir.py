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
    qrels = pd.read_csv(folder / f"qrels/{split}.tsv", sep="\t", dtype=str)
    qrels.columns = ["query_id", "doc_id", "relevance"]
    qrels["relevance"] = qrels["relevance"].astype(int)
    return documents, queries, qrels
