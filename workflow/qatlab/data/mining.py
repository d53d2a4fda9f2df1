"""Mining of hard negatives: the best search results for a query among the texts of all records, except its positives."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from qatlab.config.mining import MiningConfig
from qatlab.data.withheld import Record
from qatlab.errors import UserError

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
