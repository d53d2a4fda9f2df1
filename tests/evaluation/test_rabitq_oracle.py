"""RaBitQ's own library estimates inner products as `best_by_rabitq` does, with the same rotation and with rotations of each side.

The library rotates embeddings by signs and Hadamard transforms whose signs are random and cannot be set, but which a saved index
contains. It keeps queries in more than 8 bits, so that documents whose estimates differ by less than the rounding of an 8-bit query
may change places. Its distance is 1 minus the estimate.
"""

import numpy as np
import pytest
from scipy.linalg import hadamard

from qatlab.evaluation.search import best_by_rabitq

rabitqlib = pytest.importorskip("rabitqlib")

COUNT, DIM, QUERIES, K = 500, 64, 60, 10
HEADER = 200  # bytes at the beginning of a saved index that contain the signs
HADAMARD = hadamard(DIM) / np.sqrt(DIM)


@pytest.fixture(scope="module")
def embeddings():
    """Return documents and queries, (500, 64) and (60, 64) float32, whose mean is not 0."""
    rng = np.random.default_rng(3)
    return tuple(rng.normal(0.3, 1, size=(n, DIM)).astype(np.float32) for n in (COUNT, QUERIES))


def blocks(documents):
    return lambda first, last: documents[first:last]


def library_estimates(documents, queries, file=None):
    """Return the library's estimates of all inner products, (q, d) float64, by one list whose centroid is the mean."""
    index = rabitqlib.IvfIndex(DIM, len(documents), 1, 1, "ip")
    index.build(documents, documents.mean(axis=0, keepdims=True), np.zeros(len(documents), dtype=np.uint32))
    if file is not None:
        index.save(str(file))
    ids, distances = index.search(queries, len(documents), 1, True)
    estimates = np.empty(ids.shape)
    np.put_along_axis(estimates, ids.astype(np.int64), 1 - distances.astype(np.float64), axis=1)
    return estimates


def rotation(signs):
    """Return the matrix of four rounds, each of which flips signs and applies a Hadamard transform; signs are (4, 64) bits."""
    matrix = np.eye(DIM)
    for flipped in signs:
        matrix = HADAMARD @ np.diag(1 - 2.0 * flipped) @ matrix
    return matrix


def paper_estimates(documents, queries):
    """Return estimates by the formulas of Gao and Long 2024, section 3.2, without rounding of queries, and the scale of the bits.

    Returns:
        (q, d) float64, and (d,) float64: by how much an error of one dimension of a query changes an estimate.
    """
    documents, queries = documents.astype(np.float64), queries.astype(np.float64)
    centre = documents.mean(axis=0)
    residuals = documents - centre
    codes = np.where(residuals > 0, 1, -1) / np.sqrt(DIM)
    lengths = np.linalg.norm(residuals, axis=1)
    scale = lengths**2 / (codes * residuals).sum(axis=1)
    return ((queries - centre) @ codes.T) * scale + residuals @ centre + (queries @ centre)[:, None], scale / np.sqrt(
        DIM
    )


@pytest.fixture(scope="module")
def oracle(embeddings, tmp_path_factory):
    """Return the library's estimates, (q, d) float64, and its rotation, (64, 64) float64, which reproduces them."""
    documents, queries = embeddings
    file = tmp_path_factory.mktemp("rabitq") / "index"
    estimates = library_estimates(documents, queries, file)
    saved = np.fromfile(file, dtype=np.uint8)
    for first in range(HEADER):
        signs = np.unpackbits(saved[first : first + DIM // 2], bitorder="little").reshape(4, DIM)
        matrix = rotation(signs)
        if np.abs(paper_estimates(documents @ matrix.T, queries @ matrix.T)[0] - estimates).max() < 0.01:
            return estimates, matrix
    pytest.fail("no bytes of the saved index are the signs of a rotation that reproduces the library's estimates")


def overlap(ours, theirs):
    return np.mean([len(set(a) & set(b)) / K for a, b in zip(ours.tolist(), theirs.tolist(), strict=True)])


def test_with_the_same_rotation_both_rank_alike_up_to_the_rounding_of_queries(embeddings, oracle):
    estimates, matrix = oracle
    documents, queries = ((values @ matrix.T).astype(np.float32) for values in embeddings)
    best = np.argsort(-estimates, axis=1)[:, :K]
    ours = {
        bits: best_by_rabitq(queries, blocks(documents), COUNT, K, seed=None, query_bits=bits) for bits in (1, 4, 8)
    }
    agreement = {bits: overlap(positions, best) for bits, positions in ours.items()}
    assert agreement[8] > 0.97
    assert agreement[1] < agreement[4] < agreement[8]
    # A document of ours that the library ranks lower has an estimate within the rounding error of the query, of both documents.
    shifted = queries - documents.mean(axis=0)
    steps = (shifted.max(axis=1) - shifted.min(axis=1)) / 255
    error = steps[:, None] / 2 * DIM * paper_estimates(documents, queries)[1].max()
    chosen, last = np.take_along_axis(estimates, ours[8], axis=1), np.take_along_axis(estimates, best[:, -1:], axis=1)
    assert (chosen >= last - 2 * error).all()


def test_without_a_rotation_the_bits_are_other_bits(embeddings, oracle):
    """The comparison above would not notice a rotation that is not applied if this agreement were as high."""
    documents, queries = embeddings
    best = np.argsort(-oracle[0], axis=1)[:, :K]
    assert overlap(best_by_rabitq(queries, blocks(documents), COUNT, K, seed=None), best) < 0.8


def test_with_rotations_of_each_side_both_find_as_many_of_the_best_documents():
    rng = np.random.default_rng(4)
    scale = np.exp(rng.normal(size=DIM) / 2)
    documents, queries = ((rng.normal(0.3, 1, size=(n, DIM)) * scale).astype(np.float32) for n in (COUNT, 200))
    truth = np.argsort(-(queries.astype(np.float64) @ documents.T.astype(np.float64)), axis=1)[:, :K]
    theirs = [overlap(np.argsort(-library_estimates(documents, queries), axis=1)[:, :K], truth) for _ in range(5)]
    ours = [overlap(best_by_rabitq(queries, blocks(documents), COUNT, K, seed=seed), truth) for seed in range(5)]
    assert abs(np.mean(ours) - np.mean(theirs)) < 0.03
    assert min(ours + theirs) > 0.4
