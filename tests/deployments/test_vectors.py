"""Stored embeddings in place of a model: what is read, what is refused, and that their scores are those of the arrays."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conftest import PROJECT
from qatlab.__main__ import main
from qatlab.commands.score import _options, study_overrides
from qatlab.config.evaluate import EvaluateConfig
from qatlab.config.precision import RotationConfig
from qatlab.deployments.vectors import read_folder, read_vectors
from qatlab.errors import UserError
from qatlab.evaluation.axes import on_axes
from qatlab.evaluation.outputs import outputs, read_scores
from qatlab.evaluation.ranking import SideRanges
from qatlab.evaluation.task_metrics import retrieval_metrics
from qatlab.plan.compose import compose_runs
from qatlab.plan.plan import load_study, write_descriptions
from stored_task import stored_task

ARRAY = np.random.default_rng(0).normal(size=(20, 16)).astype(np.float32)


def test_npy_and_parquet_give_the_same(tmp_path):
    np.save(tmp_path / "a.npy", ARRAY.astype(np.float64))
    pq.write_table(pa.table({"embedding": ARRAY.tolist()}), tmp_path / "b.parquet")
    fixed = pa.FixedSizeListArray.from_arrays(pa.array(ARRAY.ravel()), 16)
    pq.write_table(pa.table({"_id": [f"d{row}" for row in range(20)], "embedding": fixed}), tmp_path / "c.parquet")
    for name in ("a.npy", "b.parquet", "c.parquet"):
        ids, embeddings = read_vectors(tmp_path / name)
        assert embeddings.dtype == np.float32
        assert (embeddings == ARRAY).all()
        assert ids == [f"{'d' * name.startswith('c')}{row}" for row in range(20)]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (
            np.where(np.arange(320).reshape(20, 16) == 37, np.nan, ARRAY),
            r"row 2 \(counted from 0\) contains NaN or infinity",
        ),
        (ARRAY.astype(np.float64) * 1e300, "contains NaN or infinity, also in float32"),
        ((ARRAY * 100).astype(np.int8), "values of type int8; save embeddings as float16"),
        (ARRAY[0], r"an array of shape \(16,\)"),
        (ARRAY[:0], r"an array of shape \(0, 16\)"),
        (np.array([[{}]], dtype=object), "pickles are never read"),
    ],
)
def test_other_arrays_are_refused(tmp_path, array, message):
    np.save(tmp_path / "corpus.npy", array, allow_pickle=True)
    with pytest.raises(UserError, match=message):
        read_vectors(tmp_path / "corpus.npy")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"embedding": [[1.0, 2.0], [1.0]]}, "rows of 1 to 2 values"),
        ({"embedding": [[1.0, 2.0], None]}, "rows or values that are null"),
        ({"embedding": [[1.0, None]]}, "rows or values that are null"),
        ({"embedding": [1.0, 2.0]}, "is of type double; each row must be a list"),
        ({"embedding": [[1, 2]]}, "values of type int64"),
        ({"vector": [[1.0]]}, "no column 'embedding'; it has: vector"),
        ({"embedding": [[1.0], [2.0]], "id": ["a", "a"]}, "1 ids occur more than once"),
    ],
)
def test_other_tables_are_refused(tmp_path, columns, message):
    pq.write_table(pa.table(columns), tmp_path / "corpus.parquet")
    with pytest.raises(UserError, match=message):
        read_vectors(tmp_path / "corpus.parquet")


def test_broken_files_and_unequal_widths_are_refused(tmp_path):
    (tmp_path / "corpus.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(UserError, match="not an array of numbers"):
        read_folder(tmp_path)
    np.save(tmp_path / "corpus.npy", ARRAY)
    np.save(tmp_path / "queries.npy", ARRAY[:, :8])
    with pytest.raises(UserError, match="documents have 16 dimensions, queries 8"):
        read_folder(tmp_path)
    (tmp_path / "corpus.npy").unlink()
    with pytest.raises(UserError, match=r"has no embeddings of documents: corpus\.npy or corpus\.parquet"):
        read_folder(tmp_path)


def scored(folder, tmp_path, *options):
    """Return the rows of scores.json, from all jobs of the study of a folder of embeddings, and the plan."""
    overrides = study_overrides(_options([str(folder), *options]))
    plan = load_study(PROJECT / "conf", "score", overrides=overrides)
    write_descriptions(plan, tmp_path / "plan")
    for path, artifact in plan.artifacts.items():
        arguments = ["--config", str(tmp_path / "plan" / f"{path}.json"), "--output", str(tmp_path / "results" / path)]
        assert main([artifact.kind, *arguments]) == 0
    (path,) = plan.runs[0].scored.values()
    return read_scores(tmp_path / "results" / path), plan


@pytest.fixture
def folder(tmp_path):
    """Return a folder with the embeddings and judgements of a generated task, whose documents have ids."""
    queries, documents, task = stored_task()
    folder = tmp_path / "mine"
    folder.mkdir()
    np.save(folder / "queries.npy", queries)
    pq.write_table(pa.table({"_id": task.document_ids, "embedding": documents.tolist()}), folder / "corpus.parquet")
    rows = [
        f"{row}\t{document}\t{grade}\n"
        for row, query in enumerate(task.query_ids)
        for document, grade in task.judgements[query].items()
    ]
    (folder / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(rows))
    return folder


def test_scores_are_those_of_the_arrays(folder, tmp_path):
    rows, plan = scored(folder, tmp_path)
    assert [artifact.kind for artifact in plan.artifacts.values()] == ["model", "deploy", "task", "encode", "score"]
    queries, documents, task = stored_task()
    order = np.argsort(np.array(task.document_ids))  # the order of the task's table, which decides between equal scores
    documents, task.document_ids[:] = documents[order], [task.document_ids[at] for at in order]
    for dimensions in (None, 8):
        config = EvaluateConfig(precisions=["float32", "binary"], dimensions=[dimensions], similarity="cosine")
        sides = on_axes(queries, documents, RotationConfig(), dimensions, "cosine")
        for output in outputs(config):
            expected = retrieval_metrics(*sides, task, output, SideRanges(), config)["ndcg@10"].mean()
            (row,) = [
                row
                for row in rows
                if (row["doc_precision"], row["dimensions"], row["rotation"], row["metric"])
                == (output.document, dimensions, "none", "ndcg@10")
            ]
            assert row["value"] == pytest.approx(expected, abs=1e-12)
    cost = json.loads((tmp_path / "results" / next(iter(plan.runs[0].encoded.values())) / "cost.json").read_text())
    assert cost["device"] == "none: embeddings were read"


def test_without_judgements_queries_are_documents(folder, tmp_path):
    for name in ("qrels.tsv", "queries.npy"):
        (folder / name).unlink()
    rows, plan = scored(folder, tmp_path, "--queries-drawn", "30")
    assert "agreement with the float search" in plan.title
    exact = [row for row in rows if row["doc_precision"] == "float32" and row["dimensions"] is None]
    assert {row["metric"]: (row["value"], row["queries"]) for row in exact} == {
        "overlap@10": (1, 30),
        "kendall@100": (pytest.approx(1), 30),
    }
    encoded = tmp_path / "results" / next(iter(plan.runs[0].encoded.values()))
    queries = pd.read_parquet(next((tmp_path / "results" / "task").iterdir()) / "queries.parquet")
    stored = dict(zip(*read_vectors(folder / "corpus.parquet"), strict=True))
    assert (np.load(encoded / "queries.npy") == np.stack([stored[name] for name in queries["id"]])).all()


def test_options_of_a_model_and_bad_judgements_are_refused(folder, capsys):
    for option in (["--onnx"], ["--corpus", "docs.jsonl"], ["--max-seq-length", "64"]):
        assert main(["score", str(folder), *option]) == 2
        assert f"{option[0]}: '{folder}' is a folder of embeddings" in capsys.readouterr().err
    (folder / "qrels.tsv").write_text("0\tnone\t1\n")
    assert main(["score", str(folder)]) == 2
    assert "judges document 'none', which corpus.parquet does not hold" in capsys.readouterr().err
    (folder / "corpus.parquet").unlink()
    assert main(["score", str(folder)]) == 2
    assert "--corpus is missing: name your documents" in capsys.readouterr().err


def test_stored_embeddings_and_models_do_not_mix(folder):
    overrides = study_overrides(_options([str(folder)]))
    for more in (
        ["study.matrix.method=[baseline]", "study.baseline=baseline"],
        ["deploy=[torch_fp32]"],
        ["task=[stdlib]"],
    ):
        with pytest.raises(UserError, match="is a folder of stored embeddings"):
            compose_runs(PROJECT / "conf", "score", overrides=[*overrides, *more])
    with pytest.raises(UserError, match=r"read stored embeddings; set model\.kind=vectors"):
        compose_runs(PROJECT / "conf", "score", overrides=["deploy.vectors.backend=vectors"])
