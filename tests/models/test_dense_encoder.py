"""Properties of a model that its JSON files determine agree with the model that Sentence Transformers loads."""

import shutil

import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, StaticEmbedding, Transformer

from qatlab.artifact import read_json, write_json
from qatlab.errors import UserError
from qatlab.models.settings import check_dense_encoder, embedding_dimension, hindrance_to_export


def saved(modules, folder, **more):
    SentenceTransformer(modules=modules, device="cpu", **more).save_pretrained(str(folder), create_model_card=False)
    return folder


def transformer(tiny_model):
    return Transformer(str(tiny_model), max_seq_length=32)


def changed(tiny_model, folder, name, **values):
    shutil.copytree(tiny_model, folder)
    write_json(folder / name, {**read_json(folder / name), **values})
    return folder


@pytest.mark.parametrize("tail", ["mean", "two modes", "dense", "truncated"])
def test_the_dimension_is_that_of_embeddings(tiny_model, tmp_path, tail):
    pooling = Pooling(32, pooling_mode=("mean", "cls") if tail == "two modes" else "mean")
    dense = [Dense(32, 20)] if tail == "dense" else []
    more = {"truncate_dim": 8} if tail == "truncated" else {}
    folder = saved([transformer(tiny_model), pooling, *dense, Normalize()], tmp_path / "model", **more)
    expected = {"mean": 32, "two modes": 64, "dense": 20, "truncated": 8}[tail]
    assert SentenceTransformer(str(folder), device="cpu").encode(["a"]).shape == (1, expected)
    assert embedding_dimension(folder) == expected


def test_a_plain_encoder_has_its_hidden_size_and_others_are_not_known(tiny_model, tmp_path):
    plain = tmp_path / "plain"
    shutil.copytree(tiny_model, plain)
    (plain / "modules.json").unlink()
    assert embedding_dimension(plain) == 32
    static = saved([StaticEmbedding(transformer(tiny_model).tokenizer, embedding_dim=16)], tmp_path / "static")
    assert embedding_dimension(static) is None


def test_models_that_cannot_be_exported(tiny_model, tmp_path):
    assert hindrance_to_export(tiny_model) is None
    static = saved([StaticEmbedding(transformer(tiny_model).tokenizer, embedding_dim=16)], tmp_path / "static")
    assert "begins with StaticEmbedding" in hindrance_to_export(static)
    pooling = Pooling(32, pooling_mode="mean", include_prompt=False)
    unprompted = saved([transformer(tiny_model), pooling], tmp_path / "unprompted")
    assert hindrance_to_export(unprompted) is None
    prompted = saved([transformer(tiny_model), pooling], tmp_path / "prompted", prompts={"query": "query: "})
    assert "excludes the prompt's tokens" in hindrance_to_export(prompted)


def test_models_that_are_no_dense_encoders_are_refused(tiny_model, tmp_path):
    check_dense_encoder(tiny_model, "mine")
    settings = "config_sentence_transformers.json"
    for kind in ("SparseEncoder", "CrossEncoder", "ColBERT"):
        folder = changed(tiny_model, tmp_path / kind, settings, model_type=kind)
        with pytest.raises(UserError, match=f"model 'mine' is a {kind}"):
            check_dense_encoder(folder, "mine")
    classifier = changed(
        tiny_model, tmp_path / "classifier", "config.json", architectures=["BertForSequenceClassification"]
    )
    check_dense_encoder(classifier, "mine")  # Sentence Transformers takes its encoder alone, as modules.json says
    (classifier / "modules.json").unlink()
    with pytest.raises(UserError, match=r"is a classifier of texts or pairs .BertForSequenceClassification."):
        check_dense_encoder(classifier, "mine")
    for kind, reason in (
        ("Router", "whose modules for queries and documents differ"),
        ("SpladePooling", "of sparse models"),
    ):
        folder = tmp_path / f"with_{kind}"
        shutil.copytree(tiny_model, folder)
        modules = read_json(folder / "modules.json")
        modules[1]["type"] = f"sentence_transformers.models.{kind}"
        write_json(folder / "modules.json", modules)
        with pytest.raises(UserError, match=reason):
            check_dense_encoder(folder, "mine")


def test_a_real_router_is_refused(tiny_model, tmp_path):
    from sentence_transformers.sentence_transformer.modules import Router

    def side():
        return [transformer(tiny_model), Pooling(32, pooling_mode="mean")]

    folder = saved([Router.for_query_document(side(), side())], tmp_path / "router")
    with pytest.raises(UserError, match="has the module Router"):
        check_dense_encoder(folder, "mine")


def test_weights_are_not_read(tiny_model, tmp_path):
    """A plan checks many models, so that only their JSON files are opened."""
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    for file in folder.rglob("*.safetensors"):
        file.write_bytes(b"")
    assert (embedding_dimension(folder), hindrance_to_export(folder)) == (32, None)
