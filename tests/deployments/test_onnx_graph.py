"""Our ONNX graphs of small models of each architecture, against Sentence Transformers in PyTorch."""

import shutil

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from sentence_transformers import SentenceTransformer

import miniatures
from qatlab.artifact import read_json, write_json
from qatlab.deployments.backends import onnx_export
from qatlab.deployments.backends.onnx_export import export
from qatlab.deployments.backends.onnx_quantized import quantize_dynamically
from qatlab.deployments.backends.onnx_runtime import OnnxEncoder
from qatlab.deployments.onnx import ONNX_FILE, DynamicQuantization, OnnxDeployment
from qatlab.errors import UserError
from qatlab.models.embedding import check_exportable, load_model, positions

pytestmark = pytest.mark.slow(90)

ONE = ["return the sum of two numbers"]
UNEQUAL = ["a", "the sum of three numbers, and no more than that", "b c"]
LONGEST = ["of many words " * 20]
POOLINGS = {
    "qwen3": "lasttoken",
    "bert": "cls",
    "roberta": "max",
    "distilbert": "mean_sqrt_len_tokens",
    "t5": "weightedmean",
}
FLOAT = OnnxDeployment(backend="onnx")


@pytest.fixture(scope="module", params=miniatures.ENCODERS)
def exported_model(request, tmp_path_factory):
    """A model's folder, and that of its ONNX file."""
    folder = tmp_path_factory.mktemp(request.param)
    source = miniatures.encoder(folder / "model", request.param, pooling=POOLINGS.get(request.param, "mean"))
    export(source, folder / "float", FLOAT)
    return source, folder / "float"


def test_every_architecture_computes_what_pytorch_does(exported_model):
    source, exported = exported_model
    model, ours = SentenceTransformer(str(source), device="cpu"), OnnxEncoder(exported, 1)
    for texts in (ONE, UNEQUAL, LONGEST, ONE * 5):
        wanted = model.encode(texts, batch_size=len(texts))
        assert np.abs(ours.encode(texts, len(texts)) - wanted).max() < 1e-5
    assert ours.tokens.feed(LONGEST, {"input_ids"})["input_ids"].shape[1] == miniatures.LONGEST


def test_every_architecture_becomes_int8(exported_model, tmp_path):
    source, exported = exported_model
    quantize_dynamically(exported, tmp_path / "int8", DynamicQuantization())
    file = onnx.load(tmp_path / "int8" / ONNX_FILE)
    assert not [n.name for n in file.graph.node if n.op_type == "Gemm"]
    products = sum(node.op_type == "MatMulInteger" for node in file.graph.node)
    linear = [name for name, module in load_model(source).named_modules() if isinstance(module, torch.nn.Linear)]
    # A pooler is not used, and what DeBERTa makes of relative positions is the same for all texts: a constant.
    assert products == len([name for name in linear if "pooler" not in name and ".pos_" not in name]) > 0
    wanted = SentenceTransformer(str(source), device="cpu").encode(UNEQUAL)
    # Exact products: without VNNI, sums of int8 products saturate, by an amount that depends on the CPU, not on the file.
    encoder = OnnxEncoder(tmp_path / "int8", 1, exact_products=True)
    assert (encoder.encode(UNEQUAL, 3) * wanted).sum(axis=1).min() > 0.98


def test_more_tokens_than_positions_are_refused_by_the_file_itself(exported_model):
    """Whoever feeds the file without our tokenizer's limit gets an error, or, where positions are computed, the embedding."""
    source, exported = exported_model
    model = load_model(source)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(str(exported / ONNX_FILE), options, providers=["CPUExecutionProvider"])
    ids = np.full((1, miniatures.LONGEST + 8), 9)
    feed = {entry.name: ids if entry.name == "input_ids" else np.ones_like(ids) for entry in session.get_inputs()}
    if "token_type_ids" in feed:
        feed["token_type_ids"] = np.zeros_like(ids)
    if positions(model[0].auto_model) is None:
        embeddings = session.run(["sentence_embedding"], feed)[0]
        with torch.no_grad():
            wanted = model({key: torch.from_numpy(values) for key, values in feed.items()})[
                "sentence_embedding"
            ].numpy()
        assert np.abs(embeddings - wanted).max() < 1e-5
    else:
        with pytest.raises(Exception, match=r"out of data bounds|invalid expand shape|dimension"):
            session.run(["sentence_embedding"], feed)


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return miniatures.encoder(tmp_path_factory.mktemp("refused") / "model", "bert")


@pytest.fixture(scope="module")
def bert_onnx(bert, tmp_path_factory):
    """Return the folder of the BERT model exported to ONNX."""
    folder = tmp_path_factory.mktemp("bert_onnx") / "float"
    export(bert, folder, FLOAT)
    return folder


def test_onnx_runtime_runs_gelu_as_one_operator_and_normalization_apart(bert_onnx, tmp_path):
    """The fusion of a sum with the following layer normalization is slow, so no session may contain it."""
    quantize_dynamically(bert_onnx, tmp_path / "int8", DynamicQuantization())
    for folder in (bert_onnx, tmp_path / "int8"):
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
        onnxruntime.InferenceSession(str(folder / ONNX_FILE), options, providers=["CPUExecutionProvider"])
        run = [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]
        assert run.count("Gelu") + run.count("BiasGelu") == miniatures.SMALL["num_hidden_layers"]
        assert run.count("LayerNormalization") == 1 + 2 * miniatures.SMALL["num_hidden_layers"]
        assert not {"Erf", "SkipLayerNormalization"} & set(run)


def edited(source, target, file, change):
    shutil.copytree(source, target)
    values = read_json(target / file)
    change(values)
    write_json(target / file, values)
    return target


def test_a_limit_beyond_the_positions_is_cut_where_sentence_transformers_cuts_it(tmp_path):
    source = miniatures.encoder(tmp_path / "model", "bert", max_tokens=miniatures.LONGEST + 1)
    export(source, tmp_path / "float", FLOAT)
    wanted = SentenceTransformer(str(source), device="cpu").encode(LONGEST)
    assert np.abs(OnnxEncoder(tmp_path / "float", 1).encode(LONGEST, 1) - wanted).max() < 1e-5


def test_a_limit_beyond_the_positions_is_refused_where_nothing_cuts_it(tmp_path):
    """RoBERTa's table has more rows than texts may have tokens: position numbers begin behind the padding token's."""
    source = miniatures.encoder(tmp_path / "mine" / "model", "roberta", max_tokens=miniatures.LONGEST + 1)
    with pytest.raises(UserError, match=r"mine: max_seq_length is 65, .* 64 positions; set model.max_seq_length=64"):
        export(source, tmp_path / "mine" / "float", FLOAT)


def test_a_model_without_a_transformer_is_refused(tmp_path):
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    model = SentenceTransformer(modules=[StaticEmbedding(miniatures._gemma_tokenizer(end=False), embedding_dim=8)])
    model.save_pretrained(str(tmp_path / "static" / "model"), create_model_card=False)
    with pytest.raises(UserError, match=r"static: .*begins with StaticEmbedding; leave its ONNX deployments out"):
        onnx_export.export_graph(model, tmp_path / "model.onnx", 18, "static")


def test_pooling_without_the_prompt_is_refused_if_there_are_prompts(bert, tmp_path):
    model = load_model(bert)
    model[1].include_prompt = False
    check_exportable(model, "bert")
    model.prompts = {"query": "query: "}
    with pytest.raises(UserError, match="include_prompt: false"):
        check_exportable(model, "bert")


def test_a_failed_export_is_one_line(bert, tmp_path):
    class Decides(torch.nn.Module):
        def forward(self, features):
            if features["sentence_embedding"].sum() > 0:
                features["sentence_embedding"] = -features["sentence_embedding"]
            return features

    model = load_model(bert)
    model.append(Decides())
    with pytest.raises(UserError, match=r"^mine: PyTorch cannot export this model to ONNX \([^\n]+\); leave") as raised:
        onnx_export.export_graph(model, tmp_path / "model.onnx", 18, "mine")
    assert "\n" not in str(raised.value)


def test_a_file_that_computes_something_else_is_refused(bert, bert_onnx):
    model = load_model(bert)
    onnx_export.check_graph(model, bert_onnx / ONNX_FILE, "mine")
    with torch.no_grad():
        model[0].auto_model.encoder.layer[0].output.dense.weight.mul_(2)
    with pytest.raises(UserError, match=r"mine: its ONNX file is wrong: embeddings differ from PyTorch's by "):
        onnx_export.check_graph(model, bert_onnx / ONNX_FILE, "mine")


def test_weights_beyond_the_limit_of_one_file_lie_beside_it(bert, bert_onnx, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_export, "ONE_FILE", 1000)
    export(bert, tmp_path / "two", FLOAT)
    quantize_dynamically(tmp_path / "two", tmp_path / "int8", DynamicQuantization())
    assert sorted(path.name for path in (tmp_path / "two" / "onnx").iterdir()) == ["model.onnx", "model.onnx.data"]
    assert (tmp_path / "two" / ONNX_FILE).stat().st_size < 0.6 * (bert_onnx / ONNX_FILE).stat().st_size
    one, two = (OnnxEncoder(folder, 1).encode(UNEQUAL, 3) for folder in (bert_onnx, tmp_path / "two"))
    assert np.array_equal(one, two)
    assert (OnnxEncoder(tmp_path / "int8", 1).encode(UNEQUAL, 3) * one).sum(axis=1).min() > 0.98


def test_nodes_are_called_after_modules_and_the_file_tells_nothing_of_this_machine(bert_onnx):
    names = [node.name for node in onnx.load(bert_onnx / ONNX_FILE).graph.node]
    assert len(set(names)) == len(names)
    assert {"/0/encoder/layer.1/attention/self/query/MatMul", "/0/encoder/layer.0/output/dense/MatMul"} <= set(names)
    content = (bert_onnx / ONNX_FILE).read_bytes()
    assert b".py" not in content
    assert b"site-packages" not in content
