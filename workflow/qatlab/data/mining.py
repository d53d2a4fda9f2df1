"""Hard negatives for records that have none: what a search for the query finds among all records' texts, besides its positives."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from qatlab.config.mining import MiningConfig
from qatlab.data.withheld import Record
from qatlab.errors import UserError

Find = Callable[[list[str], list[str], int], np.ndarray]


def mine(records: list[Record], config: MiningConfig, model: Path | None) -> list[Record]:
    """The same records; those without negatives get `config.bm25` by words, then `config.model` others by a model's embeddings.

    Texts that answer the same query elsewhere in the file are no negatives of it.

    Args:
        model: a Sentence Transformers folder, where `config.model` > 0.

    Raises:
        UserError: where the file holds too few texts.
    """
    pool = list(dict.fromkeys(text for record in records for text in (*record.positives, *record.negatives)))
    answers: dict[str, set[str]] = {}
    for record in records:
        answers.setdefault(record.query, set()).update(record.positives)
    wanting = [at for at, record in enumerate(records) if not record.negatives]
    asked = [records[at].query for at in wanting]
    most = max((len(answers[query]) for query in asked), default=0)
    if asked and len(pool) < config.bm25 + config.model + most:
        raise UserError(
            f"negatives are mined from the texts of all records, and {len(pool)} are too few for "
            f"{config.bm25 + config.model} beside {most} positives"
        )
    found: list[list[str]] = [[] for _ in asked]
    ways: list[tuple[int, Find]] = [(config.bm25, _by_words), (config.model, _by_model(model))]
    for count, find in ways:
        if count and asked:
            depth = min(len(pool), count + config.bm25 + most)
            for negatives, query, best in zip(found, asked, find(asked, pool, depth), strict=True):
                known = answers[query] | set(negatives)
                negatives += [pool[at] for at in best if pool[at] not in known][:count]
    mined = dict(zip(wanting, found, strict=True))
    return [replace(record, negatives=mined.get(at, record.negatives)) for at, record in enumerate(records)]


def _by_words(queries: list[str], pool: list[str], depth: int) -> np.ndarray:
    """Positions of the best by BM25 (Lucene's variant), (q, depth)."""
    import bm25s

    words = {"stopwords": "en", "show_progress": False}
    index = bm25s.BM25()
    index.index(bm25s.tokenize(pool, **words), show_progress=False)
    # Its top-k leaves the order of equal scores to chance of the machine's sort: all scores, sorted stably, do not.
    # One query at a time, as all scores of tens of thousands would be gigabytes.
    asked = bm25s.tokenize(queries, return_ids=False, **words)
    return np.stack([np.argsort(-index.get_scores(tokens), kind="stable")[:depth] for tokens in asked])


def _by_model(folder: Path | None) -> Find:
    def find(queries: list[str], pool: list[str], depth: int) -> np.ndarray:
        """Positions of the most similar by cosine, (q, depth)."""
        from qatlab.evaluation.axes import unit_length
        from qatlab.evaluation.search import best_by_product
        from qatlab.machine.device import device_name
        from qatlab.models.embedding import load_model

        assert folder is not None
        model = load_model(folder, device_name())
        asked = unit_length(model.encode_query(queries, show_progress_bar=False))
        texts = unit_length(model.encode_document(pool, show_progress_bar=False))
        return best_by_product(asked, lambda first, last: texts[first:last], len(texts), depth)

    return find
