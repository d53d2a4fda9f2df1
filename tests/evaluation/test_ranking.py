"""Rankings at each precision, with ties in a defined order."""

import faiss
import numpy as np
import pytest

from qatlab.evaluation.ranking import rank, unit_length
from qatlab.quantization import quantize_embeddings


@pytest.fixture
def sides():
    generator = np.random.default_rng(0)
    return (unit_length(generator.normal(size=(n, 64)).astype(np.float32)) for n in (30, 400))


def test_float32_equals_faiss(sides):
    queries, documents = sides
    index = faiss.IndexFlatIP(64)
    index.add(documents)
    assert np.array_equal(rank(queries, documents, "float32", "corpus", 10), index.search(queries, 10)[1])


def test_binary_orders_by_hamming_distance_and_ties_by_document(sides):
    queries, documents = sides
    bits = [np.unpackbits(quantize_embeddings(side, "ubinary"), axis=1) for side in (queries, documents)]
    distances = (bits[0][:, None] != bits[1][None]).sum(axis=2)
    expected = np.array([sorted(range(400), key=lambda d: (row[d], d))[:10] for row in distances])
    assert np.array_equal(rank(queries, documents, "binary", "corpus", 10), expected)


def test_int8_with_the_corpus_range_stays_close_to_float(sides):
    queries, documents = sides
    exact, int8 = (rank(queries, documents, precision, "corpus", 10) for precision in ("float32", "int8"))
    overlap = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(exact, int8, strict=True)])
    assert overlap > 0.95


def test_depth_is_bounded_by_the_documents():
    assert rank(np.eye(4, dtype=np.float32)[:2], np.eye(4, dtype=np.float32), "float32", "corpus", 100).shape == (2, 4)


def test_an_all_zero_vector_keeps_its_length():
    assert not unit_length(np.zeros((1, 3), dtype=np.float32)).any()
