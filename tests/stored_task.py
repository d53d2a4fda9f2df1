"""Generated retrieval task with embeddings, among them ties in bits, several relevant documents per query, and grades."""

import numpy as np

from qatlab.evaluation.task import Task

DIM = 16


def stored_task(documents=150, queries=40, seed=0, **more):
    """Return the embeddings of queries (q, dim) and documents (d, dim), float32 of different lengths, and the task."""
    generator = np.random.default_rng(seed)
    corpus = generator.normal(size=(documents, DIM)).astype(np.float32) + 0.2
    corpus[::7] = corpus[0]  # the same text again: a tie at every precision
    query_embeddings = corpus[:queries] + generator.normal(size=(queries, DIM)).astype(np.float32)
    names = [f"d{number}" for number in generator.permutation(documents)]
    query_names = [f"q{number}" for number in generator.permutation(queries)]
    judgements = {
        query: {names[row]: 2, **{names[at]: 1 for at in generator.choice(documents, size=row % 4, replace=False)}}
        for row, query in enumerate(query_names)
    }
    return query_embeddings, corpus, Task("retrieval", query_names, names, judgements, **more)
