"""score: rows for every precision, pair and rotation, from one encoding; a model's own ranges where the configuration selects them."""

import json

import numpy as np
import pandas as pd
import pytest

from qatlab.errors import UserError
from qatlab.evaluation.axes import unit_length
from qatlab.evaluation.outputs import read_scores
from qatlab.job import JobDescription
from qatlab.quantization import FixedRange, MinMaxRange, QuantileRange, Range, RunningQuantileRange, fake_quantize
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
    (encode / "similarity.json").write_text('{"similarity": "cosine"}')
    pd.DataFrame({"id": [f"d{i}" for i in range(DOCUMENTS)]}).to_parquet(task / "documents.parquet")
    pd.DataFrame({"id": [f"q{i}" for i in range(QUERIES)]}).to_parquet(task / "queries.parquet")
    rows = [{"query_id": f"q{i}", "doc_id": f"d{i}", "relevance": 1} for i in range(QUERIES)]
    pd.DataFrame(rows).to_parquet(task / "qrels.parquet")
    (task / "manifest.json").write_text(json.dumps({"kind": "retrieval"}))
    return {"encode": encode, "task": task, "queries": queries, "documents": documents}


def scored(inputs, output, **config):
    output.mkdir(exist_ok=True)
    description = JobDescription(label="tried", config={"metrics": ["accuracy@1"], **config})
    folders = {role: path for role, path in inputs.items() if role in ("encode", "task", "training")}
    score.run(description, folders, output, 1)
    return pd.DataFrame(read_scores(output))


def accuracy(queries, documents):
    return float(((queries @ documents.T).argmax(axis=1) == np.arange(QUERIES)).mean())


def test_embeddings_are_compared_as_their_model_says(inputs, tmp_path):
    documents, queries = inputs["documents"], inputs["queries"]
    by_cosine, by_product = accuracy(unit_length(queries), unit_length(documents)), accuracy(queries, documents)
    assert by_cosine != by_product
    for named, expected in (("cosine", by_cosine), ("dot", by_product)):
        (inputs["encode"] / "similarity.json").write_text(json.dumps({"similarity": named}))
        assert scored(inputs, tmp_path / named, precisions=["float32"])["value"].item() == pytest.approx(expected)
    (inputs["encode"] / "similarity.json").write_text(json.dumps({"similarity": "euclidean"}))
    with pytest.raises(UserError, match="tried: the model compares embeddings by 'euclidean'"):
        scored(inputs, tmp_path / "euclidean", precisions=["float32"])
    table = scored(inputs, tmp_path / "set", precisions=["float32"], similarity="dot")
    assert table["value"].item() == pytest.approx(by_product)


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
    assert {"none/binary/hamming/accuracy@1", "itq/binary/hamming/accuracy@1"} <= set(per_query.columns)


def test_the_indexs_ranges_are_kept(inputs, tmp_path):
    scored(inputs, tmp_path / "out", precisions=["int8", "float32_x_int4"], rotations=["none", "pca"])
    kept = {path.stem: Range.load(path) for path in (tmp_path / "out" / "quantization_ranges").glob("*.npz")}
    assert set(kept) == {"none-int8-corpus", "none-int4-corpus", "pca-int8-corpus", "pca-int4-corpus"}
    expected = MinMaxRange().fit(unit_length(inputs["documents"]))
    assert np.array_equal(kept["none-int8-corpus"].low, expected.low)


def test_centring_is_cosine_similarity_of_centred_embeddings(inputs, tmp_path):
    rotations = [{"kind": "pca", "center": True}]
    table = scored(inputs, tmp_path / "out", precisions=["float32"], rotations=rotations)
    documents, queries = unit_length(inputs["documents"]), unit_length(inputs["queries"])
    mean = documents.mean(axis=0)
    expected = accuracy(unit_length(queries - mean), unit_length(documents - mean))
    assert table["rotation"].tolist() == ["pca_centred"]
    assert table["value"].tolist() == pytest.approx([expected])


def best_by_bits(queries, documents):
    """accuracy@1 of signs, where the first of equally near documents wins, as in a search."""
    bits = [np.where(side > 0, 1, -1) for side in (queries, documents)]
    return accuracy(*bits)


def test_bits_on_axes_that_need_no_training(inputs, tmp_path):
    """By hand: what is subtracted is of the corpus or of training documents, and they differ."""
    inputs["training"] = tmp_path / "training"
    inputs["training"].mkdir()
    elsewhere = np.random.default_rng(1).normal(size=(30, DIM)).astype(np.float32) - 0.5
    np.save(inputs["training"] / "documents.npy", elsewhere)
    axes = [
        {"center": center, "fitted_on": source} for center in ("mean", "median") for source in ("corpus", "training")
    ]
    axes += ["itq", {"kind": "overcomplete", "factor": 2}]
    precisions = ["float32", "int8", "binary", "float32_x_binary"]
    table = scored(inputs, tmp_path / "out", precisions=precisions, bit_axes=axes)
    row = table.set_index(["rotation", "query_precision", "doc_precision"])
    assert set(row.loc["none"].index) == {(p, p) for p in precisions[:3]} | {("float32", "binary")}
    assert set(row.loc["centred"].index) == {("binary", "binary"), ("float32", "binary")}
    documents, queries = unit_length(inputs["documents"]), unit_length(inputs["queries"])
    by_axes = {}
    for label, source in (("", documents), ("_training", unit_length(elsewhere))):
        for name, center in (("centred", np.mean), ("median", np.median)):
            origin = center(source.astype(np.float64), axis=0).astype(np.float32)
            by_axes[name + label] = row.loc[(name + label, "binary", "binary")]
            assert by_axes[name + label]["value"] == pytest.approx(best_by_bits(queries - origin, documents - origin))
            of_floats = accuracy(unit_length(queries - origin), np.where(documents - origin > 0, 1, -1))
            assert row.loc[(name + label, "float32", "binary"), "value"] == pytest.approx(of_floats)
            assert by_axes[name + label]["fitted_on"] == ("training" if label else "corpus")
            assert by_axes[name + label]["doc_bytes"] == DIM / 8
    assert by_axes["centred"]["value"] != by_axes["centred_training"]["value"]
    assert row.loc[("overcomplete_2x", "binary", "binary"), ["doc_bytes", "fitted_on"]].tolist() == [DIM / 4, "none"]
    per_query = pd.read_parquet(tmp_path / "out" / "per_query.parquet")
    assert "median_training/binary/hamming/accuracy@1" in per_query.columns
    timed = {row["rotation"] for row in json.loads((tmp_path / "out" / "timings.json").read_text())}
    assert timed == set(table["rotation"])


def test_a_corpus_too_small_for_a_baseline_leaves_it_out_and_says_so(inputs, tmp_path, capsys):
    np.save(inputs["encode"] / "documents.npy", inputs["documents"][:20])
    pd.DataFrame({"id": [f"d{i}" for i in range(20)]}).to_parquet(inputs["task"] / "documents.parquet")
    table = scored(inputs, tmp_path / "out", precisions=["binary"], bit_axes=["itq", "centred"])
    assert table["rotation"].tolist() == ["none", "centred"]
    assert (
        "score tried: itq in 24 dimensions needs at least as many embeddings, not 20; bits on these axes (itq) are left out"
        in capsys.readouterr().err
    )
    with pytest.raises(UserError, match=r"evaluate\.rotations itq: itq in 24 dimensions"):
        scored(inputs, tmp_path / "out", precisions=["binary"], rotations=["none", "itq"], bit_axes=["itq"])


def test_axes_of_no_more_bits_than_a_models_dimensions_are_left_out_for_this_model(inputs, tmp_path, capsys):
    """Methods of one study may have heads of different sizes, and all are scored on the same axes."""
    frames = [{"kind": "overcomplete", "bits": bits} for bits in (16, DIM, 48)]
    table = scored(inputs, tmp_path / "out", precisions=["binary"], bit_axes=frames)
    assert table["rotation"].tolist() == ["none", "overcomplete_48"]
    lines = capsys.readouterr().err
    for bits in (16, DIM):
        assert f"overcomplete needs more bits than the {DIM} dimensions of the embeddings, not {bits}" in lines
        assert f"bits on these axes (overcomplete_{bits}) are left out" in lines
    with pytest.raises(UserError, match=r"evaluate\.rotations overcomplete_16: overcomplete needs more bits"):
        scored(inputs, tmp_path / "out", precisions=["binary"], rotations=frames[:1])


def test_a_models_own_ranges(inputs, tmp_path):
    folder = inputs["encode"] / "quantization_ranges"
    folder.mkdir()
    FixedRange(0.1).save(folder / "int8.npz")  # so narrow that it shows
    table = scored(inputs, tmp_path / "out", precisions=["int8"], ranges="model")
    sides = (fake_quantize(unit_length(inputs[name]), "int8", FixedRange(0.1)) for name in ("queries", "documents"))
    assert table["value"].tolist() == pytest.approx([accuracy(*sides)])
    assert table["value"].tolist() != scored(inputs, tmp_path / "other", precisions=["int8"])["value"].tolist()


def test_grids_between_quantiles(inputs, tmp_path):
    """On the corpus, on training documents, and on what training left; each is kept beside the scores."""
    folders = {name: tmp_path / name for name in ("training", "out")}
    training = np.random.default_rng(5).normal(size=(30, DIM)).astype(np.float32)
    folders["training"].mkdir()
    np.save(folders["training"] / "documents.npy", training)
    own = RunningQuantileRange().fit(unit_length(inputs["documents"][:20]))
    (inputs["encode"] / "quantization_ranges").mkdir()
    for precision in ("int2_quantile", "ternary"):
        own.save(inputs["encode"] / "quantization_ranges" / f"{precision}.npz")
    documents, queries = unit_length(inputs["documents"]), unit_length(inputs["queries"])
    fitted = {
        "corpus": QuantileRange().fit(documents),
        "training": QuantileRange().fit(unit_length(training)),
        "model": own,
    }
    grid = {"precisions": ["int2_quantile", "ternary"], "ranges": list(fitted), "scoring": ["dequantized", "codes"]}
    table = scored({**inputs, "training": folders["training"]}, folders["out"], **grid)
    row = table.set_index(["doc_precision", "ranges", "scoring"]).sort_index()
    assert len(row) == 12
    assert row.loc["int2_quantile", "doc_bytes"].tolist() == [6] * 6
    assert row.loc["ternary", "doc_bytes"].tolist() == [5] * 6  # of 24 dimensions
    for kind, ranges in fitted.items():
        for precision in ("int2_quantile", "ternary"):
            expected = accuracy(*(unit_length(fake_quantize(side, precision, ranges)) for side in (queries, documents)))
            assert row.loc[(precision, kind, "dequantized"), "value"] == pytest.approx(expected)
            kept = Range.load(folders["out"] / "quantization_ranges" / f"none-{precision}-{kind}.npz")
            assert np.array_equal(kept.quantiles, ranges.quantiles)
    assert row["value"].nunique() > 3


def test_more_dimensions_than_documents_is_one_line(inputs, tmp_path):
    np.save(inputs["encode"] / "documents.npy", inputs["documents"][:20])
    pd.DataFrame({"id": [f"d{i}" for i in range(20)]}).to_parquet(inputs["task"] / "documents.parquet")
    with pytest.raises(UserError, match=r"evaluate\.rotations itq: itq in 24 dimensions needs at least as many"):
        scored(inputs, tmp_path / "out", precisions=["float32"], rotations=["itq"])


def test_a_grid_is_scored_from_one_encoding(inputs, tmp_path):
    grid = {
        "precisions": ["float32", "int8", "binary", "float32_x_binary"],
        "scoring": ["dequantized", "codes", "rabitq"],
        "ranges": ["corpus", "per_call"],
        "rescoring": ["none", {"documents": "float32", "oversampling": 20}],
        "dimensions": [None, 16],
    }
    table = scored(inputs, tmp_path / "out", **grid)
    assert len(table) == 2 * (
        1 + 2 * 2 * 2 + 2 + 2 * 2
    )  # float32; int8 two ways, two ranges; bits; floats against bits two ways
    assert not table.duplicated([c for c in table.columns if c not in ("value", "stderr")]).any()
    everything = table[(table["rescoring"] == "float32 of 200") & table["dimensions"].isna()]
    floats = table[(table["query_precision"] == "float32") & (table["doc_precision"] == "float32")]
    assert everything["value"].tolist() == pytest.approx([floats["value"].iloc[0]] * len(everything))
    short = [unit_length(inputs[name][:, :16]) for name in ("queries", "documents")]
    assert floats[floats["dimensions"] == 16]["value"].tolist() == pytest.approx([accuracy(*short)])
    assert set(table[table["dimensions"] == 16]["doc_bytes"]) == {64, 16, 2, 2 + 8}


def test_searches_are_timed_in_a_file_of_their_own(inputs, tmp_path):
    grid = {
        "precisions": ["float32", "binary", "float32_x_binary"],
        "scoring": ["dequantized", "rabitq"],
        "rescoring": ["none", [{"documents": "int8", "oversampling": 4}, {"documents": "float32", "oversampling": 2}]],
    }
    scores = scored(inputs, tmp_path / "out", **grid)
    timings = pd.DataFrame(json.loads((tmp_path / "out" / "timings.json").read_text()))
    same = ["rotation", "query_precision", "doc_precision", "scoring", "ranges", "rescoring", "dimensions", "doc_bytes"]
    assert timings[same].equals(scores[same])  # one metric, so a row for a row
    assert timings["queries_per_second"].gt(0).all()
    assert set(timings["threads"]) == {1}
    plain, rescored = (timings[(timings["rescoring"] == "none") == none] for none in (True, False))
    assert plain["stored_bytes"].equals(plain["doc_bytes"])
    assert (rescored["stored_bytes"] - rescored["doc_bytes"] == DIM + 4 * DIM).all()
    assert "queries_per_second" not in scores


def test_dimensions_that_are_not_there_are_one_line(inputs, tmp_path):
    with pytest.raises(
        UserError, match=r"evaluate\.dimensions 64: embeddings have 24 dimensions, so 64 cannot be kept"
    ):
        scored(inputs, tmp_path / "out", dimensions=64)


def test_ranges_of_training_documents(inputs, tmp_path):
    training = np.random.default_rng(5).normal(size=(30, DIM)).astype(np.float32) * 0.01
    folder = tmp_path / "training"
    folder.mkdir()
    np.save(folder / "documents.npy", training)
    table = scored({**inputs, "training": folder}, tmp_path / "out", precisions=["int8"], ranges=["training", "corpus"])
    ranges = MinMaxRange().fit(unit_length(training))
    sides = (fake_quantize(unit_length(inputs[name]), "int8", ranges) for name in ("queries", "documents"))
    assert table.set_index("ranges").loc["training", "value"] == pytest.approx(accuracy(*sides))
    kept = Range.load(tmp_path / "out/quantization_ranges/none-int8-training.npz")
    assert np.array_equal(kept.low, ranges.low)


def test_a_document_of_the_querys_name_is_no_answer(inputs, tmp_path):
    """Queries that are documents find themselves first."""
    ids = [f"d{i}" for i in range(QUERIES)]
    pd.DataFrame({"id": ids}).to_parquet(inputs["task"] / "queries.parquet")
    rows = [{"query_id": f"d{i}", "doc_id": f"d{QUERIES + i % 20}", "relevance": 1} for i in range(QUERIES)]
    rows.append({"query_id": "d0", "doc_id": "unheard of", "relevance": 1})
    pd.DataFrame(rows).to_parquet(inputs["task"] / "qrels.parquet")
    documents = inputs["documents"].copy()
    documents[QUERIES:] = documents[
        : DOCUMENTS - QUERIES
    ]  # the answer to d0 to d19 is the same as they are, and stands later
    np.save(inputs["encode"] / "documents.npy", documents)
    np.save(inputs["encode"] / "queries.npy", documents[:QUERIES])
    scored_tables = []
    for ignore in (False, True):
        manifest = {"kind": "retrieval", "ignore_identical_ids": ignore}
        (inputs["task"] / "manifest.json").write_text(json.dumps(manifest))
        scored_tables.append(
            scored(inputs, tmp_path / str(ignore), precisions=["float32"], metrics=["accuracy@1", "recall@3"])
        )
    assert [table["value"].iloc[0] for table in scored_tables] == [0, 0.5]
    recall = pd.read_parquet(tmp_path / "True/per_query.parquet")["none/float32/dot/recall@3"]
    assert recall[0] == 0.5  # a document that is missing from the corpus counts as relevant and is never retrieved


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda side: side[:-1], "the task has 60 documents, the encoding 59"),
        (lambda side: side[:, :-1], "queries have 24 dimensions, documents 23"),
        (
            lambda side: np.where(np.arange(len(side))[:, None] == 3, np.nan, side),
            "embeddings of documents contain NaN or Inf .the first in row 4.",
        ),
    ],
)
def test_embeddings_that_do_not_fit(inputs, tmp_path, change, message):
    np.save(inputs["encode"] / "documents.npy", change(inputs["documents"]))
    with pytest.raises(UserError, match=message):
        scored(inputs, tmp_path / "out")
