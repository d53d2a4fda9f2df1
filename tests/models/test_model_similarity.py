"""The similarity that a model names is the one that Sentence Transformers compares its embeddings by."""

import pytest
from sentence_transformers import SentenceTransformer

from qatlab.artifact import read_json, write_json
from qatlab.errors import UserError
from qatlab.models.settings import check_similarity, named_similarity


@pytest.mark.parametrize("name", [None, "cosine", "dot", "euclidean"])
def test_it_is_sentence_transformers_own(tiny_model, tmp_path, name):
    model = SentenceTransformer(str(tiny_model), device="cpu", similarity_fn_name=name)
    model.save_pretrained(str(tmp_path / "model"), create_model_card=False)
    assert named_similarity(tmp_path / "model") == SentenceTransformer(str(tmp_path / "model")).similarity_fn_name


def test_a_folder_without_a_similarity_means_cosine(tmp_path):
    assert named_similarity(tmp_path) == "cosine"
    write_json(tmp_path / "config_sentence_transformers.json", {"similarity_fn_name": None})
    assert named_similarity(tmp_path) == "cosine"


def test_one_that_is_not_scored_is_refused():
    assert check_similarity("dot", "mine") == "dot"
    with pytest.raises(
        UserError,
        match=r"mine: the model compares embeddings by 'euclidean', which is not scored; set evaluate.similarity=cosine",
    ):
        check_similarity("euclidean", "mine")


def test_the_tiny_model_is_compared_by_cosine(tiny_model):
    assert read_json(tiny_model / "config_sentence_transformers.json")["similarity_fn_name"] == "cosine"
    assert named_similarity(tiny_model) == "cosine"
