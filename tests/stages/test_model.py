"""The model stage: only plain files come along, and a bare encoder becomes a Sentence Transformers folder."""

import json
import shutil

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

import miniatures
from qatlab.artifact import folder_bytes
from qatlab.deployments.backends.onnx_runtime import TokenBatches
from qatlab.errors import UserError
from qatlab.job import JobDescription
from qatlab.models.embedding import load_model
from qatlab.stages import model as stage


def run(source, output, **more):
    output.mkdir()
    stage.run(
        JobDescription(config={"name": str(source), "revision": "main", "max_seq_length": 24, **more}), {}, output, None
    )
    return output / "model"


def test_a_folder_is_taken_without_pickles_and_code(tiny_model, tmp_path, pairs):
    source = tmp_path / "source"
    shutil.copytree(tiny_model, source)
    (source / "pytorch_model.bin").write_bytes(b"pickle")
    (source / "modeling_evil.py").write_text("raise SystemExit")
    target = run(source, tmp_path / "out")
    names = {path.name for path in target.rglob("*")}
    assert {"model.safetensors", "tokenizer.json", "modules.json"} <= names
    assert not {"pytorch_model.bin", "modeling_evil.py"} & names
    loaded = SentenceTransformer(str(target), device="cpu")
    assert loaded.max_seq_length == 24
    short = [summary for summary, _ in pairs[:5]]
    assert (loaded.encode(short) == SentenceTransformer(str(tiny_model), device="cpu").encode(short)).all()


def test_a_bare_encoder_gets_mean_pooling(tiny_model, tmp_path):
    bare = tmp_path / "bare"
    shutil.copytree(
        tiny_model, bare, ignore=shutil.ignore_patterns("modules.json", "*Pooling", "*Normalize", "config_sentence*")
    )
    target = run(bare, tmp_path / "out")
    assert [module["type"].rpartition(".")[2] for module in json.loads((target / "modules.json").read_text())] == [
        "Transformer",
        "Pooling",
    ]
    assert SentenceTransformer(str(target), device="cpu").max_seq_length == 24


def test_the_first_layers_are_kept_as_they_are(tiny_model, tmp_path, capfd):
    target = run(tiny_model, tmp_path / "out", num_hidden_layers=1)
    weights = SentenceTransformer(str(target), device="cpu").state_dict()
    whole = SentenceTransformer(str(tiny_model), device="cpu").state_dict()
    assert 0 < len(weights) < len(whole)
    assert all((value == whole[name]).all() for name, value in weights.items())
    assert "not used" not in capfd.readouterr().err
    with pytest.raises(UserError, match="num_hidden_layers=3, but the model has 2"):
        run(tiny_model, tmp_path / "more", num_hidden_layers=3)


def edit(path, **values):
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def check_tokens(folder, texts):
    """What runtimes without Transformers read is what Sentence Transformers computes with."""
    ours = TokenBatches(folder).feed(texts, {"input_ids", "attention_mask"})
    theirs = SentenceTransformer(str(folder), device="cpu").preprocess(texts)
    for name, values in ours.items():
        assert np.array_equal(values, theirs[name].numpy()), name
    return ours["input_ids"]


@pytest.mark.parametrize("file", ["tokenizer_config.json", "sentence_bert_config.json"])
def test_casing_that_stands_outside_of_the_tokenizer_is_in_it(tiny_model, tmp_path, file):
    source, texts = tmp_path / "source", ["Return THE Message", "a"]
    shutil.copytree(tiny_model, source)
    tokenizer = json.loads((source / "tokenizer.json").read_text())
    edit(source / "tokenizer.json", normalizer={**tokenizer["normalizer"], "lowercase": False})
    edit(source / "tokenizer_config.json", do_lower_case=False)
    edit(source / file, do_lower_case=True)
    tokens = check_tokens(run(source, tmp_path / "out"), texts)
    assert np.array_equal(tokens, check_tokens(run(tiny_model, tmp_path / "plain"), [text.lower() for text in texts]))
    assert not np.array_equal(tokens, TokenBatches(source).feed(texts, {"input_ids"})["input_ids"])


def test_an_end_token_that_is_added_on_loading_is_in_the_tokenizer(tmp_path):
    """As in e5-mistral, tokenizer_config.json adds it and tokenizer.json does not. Transformers 4 adds it, 5 does not."""
    source = miniatures.decoder_encoder(tmp_path / "source", pad="<pad>")
    edit(source / "tokenizer.json", post_processor=None)
    edit(source / "tokenizer_config.json", tokenizer_class="LlamaTokenizerFast", add_eos_token=True, add_bos_token=True)
    check_tokens(run(source, tmp_path / "out", max_seq_length=64), ["one text", "a longer text"])


@pytest.mark.parametrize("side", ["left", "right"])
def test_long_texts_are_cut_where_the_tokenizer_says(tiny_model, tmp_path, pairs, side):
    source = tmp_path / "source"
    shutil.copytree(tiny_model, source)
    edit(source / "tokenizer_config.json", truncation_side=side)
    long = " ".join(summary for summary, _ in pairs[:20])
    ids = check_tokens(run(source, tmp_path / "out"), [long])[0]
    whole = SentenceTransformer(str(tiny_model), device="cpu").tokenizer(long)["input_ids"]
    assert ids[1:-1].tolist() == (whole[-23:-1] if side == "left" else whole[1:23])


def test_a_decoder_without_a_padding_token_is_padded_with_its_end(tmp_path):
    source = miniatures.decoder_encoder(tmp_path / "source", pad=None)
    target = run(source, tmp_path / "out", max_seq_length=64)
    texts = ["one text", "a longer text"]
    check_tokens(target, texts)
    model = load_model(target)
    together, apart = model.encode(texts), np.concatenate([model.encode([text]) for text in texts])
    assert np.abs(together - apart).max() < 1e-5


def test_the_layout_of_old_folders_is_left_behind(tiny_model, tmp_path, texts):
    """Sizes on disk are those of the model, not of two."""
    source = tmp_path / "source"
    shutil.copytree(tiny_model, source)
    below = source / "0_Transformer"
    below.mkdir()
    for file in list(source.iterdir()):
        if file.is_file() and file.name not in ("modules.json", "config_sentence_transformers.json"):
            file.rename(below / file.name)
    modules = json.loads((source / "modules.json").read_text())
    modules[0]["path"] = "0_Transformer"
    (source / "modules.json").write_text(json.dumps(modules))
    old, plain = run(source, tmp_path / "old"), run(tiny_model, tmp_path / "plain")
    assert not (old / "0_Transformer").exists()
    assert folder_bytes(old) < 1.02 * folder_bytes(plain)
    embeddings = [SentenceTransformer(str(folder), device="cpu").encode(texts) for folder in (old, plain)]
    assert np.array_equal(*embeddings)


@pytest.mark.parametrize("architecture", ["gemma3", "qwen3", "modernbert"])
def test_layers_of_several_types_are_cut_with_their_types(tmp_path, architecture):
    source = miniatures.encoder(tmp_path / "source", architecture, max_tokens=32)
    target = run(source, tmp_path / "out", num_hidden_layers=1)
    assert load_model(target).encode(["a text"]).shape[0] == 1
    assert json.loads((target / "config.json").read_text())["num_hidden_layers"] == 1


def test_more_tokens_than_positions_are_refused(tiny_model, tmp_path):
    run(tiny_model, tmp_path / "as many", max_seq_length=64)
    message = "model.max_seq_length=65, but model '.*' has 64 positions; set model.max_seq_length=64 or less"
    with pytest.raises(UserError, match=message):
        run(tiny_model, tmp_path / "more", max_seq_length=65)


def classes(folder):
    return [module["type"].rpartition(".")[2] for module in json.loads((folder / "modules.json").read_text())]


def test_normalization_is_removed_and_appended(tiny_model, tmp_path, pairs):
    """The folder stays an ordinary one: embeddings as long as pooling leaves them, in the same directions."""
    texts = [summary for summary, _ in pairs[:8]]
    kept = run(tiny_model, tmp_path / "kept")
    plain = SentenceTransformer(str(kept), device="cpu").encode(texts)
    without = run(tiny_model, tmp_path / "without", normalize=False)
    assert classes(without) == ["Transformer", "Pooling"]
    assert not list(without.glob("*Normalize"))
    longer = SentenceTransformer(str(without), device="cpu").encode(texts)
    lengths = np.linalg.norm(longer, axis=1, keepdims=True)
    assert (np.abs(lengths - 1) > 0.5).all()
    assert np.allclose(longer / lengths, plain, atol=1e-6)
    again = run(without, tmp_path / "again", normalize=True)
    assert classes(again) == ["Transformer", "Pooling", "Normalize"]
    assert np.allclose(SentenceTransformer(str(again), device="cpu").encode(texts), plain, atol=1e-6)
    assert classes(kept) == classes(run(tiny_model, tmp_path / "true", normalize=True)) == classes(again)


def test_normalization_goes_with_fewer_layers(tiny_model, tmp_path):
    target = run(tiny_model, tmp_path / "out", num_hidden_layers=1, normalize=False)
    assert classes(target) == ["Transformer", "Pooling"]


def test_normalization_that_is_not_there_cannot_be_removed(tiny_model, tmp_path):
    without = run(tiny_model, tmp_path / "without", normalize=False)
    message = r"model.normalize=false, but the last module of '.*' is not Normalize \(its modules: Transformer, Pooling\); leave"
    with pytest.raises(UserError, match=message):
        run(without, tmp_path / "twice", normalize=False)


def test_a_manifest_says_where_it_came_from(tiny_model, tmp_path):
    run(tiny_model, tmp_path / "out")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["source"] == "local"
    assert len(manifest["sha256"]) == 64


@pytest.mark.parametrize(
    ("prompts", "remark"),
    [({"query": "q: ", "passage": "p: "}, "'passage'"), ({"query": "q: ", "document": "d: ", "passage": "p: "}, None)],
)
def test_a_prompt_that_sentence_transformers_does_not_apply_is_reported(tiny_model, tmp_path, capfd, prompts, remark):
    source = tmp_path / "source"
    shutil.copytree(tiny_model, source)
    settings = source / "config_sentence_transformers.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "prompts": prompts}))
    run(source, tmp_path / "out")
    printed = capfd.readouterr().err
    assert ("does not apply its prompt" in printed) == (remark is not None)
    assert (remark or "") in printed


@pytest.mark.parametrize("texts", ["queries", "documents"])
def test_prompts_of_a_model_are_found(tmp_path, texts):
    from qatlab.models.settings import prompt_for

    prompts = {"query": "query: ", "document": "passage: "}
    (tmp_path / "config_sentence_transformers.json").write_text(json.dumps({"prompts": prompts}))
    assert prompt_for(tmp_path, texts) == {"queries": "query: ", "documents": "passage: "}[texts]
    (tmp_path / "config_sentence_transformers.json").write_text(json.dumps({"prompts": {"query": "", "document": ""}}))
    assert prompt_for(tmp_path, texts) == ""


@pytest.mark.parametrize(
    ("prompts", "expected"), [(None, {}), ({"query": None, "document": "d: "}, {"query": "", "document": "d: "})]
)
def test_prompts_that_are_null_are_none(tiny_model, tmp_path, prompts, expected):
    """Sentence Transformers cannot load a folder whose prompts are null."""
    source = tmp_path / "source"
    shutil.copytree(tiny_model, source)
    settings = source / "config_sentence_transformers.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "prompts": prompts}))
    loaded = SentenceTransformer(str(run(source, tmp_path / "out")), device="cpu")
    assert expected.items() <= loaded.prompts.items()
    assert all(prompt == "" for name, prompt in loaded.prompts.items() if name not in expected)
