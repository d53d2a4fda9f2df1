"""models, for real: a trained and deployed tiny model in a folder that Sentence Transformers loads, with the study's results."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from huggingface_hub import ModelCard
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import quantize_embeddings

from qatlab.artifact import write_json
from qatlab.config.evaluate import EvaluateConfig
from qatlab.deployments.deployment import shared_names
from qatlab.deployments.onnx import DynamicQuantization, OnnxDeployment, StaticQuantization
from qatlab.engines.faiss import FaissEngine
from qatlab.evaluation.outputs import outputs
from qatlab.job import JobDescription
from qatlab.quantization import Range
from qatlab.quantization import quantize_embeddings as our_codes
from qatlab.stages import deploy, models, train
from qatlab.study.record import Evaluation
from qatlab.tables import wide
from qatlab.tables.engine_offers import configuration, searching
from qatlab.tables.loading import loading
from records import a_run, a_study
from study_folder import CONCLUSION, OFFER

pytestmark = pytest.mark.slow(25)

RUN = "ste-rate=0.001-seed=1"
DEPLOY = {
    "torch_fp32": {"backend": "torch"},
    "onnx_fp32": {"backend": "onnx"},
    "onnx_int8": {"backend": "onnx", "quantization": {"mode": "IntegerOps"}, "exact_products": True},
    "torchao:int8": {"backend": "torch", "weights": {"name": "int8"}},
}
DESCRIBED = a_run(
    name=RUN,
    method="ste",
    seed=1,
    varied={"matrix.trainer.learning_rate": 0.001},
    trained="train/ste",
    deployed={name: f"deploy/{name}" for name in DEPLOY},
)
STUDY = a_study(
    scale="small",
    kinds={"code": "retrieval", "sts": "similarity"},
    main_metrics={"code": "ndcg@10", "sts": "spearman"},
    views=["scores_by_precision", "against_baseline"],
    runs=[a_run(name="untrained", trained="model/tiny"), DESCRIBED],
)
CONFIG = STUDY.model_dump(mode="json")


@pytest.fixture(scope="module")
def results(tiny_model, training_data, tmp_path_factory):
    """A model that was trained with ranges of its own, and its deployments."""
    folder = tmp_path_factory.mktemp("results")
    config = {"name": "someone/tiny", "revision": "main", "max_seq_length": 32, "num_hidden_layers": None}
    (folder / "model").mkdir()
    shutil.copytree(tiny_model, folder / "model" / "model")
    (folder / "model" / "config.json").write_text(json.dumps({"config": config}))
    (folder / "model" / "manifest.json").write_text(json.dumps({"source": "hub", "name": "someone/tiny"}))
    quantization = {"precisions": {"float32": {}, "int8": {}}, "ranges": {"kind": "running"}}
    method = {"name": "ste", "embedding_quantization": quantization}
    trainer = {"batch_size": 16, "learning_rate": 1e-3, "precision": "fp32"}
    config = {"method": method, "trainer": trainer, "seed": 1}
    made_from = {"model": "model", "data": "data"}
    description = JobDescription(name="ste", label="ste", config=config, inputs=made_from)
    (folder / "train" / "ste").mkdir(parents=True)
    shutil.copytree(training_data, folder / "data")
    train.run(description, {"model": folder / "model", "data": folder / "data"}, folder / "train" / "ste", 2)
    (folder / "train" / "ste" / "config.json").write_text(description.model_dump_json())
    inputs = {"model": folder / "train" / "ste", "float": folder / "deploy" / "onnx_fp32"}
    for name, config in DEPLOY.items():
        target = folder / "deploy" / name
        target.mkdir(parents=True)
        deploy.run(JobDescription(label=name, config=config), inputs, target, 2)
        (target / "config.json").write_text(json.dumps({"config": config}))
    return folder


def conclusion(results):
    """A conclusion that offers int8 embeddings of the model in two deployments, in an index of faiss."""
    config, engine = EvaluateConfig(precisions=["int8"], ranges=["model"]), FaissEngine()
    (output,) = outputs(config)
    (results / "encode").mkdir()
    write_json(results / "encode" / "similarity.json", {"similarity": "cosine"})
    offers = []
    for grade, name in (("safest", "torch_fp32"), ("balanced", "onnx_int8"), ("smallest", "torchao:int8")):
        entry = Evaluation(deploy=name, task="code", encode="encode")
        described, mode = output.described(32), engine.all_modes()["int8_qatlab_exact"]
        realized = {
            "engine": "faiss",
            "mode": mode.name,
            "version": "1",
            "value": 0.5,
            "difference": -0.01,
            "low": -0.02,
            "high": 0,
        }
        realized |= {"queries_per_second": 1234.5, "configuration": configuration(engine, mode)}
        realized["search"] = searching(engine, mode, config, described, unit=True)
        load = loading(a_study(evaluate=config, runs=[DESCRIBED]), DESCRIBED, entry, described, results)
        offers.append(OFFER | {"grade": grade, "run": RUN, "deploy": name, "load": load, "engine": realized})
    return CONCLUSION | {"offers": offers}


@pytest.fixture(scope="module")
def tables(results, tmp_path_factory):
    """The tables of a study of two methods, two learning rates and two seeds; its values do not come from this model."""
    folder = tmp_path_factory.mktemp("concluded") / "tables"
    folder.mkdir()
    write_json(folder.parent / "conclusion.json", conclusion(results))
    usual = {"rotation": "none", "rescoring": "none", "dimensions": None, "index": "flat"}
    outputs = {"float32": ("dot", "none"), "int8": ("dequantized", "corpus"), "binary": ("hamming", "none")}
    rows, cost, drift = [], [], []
    for rate, seed in ((0.001, 0), (0.001, 1), (0.01, 1)):
        run = f"ste-rate={rate}-seed={seed}"
        of = {"run": run, "method": "ste", "seed": seed}
        for deployment in DEPLOY:
            counts = ("900", "1000") if deployment.endswith("int8") else ("", "")
            of_weights = dict(zip(("quantized_weights", "linear_weights"), counts, strict=True))
            cost.append({**of, "deploy": deployment, "bytes_on_disk": 1000 + len(cost), **of_weights})
            drift.append(
                {**of, "reference": "simulated:int8", "deploy": deployment, "task": "code", "min": 0.9, "mean": 0.95}
                | {"mean_distance": len(drift) / 1000, "n": 40, "top10_overlap": None, "integer_kernel": None}
            )
            for task, metrics in {"code": ("ndcg@10", "mrr@10"), "sts": ("spearman",)}.items():
                for metric in metrics:
                    for output, (scoring, ranges) in outputs.items():
                        sides = {"query_precision": output, "doc_precision": output}
                        where = {"deploy": deployment, "task": task, "metric": metric, "integer_kernel": None}
                        value = {"value": 0.5 + len(rows) / 997}
                        rows.append({**of, **where, **sides, **usual, "scoring": scoring, "ranges": ranges, **value})
                        if output == "binary":  # a baseline, which no card shows
                            rows.append({**rows[-1], "rotation": "centred", "value": 0.999})
    pd.DataFrame(rows).to_csv(folder / "scores.csv", index=False, float_format="%.6f")
    pd.DataFrame(cost).to_csv(folder / "cost.csv", index=False)
    pd.DataFrame(drift).to_csv(folder / "drift.csv", index=False, float_format="%.9f")
    cells = [("baseline", 0.001), ("ste", 0.001), ("ste", 0.01)]
    keys = [{"method": method, "matrix.trainer.learning_rate": rate, "deploy": "torch_fp32"} for method, rate in cells]
    by_precision = pd.DataFrame(
        [
            {**key, "code · int8": "0.1", "mean of tasks · int8": f"0.8{n} ± 0.01", "mean of tasks · binary": f"0.7{n}"}
            for n, key in enumerate(keys)
        ]
    )
    against = pd.DataFrame(
        [
            {**key, "output precision": "int8", "difference": f"+0.0{n}", "95 % interval": f"-0.1{n} to +0.1{n}"}
            | {"verdict": "not separable"}
            for n, key in enumerate(keys[1:], 1)
        ]
    )
    wide.write_all_forms(by_precision, folder, "scores_by_precision", "Main scores (2 seeds, ± standard deviation)")
    wide.write_all_forms(against, folder, "against_baseline", "Less baseline (95 % intervals over queries and 2 seeds)")
    return folder


@pytest.fixture(scope="module")
def shared_model(results, tables, tmp_path_factory):
    """The models of the study, away from what they were linked to."""
    output = tmp_path_factory.mktemp("study")
    before = (results / "train/ste/model/README.md").read_bytes()
    models.run(JobDescription(config=CONFIG), {"results": results, "tables": tables}, output, 2)
    assert (results / "train/ste/model/README.md").read_bytes() == before
    assert [path.name for path in (output / "models").iterdir()] == [RUN]
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "moved"
    (output / "models" / RUN).rename(elsewhere)
    return elsewhere


def tables_of(text):
    """The Markdown tables below each heading, as rows of cells by column."""
    tables_by_heading, heading = {}, ""
    for line in text.splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ")
        elif line.startswith("|"):
            tables_by_heading.setdefault(heading, []).append([cell.strip() for cell in line.strip("|").split("|")])
    return {heading: pd.DataFrame(rows[2:], columns=rows[0]) for heading, rows in tables_by_heading.items()}


def test_it_loads_in_torch_as_it_was_trained(shared_model, results, texts):
    trained = SentenceTransformer(str(results / "train/ste/model"), device="cpu").encode(texts)
    assert np.array_equal(SentenceTransformer(str(shared_model), device="cpu").encode(texts), trained)


def test_files_are_hard_links_to_the_artifacts(shared_model, results):
    names = {path.name for path in (shared_model / "onnx").iterdir()}
    assert names == {"model.onnx", "model_qint8_quantized.onnx"}
    assert not any(path.is_symlink() for path in shared_model.rglob("*"))
    assert (shared_model / "model.safetensors").samefile(results / "train/ste/model/model.safetensors")
    int8 = results / "deploy/onnx_int8/model/onnx/model.onnx"
    assert (shared_model / "onnx/model_qint8_quantized.onnx").samefile(int8)


def test_the_code_on_the_card_runs(shared_model, monkeypatch, capsys):
    monkeypatch.chdir(shared_model)
    blocks = (shared_model / "README.md").read_text().split("```python\n")[1:]
    first, second, *engines = (block.partition("```")[0] for block in blocks)
    space: dict = {}
    exec(first, space)
    saved = Range.load(shared_model / "quantization_ranges/int8.npz")
    assert np.array_equal(space["codes"], our_codes(space["documents"], "int8", saved))
    assert np.array_equal(space["bits"], quantize_embeddings(space["documents"], "ubinary"))
    exec(second, space)
    assert np.allclose(np.linalg.norm(space["embeddings"], axis=1), 1, atol=1e-6)
    assert space["embeddings"].shape == (1, 32)
    assert len(engines) == 3
    for code in engines[:2]:
        names: dict = {}
        exec(code, names)
        assert names["codes"].dtype == np.int8
        assert np.array_equal(names["ranges_int8"].low, saved.low)
        assert np.array_equal(np.sort(names["ids"][0][:2]), [0, 1])  # both documents
    assert "model_qint8_quantized.onnx" in engines[1]
    assert "SentenceTransformer" not in engines[2]  # the folder has no such deployment


def test_the_card_names_the_engine_of_each_offer(shared_model):
    text = (shared_model / "README.md").read_text()
    assert text.count("  - engine: faiss\n    modes: [int8_qatlab_exact]\n") == 3
    assert "### int8 embeddings of `onnx_int8` in faiss" in text
    assert "has nDCG@10 0.5000, −0.0100 from an exact search" in text
    assert "at 1,234 queries per second" in text


def test_results_are_those_of_the_tables(shared_model, tables):
    card = ModelCard.load(shared_model / "README.md")
    shown = tables_of(card.text)
    scores = pd.read_csv(tables / "scores.csv", dtype=str).query(
        "run == @RUN and metric != 'mrr@10' and rotation == 'none'"
    )
    own = shown["This model: main score (nDCG@10; Spearman's ρ of sts) by output precision (seed 1)"]
    assert len(own) == 2 * len(DEPLOY)
    assert own.melt(["task", "deploy"])["value"].sort_values().tolist() == sorted(scores["value"])
    cell = own.query("task == 'sts' and deploy == 'onnx_int8'")["binary"].item()
    assert [cell] == scores.query("task == 'sts' and deploy == 'onnx_int8' and doc_precision == 'binary'")[
        "value"
    ].tolist()
    assert shown["Its method: mean of the tasks"].to_dict("records") == [
        {"deploy": "torch_fp32", "int8": "0.81 ± 0.01", "binary": "0.71"}
    ]
    assert shown["Its method against `baseline`"].to_dict("records") == [
        {
            "deploy": "torch_fp32",
            "output precision": "int8",
            "difference": "+0.01",
            "95 % interval": "-0.11 to +0.11",
            "verdict": "not separable",
        }
    ]
    assert "**Less baseline (95 % intervals over queries and 2 seeds)**" in card.text
    drift = pd.read_csv(tables / "drift.csv", dtype=str).query("run == @RUN")
    drift_table = shown["This model: cosine similarity to a reference's embeddings, text by text"]
    assert drift_table["mean distance"].tolist() == drift["mean_distance"].tolist()
    assert "top10 overlap" not in drift_table
    ships = shown["How it ships"].set_index("shipped as")
    cost = pd.read_csv(tables / "cost.csv", dtype=str).query("run == @RUN").set_index("deploy")
    assert ships["bytes on disk"].to_dict() == cost["bytes_on_disk"].to_dict()
    part = "900 of 1,000, those of linear layers"
    assert ships["weights quantized"].tolist() == ["none", "none", part, part]
    assert ships["file"].to_dict() == {
        "torch_fp32": "this folder",
        "onnx_fp32": "`onnx/model.onnx`",
        "onnx_int8": f"`onnx/model_qint8_quantized.onnx` ({models.EXACT})",
        "torchao:int8": "made from it in the study, not in this folder",
    }
    assert "Study `tiny` (A tiny study), at scale `small`; this model is its run `ste-rate=0.001-seed=1`" in card.text
    assert "over queries and 2 seeds; ±" in card.text


def test_the_hub_gets_the_results_of_the_folders_own_weights(shared_model, tables):
    data = ModelCard.load(shared_model / "README.md").data
    scores = pd.read_csv(tables / "scores.csv").query(
        "run == @RUN and metric != 'mrr@10' and rotation == 'none' and deploy == 'torch_fp32'"
    )
    assert {(r.dataset_name, r.metric_config, r.metric_type): r.metric_value for r in data.eval_results} == {
        (row["task"], row["doc_precision"], row["metric"]): row["value"] for row in scores.to_dict("records")
    }
    assert {r.task_type for r in data.eval_results} == {"information-retrieval", "semantic-similarity"}
    assert data.model_name == f"tiny-{RUN}"
    assert data.base_model == "someone/tiny"
    assert data.to_dict()["base_model_relation"] == "finetune"


def test_a_study_without_views_or_plain_weights_has_what_it_has(results, tables, tmp_path):
    run = DESCRIBED.model_copy(update={"deployed": {"onnx_int8": "deploy/onnx_int8"}}).model_dump(mode="json")
    config = {**CONFIG, "views": ["scores_by_precision"], "runs": [run]}
    models.run(JobDescription(config=config), {"results": results, "tables": tables}, tmp_path, 2)
    card = ModelCard.load(tmp_path / "models" / RUN / "README.md")
    assert "Its method against" not in card.text
    assert "Its method: mean of the tasks" in card.text
    assert card.data.eval_results is None
    assert "model-index" not in card.content


def test_a_card_is_written_anew_whatever_training_wrote(results, tables, tmp_path):
    """Another wording of cards reruns no training."""
    other = tmp_path / "results"
    shutil.copytree(results, other)
    (other / "train/ste/model/README.md").write_text("an older wording")
    models.run(JobDescription(config=CONFIG), {"results": other, "tables": tables}, tmp_path, 2)
    card = (tmp_path / "models" / RUN / "README.md").read_text()
    assert "an older wording" not in card
    assert "## How it was trained" in card
    assert (other / "train/ste/model/README.md").read_text() == "an older wording"


def test_onnx_files_have_names_of_their_own():
    dynamic, static = DynamicQuantization(), StaticQuantization(mode="QDQ", weight_type="QUInt8")
    quantizations = {
        "onnx_fp32": None,
        "onnx_again": None,
        "onnx_int8": dynamic,
        "onnx_int8_static": static,
        "onnx_int8_quantized": dynamic,
        "mine": dynamic,
    }
    deployments = {n: OnnxDeployment(backend="onnx", quantization=q) for n, q in quantizations.items()}
    deployments["onnx_new"] = OnnxDeployment(backend="onnx", opset=21)
    deployments["onnx_old"] = OnnxDeployment(backend="onnx", exporter="optimum", opset=14)
    assert shared_names(deployments) == {
        "onnx_fp32": "onnx/model.onnx",
        "onnx_again": "onnx/model.onnx",
        "onnx_int8": "onnx/model_qint8_quantized.onnx",
        "onnx_int8_static": "onnx/model_quint8_static.onnx",
        "onnx_int8_quantized": "onnx/model_qint8_onnx_int8_quantized.onnx",
        "mine": "onnx/model_qint8_mine.onnx",
        "onnx_new": "onnx/model_opset21.onnx",
        "onnx_old": "onnx/model_optimum_opset14.onnx",
    }
