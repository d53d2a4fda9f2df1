"""The code of an offer, executed: it stores and finds what the study has scored, in every deployment and at every output."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from engine_documents import alike
from qatlab.config.evaluate import EvaluateConfig
from qatlab.engines.engine import ENGINES, open_index, write_index
from qatlab.evaluation.axes import on_axes
from qatlab.evaluation.outputs import outputs
from qatlab.evaluation.ranking import SideRanges, rank, side_ranges
from qatlab.job import JobDescription
from qatlab.models.settings import SIMILARITY_FILE
from qatlab.quantization import Range, quantize_embeddings
from qatlab.quantization.grids import queries_for_codes
from qatlab.quantization.ranges import RANGES
from qatlab.stages import deploy, encode, train
from qatlab.tables.engine_offers import searching
from qatlab.tables.loading import TEXTS, loading
from records import a_run, a_study

DEPLOY = {
    "torch_fp32": {"backend": "torch"},
    "onnx_fp32": {"backend": "onnx"},
    "onnx_int8": {"backend": "onnx", "quantization": {"mode": "IntegerOps"}, "exact_products": True},
    "torchao:int8": {"backend": "torch", "weights": {"name": "int8"}},
}
PLAIN = {"precisions": ["float32", "int8", "binary"]}
ALIKE = 0.999  # share of codes; a last digit of another batch decides between two cells now and then


@pytest.fixture(scope="module")
def results(tiny_model, training_data, pairs, tmp_path_factory):
    """A model that was trained with ranges of its own and has prompts, its deployments, and the encodings of a task."""
    root = tmp_path_factory.mktemp("loading")
    folder = root / "results"
    (folder / "model").mkdir(parents=True)
    shutil.copytree(tiny_model, folder / "model" / "model")
    settings = folder / "model" / "model" / "config_sentence_transformers.json"
    prompts = {"prompts": {"query": "find: ", "document": "text: "}}
    settings.write_text(json.dumps(json.loads(settings.read_text()) | prompts))
    config = {"name": "someone/tiny", "revision": "main", "max_seq_length": 32, "num_hidden_layers": None}
    (folder / "model" / "config.json").write_text(json.dumps({"config": config}))
    (folder / "model" / "manifest.json").write_text(json.dumps({"source": "hub", "name": "someone/tiny"}))
    shutil.copytree(training_data, folder / "data" / "pairs")
    method = {
        "name": "ste",
        "embedding_quantization": {"precisions": {"float32": {}, "int8": {}}, "ranges": {"kind": "running"}},
    }
    config = {"method": method, "trainer": {"batch_size": 16, "learning_rate": 1e-3, "precision": "fp32"}, "seed": 1}
    (folder / "train" / "ste").mkdir(parents=True)
    roles = {"model": folder / "model", "data": folder / "data" / "pairs"}
    train.run(JobDescription(label="ste", config=config), roles, folder / "train" / "ste", 1)
    task = folder / "task"
    task.mkdir()
    for table, side in (("queries", 0), ("documents", 1)):
        texts = [pair[side] for pair in pairs[80:120]]
        pd.DataFrame({"id": [f"{at}" for at in range(40)], "text": texts}).to_parquet(task / f"{table}.parquet")
    (task / "manifest.json").write_text(json.dumps({"kind": "retrieval"}))
    for name, config in DEPLOY.items():
        inputs = {"model": folder / "train" / "ste", "float": folder / "deploy" / "onnx_fp32"}
        _stage(deploy, folder, "deploy", name, config, inputs)
        deployed = {"deploy": folder / "deploy" / name}
        _stage(encode, folder, "encode", name, {"threads": 1}, deployed | {"task": task})
    training = {"deploy": "deploy/torch_fp32", "data": "data/pairs"}
    inputs = {role: folder / path for role, path in training.items()}
    _stage(encode, folder, "encode", "training", {"rows": 50, "threads": 1}, inputs, training)
    return root


def _stage(stage, folder, kind, name, config, inputs, named=None):
    target = folder / kind / name
    target.mkdir(parents=True)
    description = JobDescription(label=name, config=config, inputs=named or {})
    stage.run(description, inputs, target, 1)
    (target / "config.json").write_text(description.model_dump_json())


RUN = a_run(
    name="ste-seed=1",
    deployed={name: f"deploy/{name}" for name in DEPLOY},
    evaluations=[
        {"deploy": name, "task": "code", "encode": f"encode/{name}", "score": "score/x", "training": "encode/training"}
        for name in DEPLOY
    ],
)


def code_of(results, deployment, output, evaluate, dim=32):
    entry = next(entry for entry in RUN.evaluations if entry.deploy == deployment)
    return loading(a_study(evaluate=evaluate, runs=[RUN]), RUN, entry, output.described(dim), results / "results")


def executed(results, code, monkeypatch):
    """The variables of a code after its execution with the texts of the task, in the folder that contains results/."""
    tables = [f'pd.read_parquet("results/task/{name}.parquet")["text"].tolist()' for name in ("documents", "queries")]
    assert TEXTS in code
    monkeypatch.chdir(results)
    names = {"pd": pd}
    exec(code.replace(TEXTS, f"documents, queries = {', '.join(tables)}"), names)
    return names


EVALUATED = {
    "plain": PLAIN | {"ranges": ["corpus", "training", "model"], "bit_axes": ["centred", "itq", {"kind": "overcomplete", "factor": 2}]},
    "few bits": {
        "precisions": ["int2_quantile", "float32_x_ternary"],
        "ranges": ["training"],
        "rotations": ["random", {"kind": "none", "center": "median", "fitted_on": "training"}],
        "dimensions": [None, 16],
    },
    "by product": {"precisions": ["uint8", "int4"], "similarity": "dot", "range_kind": "fixed", "scoring": ["codes"]},
    "percentiles": {
        "precisions": ["float32_x_int8"],
        "range_kind": "percentile",
        "rescoring": ["none", [{"documents": "binary"}, {"documents": "float32", "oversampling": 2}]],
    },
    "graphs": {"precisions": ["float32", "int2_quantile", "binary"], "index": ["hnsw", {"kind": "ivf", "lists": 4, "probes": 3}]},
    "faiss": {"precisions": ["float32_x_binary", "float32_x_int8"], "scoring": ["rabitq", "bbq", "scalar_quantizer"]},
}  # fmt: skip


@pytest.mark.slow(16)
@pytest.mark.parametrize("evaluate", EVALUATED.values(), ids=EVALUATED)
def test_it_stores_and_finds_what_was_scored(results, evaluate, monkeypatch):
    config, folder = EvaluateConfig.model_validate(evaluate), results / "results"
    queries, documents = (
        np.load(folder / "encode" / "torch_fp32" / f"{table}.npy") for table in ("queries", "documents")
    )
    training = np.load(folder / "encode" / "training" / "documents.npy")
    own = {path.stem: Range.load(path) for path in (folder / "encode" / "torch_fp32" / RANGES).glob("*.npz")}
    config = config.model_copy(update={"range_rows": 50})
    assert outputs(config)
    for output in outputs(config):
        similarity = "cosine" if config.similarity == "model" else config.similarity
        sides = on_axes(queries, documents, output.rotation, output.dimensions, similarity, training)
        ranges = side_ranges([output], *sides, config, own, sides[1].of(training))
        fitted = ranges[output.ranges].documents if output.ranges else {}
        names = executed(results, code_of(results, "torch_fp32", output, config, sides[1].dim), monkeypatch)
        if output.scoring not in ("rabitq", "bbq", "scalar_quantizer"):
            expected = quantize_embeddings(sides[1][:], output.document, fitted.get(output.document))
            assert names["codes"].nbytes == 40 * output.document_bytes(sides[1].dim) or output.index.kind != "flat"
            assert names["codes"].dtype == expected.dtype
            close = np.isclose(names["codes"], expected, atol=1e-6, rtol=0)
            assert close.mean() >= ALIKE, output.name
            expected_queries = quantize_embeddings(sides[0][:], output.query, fitted.get(output.query))
            assert np.isclose(names["query_codes"], expected_queries, atol=1e-6, rtol=0).mean() >= ALIKE, output.name
        if output.index.kind != "flat" or output.scoring in ("rabitq", "bbq", "scalar_quantizer"):
            best = rank(*sides, output, ranges.get(output.ranges, SideRanges()), depth=10)
            assert (names["best"] == best).mean() >= 0.99, output.name
        for step in output.rescoring:
            expected = quantize_embeddings(sides[1][:], step.documents, fitted.get(step.documents))
            assert np.isclose(names[f"{step.documents}_copies"], expected, atol=1e-6, rtol=0).mean() >= ALIKE


@pytest.mark.parametrize("deployment", [name for name in DEPLOY if name != "torch_fp32"])
def test_every_deployment_gives_its_embeddings(results, deployment, monkeypatch):
    config = EvaluateConfig.model_validate(PLAIN)
    encoded = np.load(results / "results" / "encode" / deployment / "documents.npy")
    for output in outputs(config):
        names = executed(results, code_of(results, deployment, output, config), monkeypatch)
        assert names["codes"].nbytes == 40 * output.document_bytes(32)
        assert names["query_codes"].shape == names["codes"].shape
        if output.plain and deployment != "onnx_int8":
            assert names["codes"] == pytest.approx(encoded, abs=1e-5)
        elif output.plain:  # the scale of activations is that of the batch
            cosines = (names["codes"] * encoded).sum(axis=1)
            assert cosines.min() > 0.99
    expected = {
        "onnx_fp32": "import onnxruntime",
        "onnx_int8": "options, providers",
        "torchao:int8": "deployment.encoder",
    }
    assert expected[deployment] in code_of(results, deployment, output, config)


@pytest.mark.slow(20)
@pytest.mark.parametrize("name", [name for name in ENGINES.built_in if name != "pgvector"])  # which needs a server
def test_an_engine_stores_and_finds_the_embeddings_of_the_code(results, name, tmp_path, monkeypatch):
    engine, config = ENGINES.get(name)(), EvaluateConfig.model_validate(PLAIN)
    if engine.problem():
        pytest.skip(engine.problem())
    for output, stored in zip(outputs(config), ("float32", "int8", "bits"), strict=True):
        loaded = executed(results, code_of(results, "torch_fp32", output, config), monkeypatch)
        for mode in engine.MODES:
            code = searching(engine, mode, config, output.described(32), unit=True)
            if mode.stored != stored or code is None:
                continue
            names = dict(loaded)
            exec(code, names)
            documents, queries = loaded["document_vectors"], loaded["query_vectors"]
            if mode.quantizer == "qatlab" and stored == "int8":
                documents, queries = loaded["codes"], queries_for_codes(queries, loaded["ranges_int8"])
            elif mode.quantizer == "qatlab":
                documents, queries = (loaded[side].view(np.uint8) for side in ("codes", "query_codes"))
            received = SimpleNamespace(
                count=40, dim=32, similarity="cosine", blocks=lambda rows=documents: iter([rows])
            )
            write_index(engine, mode, received, tmp_path / mode.name, 1)
            with open_index(engine, mode, tmp_path / mode.name, 1) as opened:
                expected = np.array([opened.search(query, 10) for query in queries])
            ids = np.array([list(best) for best in names["ids"]], dtype=np.int64)
            assert alike(mode, documents, queries, ids, expected) >= (1 if mode.index == "exact" else 0.9), mode.name


def test_the_code_is_the_same_wherever_results_are(results):
    (output, *_) = outputs(EvaluateConfig.model_validate(PLAIN))
    assert str(results) not in code_of(results, "onnx_int8", output, EvaluateConfig())


def test_it_runs_as_it_is(results, monkeypatch):
    """Three dots are texts, too."""
    monkeypatch.chdir(results)
    for output in outputs(EvaluateConfig.model_validate(PLAIN)):
        exec(code_of(results, "torch_fp32", output, EvaluateConfig()), {})


def test_causal_language_models_continue_a_text(tiny_decoder_folder, tmp_path, monkeypatch, capsys):
    from qatlab.evaluation.outputs import TEXT_OUTPUT

    folder = tmp_path / "results"
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "model").symlink_to(tiny_decoder_folder)
    (folder / "encode").mkdir()
    (folder / "encode" / "config.json").write_text(json.dumps({"config": {"prompt": "{source} in French:"}}))
    deployments = {
        "torch_fp32": {"backend": "torch"},
        "torch_bf16": {"backend": "torch", "dtype": "bfloat16"},
        "torchao:int8": {"backend": "torch", "weights": {"name": "int8"}},
    }
    monkeypatch.chdir(tmp_path)
    for name, config in deployments.items():
        target = folder / "deploy" / name
        target.mkdir(parents=True)
        description = JobDescription(label=name, family="causal_lm", config=config)
        deploy.run(description, {"model": folder / "model"}, target, 1)
        (target / "config.json").write_text(description.model_dump_json())
        run = a_run(
            deployed={name: f"deploy/{name}"}, evaluations=[{"deploy": name, "task": "code", "encode": "encode"}]
        )
        for kind, text in (("translation", "… in French:"), ("language_modelling", "…")):
            study = a_study(evaluate=None, kinds={"code": kind}, main_metrics={"code": "chrf"}, runs=[run])
            code = loading(study, run, run.evaluations[0], TEXT_OUTPUT, folder)
            assert f"text = {text!r}" in code
            names: dict[str, object] = {}
            exec(code, names)
            assert names["model"].device.type == "cpu"
            assert capsys.readouterr().out


def test_the_similarity_of_the_model_decides_on_the_length(results):
    (_, output, _) = outputs(EvaluateConfig.model_validate(PLAIN))
    file = results / "results" / "encode" / "onnx_fp32" / SIMILARITY_FILE
    before = file.read_text()
    assert "unit(document_vectors)" in code_of(results, "onnx_fp32", output, EvaluateConfig())
    try:
        file.write_text('{"similarity": "dot"}')
        assert "unit(document_vectors)" not in code_of(results, "onnx_fp32", output, EvaluateConfig())
    finally:
        file.write_text(before)
