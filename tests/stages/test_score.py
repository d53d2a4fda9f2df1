"""score: rows for every precision, pair and rotation, from one encoding; a model's own ranges when asked for."""

import json

import numpy as np
import pandas as pd
import pytest

from qatlab.errors import UserError
from qatlab.evaluation.ranking import unit_length
from qatlab.quantization import FixedRange, MinMaxRange, Range, fake_quantize
from qatlab.quantization.rotations import fit_rotation
from qatlab.stages import score

DIM, DOCUMENTS, QUERIES = 24, 60, 40


@pytest.fixture
def inputs(tmp_path):
    generator = np.random.default_rng(0)
    documents = generator.normal(size=(DOCUMENTS, DIM)).astype(np.float32) + 0.3
    queries = documents[:QUERIES] + generator.normal(size=(QUERIES, DIM)).astype(np.float32) * 0.7
    encode, task = tmp_path / "encode", tmp_path / "task"
    encode.mkdir()
    task.mkdir()
    np.save(encode / "documents.npy", documents)
    np.save(encode / "queries.npy", queries)
    pd.DataFrame({"id": [f"d{i}" for i in range(DOCUMENTS)]}).to_parquet(task / "documents.parquet")
    pd.DataFrame({"id": [f"q{i}" for i in range(QUERIES)]}).to_parquet(task / "queries.parquet")
    rows = [{"query_id": f"q{i}", "doc_id": f"d{i}", "relevance": 1} for i in range(QUERIES)]
    pd.DataFrame(rows).to_parquet(task / "qrels.parquet")
    return {"encode": encode, "task": task, "queries": queries, "documents": documents}


def scored(inputs, output, **config):
    output.mkdir(exist_ok=True)
    description = {"config": {"metrics": ["accuracy@1"], **config}}
    score.run(description, {"encode": inputs["encode"], "task": inputs["task"]}, output, 1)
    return pd.DataFrame(json.loads((output / "scores.json").read_text()))


def accuracy(queries, documents):
    return float(((queries @ documents.T).argmax(axis=1) == np.arange(QUERIES)).mean())


def test_pairs_and_rotations_have_rows_of_their_own(inputs, tmp_path):
    rotations = ["none", "itq", {"kind": "overcomplete", "bits": 64}]
    table = scored(inputs, tmp_path / "out", precisions=["float32", "binary", "float32_x_binary"], rotations=rotations)
    assert len(table) == 9
    row = table.set_index(["rotation", "query_precision", "doc_precision"])
    assert row.loc[("none", "float32", "binary"), "scoring"] == "dequantized"
    assert row.loc[("none", "float32", "binary"), "doc_bytes"] == DIM / 8
    assert row.loc[("overcomplete_64", "binary", "binary"), "doc_bytes"] == 8

    documents, queries = unit_length(inputs["documents"]), unit_length(inputs["queries"])
    rotation = fit_rotation("itq", documents)
    expected = accuracy(rotation(queries), fake_quantize(rotation(documents), "binary"))
    assert row.loc[("itq", "float32", "binary"), "value"] == pytest.approx(expected)
    float32 = table[(table["query_precision"] == "float32") & (table["doc_precision"] == "float32")]
    assert float32["value"].nunique() == 1
    per_query = pd.read_parquet(tmp_path / "out" / "per_query.parquet")
    assert {"binary/accuracy@1", "itq/binary/accuracy@1"} <= set(per_query.columns)


def test_the_indexs_ranges_are_kept(inputs, tmp_path):
    scored(inputs, tmp_path / "out", precisions=["int8", "float32_x_int4"], rotations=["none", "pca"])
    kept = {path.stem: Range.load(path) for path in (tmp_path / "out" / "quantization_ranges").glob("*.npz")}
    assert set(kept) == {"none-int8", "none-int4", "pca-int8", "pca-int4"}
    expected = MinMaxRange().fit(unit_length(inputs["documents"]))
    assert np.array_equal(kept["none-int8"].low, expected.low)


def test_centring_is_cosine_similarity_of_centred_embeddings(inputs, tmp_path):
    rotations = [{"kind": "pca", "center": True}]
    table = scored(inputs, tmp_path / "out", precisions=["float32"], rotations=rotations)
    documents, queries = unit_length(inputs["documents"]), unit_length(inputs["queries"])
    mean = documents.mean(axis=0)
    expected = accuracy(unit_length(queries - mean), unit_length(documents - mean))
    assert table["rotation"].tolist() == ["pca_centred"]
    assert table["value"].tolist() == pytest.approx([expected])


def test_a_models_own_ranges(inputs, tmp_path):
    folder = inputs["encode"] / "quantization_ranges"
    folder.mkdir()
    FixedRange(0.1).save(folder / "int8.npz")  # so narrow that it shows
    table = scored(inputs, tmp_path / "out", precisions=["int8"], ranges="model")
    sides = (fake_quantize(unit_length(inputs[name]), "int8", FixedRange(0.1)) for name in ("queries", "documents"))
    assert table["value"].tolist() == pytest.approx([accuracy(*sides)])
    assert table["value"].tolist() != scored(inputs, tmp_path / "other", precisions=["int8"])["value"].tolist()


def test_more_dimensions_than_documents_is_one_line(inputs, tmp_path):
    np.save(inputs["encode"] / "documents.npy", inputs["documents"][:20])
    with pytest.raises(UserError, match=r"evaluate\.rotations itq: itq in 24 dimensions needs at least as many"):
        scored(inputs, tmp_path / "out", precisions=["float32"], rotations=["itq"])
