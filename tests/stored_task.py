"""A retrieval task whose embeddings are made up, with ties in bits, several relevant documents and grades."""

import numpy as np

from qatlab.evaluation.task import Task

DIM = 16


def stored_task(documents=150, queries=40, seed=0, **more):
    """(queries, documents, task): (q, dim) and (d, dim) float32 of different lengths, and what belongs together."""
    generator = np.random.default_rng(seed)
    corpus = generator.normal(size=(documents, DIM)).astype(np.float32) + 0.2
    corpus[::7] = corpus[0]  # the same text again: a tie at every precision
    asked = corpus[:queries] + generator.normal(size=(queries, DIM)).astype(np.float32)
    names = [f"d{number}" for number in generator.permutation(documents)]
    asked_names = [f"q{number}" for number in generator.permutation(queries)]
    judgements = {
        query: {names[row]: 2, **{names[at]: 1 for at in generator.choice(documents, size=row % 4, replace=False)}}
        for row, query in enumerate(asked_names)
    }
    return asked, corpus, Task("retrieval", asked_names, names, judgements, **more)
