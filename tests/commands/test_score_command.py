"""Command score composes a study of one model and documents; test_tutorials.py runs one. The stage of the same name is as before."""

import shutil
from pathlib import Path

import pytest

from conftest import PROJECT
from qatlab.__main__ import main
from qatlab.commands.score import _options, study_overrides
from qatlab.models.settings import longest_text
from qatlab.plan.compose import compose_runs

NAMED = ["--corpus", "docs.jsonl"]


@pytest.fixture
def here(tiny_model, tiny_files, tmp_path, monkeypatch):
    """Return the working directory, with a model, documents as a file, and a folder in BEIR's layout."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_model, tmp_path / "mine")
    shutil.copytree(tiny_files / "task", tmp_path / "beir")
    shutil.copyfile(tmp_path / "beir" / "corpus.jsonl", tmp_path / "docs.jsonl")
    return tmp_path


def composed(*arguments):
    """Return the configuration of the only run of the study that the command composes."""
    ((_, config),) = compose_runs(PROJECT / "conf", "score", overrides=study_overrides(_options(list(arguments))))
    return config


def test_documents_alone(here):
    config = composed("mine", *NAMED, "--queries-drawn", "7", "--seed", "3")
    assert config.study.name == "score_mine_docs"
    assert config.study.title == (
        "mine on docs, untrained: agreement with the float search of the same deployment, for lack of judgements, on 7 of its documents, "
        "drawn as queries with seed 3"
    )
    assert (config.method.name, list(config.deploy)) == ("untrained", ["torch_fp32"])
    assert config.evaluate.precisions == ["float32", "int8", "int2_quantile", "binary"]
    assert config.evaluate.dimensions == [None, 16, 8]
    assert config.model.max_seq_length == longest_text(here / "mine")
    (task,) = config.task.values()
    assert (task.kind_of(None), task.queries, task.shuffle_seed) == ("agreement", 7, 3)
    assert not [axes for axes in config.evaluate.bit_axes if axes.fitted_on == "training"]


def test_judgements_and_an_onnx_file(here):
    config = composed("mine", "--corpus", "beir", "--onnx", "--name", "My Try", "--max-seq-length", "16")
    assert config.study.name == "score_my_try"
    assert list(config.deploy) == ["torch_fp32", "onnx_int8"]
    assert config.model.max_seq_length == 16
    assert "agreement" not in config.study.title
    (task,) = config.task.values()
    assert (task.source, task.path, task.split) == ("local", "beir", "test")


def test_files_with_judgements_and_further_settings(here):
    beir = ["--queries", "beir/queries.jsonl", "--qrels", "beir/qrels/test.tsv"]
    config = composed("mine", *NAMED, *beir, "--overrides", "evaluate.precisions=[float32,int4] encode.batch_size=8")
    (task,) = config.task.values()
    assert task.kind_of(None) == "retrieval"
    assert (config.evaluate.precisions, config.encode.batch_size) == (["float32", "int4"], 8)


def test_a_beir_folder_without_judgements_has_its_queries(here):
    shutil.rmtree(here / "beir" / "qrels")
    (task,) = composed("mine", "--corpus", "beir").task.values()
    assert (task.kind_of(None), Path(task.paths.queries).name) == ("agreement", "queries.jsonl")


def test_another_split_is_found_where_it_is_the_only_one(here):
    (here / "beir" / "qrels" / "test.tsv").rename(here / "beir" / "qrels" / "dev.tsv")
    (task,) = composed("mine", "--corpus", "beir").task.values()
    assert task.split == "dev"


def test_a_data_set_of_the_hub(here):
    (task,) = composed("mine", "--corpus", "zeta-alpha-ai/NanoNQ@77540146").task.values()
    assert (task.source, task.name, task.revision, task.split) == ("hub", "zeta-alpha-ai/NanoNQ", "77540146", "train")


@pytest.mark.parametrize("name", ["it's mine, a=b (ü)", "ends in \\", "back\\'slash", "{curly} [square]"])
def test_paths_with_characters_of_the_grammar_reach_the_study(here, name):
    (here / "mine").rename(here / name)
    shutil.copyfile("docs.jsonl", f"{name}.jsonl")
    config = composed(name, "--corpus", f"{name}.jsonl")
    (task,) = config.task.values()
    assert (config.model.name, task.paths.corpus) == (name, f"{name}.jsonl")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["./none", *NAMED], "model folder './none' does not exist"),
        (["a/b/c", *NAMED], "model folder 'a/b/c' does not exist"),
        (["someone/none", *NAMED], "model 'someone/none' is not in the local cache"),
        (["beir", *NAMED], "model 'beir' has no .safetensors weights"),
        (["mine", "--corpus", "none.jsonl"], "'none.jsonl' is neither an existing file or folder nor a hub id"),
        (["mine", "--corpus", "none"], "'none' is neither an existing file or folder"),
        (["mine", "--corpus", "mine"], "'mine' has no corpus.jsonl; a folder in BEIR's layout"),
        (["mine", "--corpus", "beir/qrels/test.tsv"], "is not a JSON Lines file"),
        (["mine", "--corpus", "empty.jsonl"], "empty.jsonl: no rows"),
        (["mine", "--corpus", "few.jsonl"], "1 documents; the agreement of the 10 best results needs at least 12"),
        (["mine", *NAMED, "--queries", "none.jsonl"], "--queries: 'none.jsonl' does not exist"),
        (["mine", *NAMED, "--qrels", "beir/qrels/test.tsv"], "--qrels judges documents for queries; add --queries"),
        (["mine", *NAMED, "--split", "dev"], "--split chooses the judgements of a BEIR folder"),
        (["mine", *NAMED, "--queries-drawn", "0"], "0 documents cannot be drawn"),
        (["mine", "--corpus", "beir", "--split", "dev"], "has no qrels/dev.tsv; its splits are test"),
        (["mine", "--corpus", "a/b", "--queries", "docs.jsonl"], "leave out --queries and --qrels"),
        (["mine", "--corpus", "beir", "--overrides", "evaluate.precision=[int8]"], "unknown key 'evaluate.precision'"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(here, capsys, arguments, message):
    (here / "empty.jsonl").touch()
    (here / "few.jsonl").write_text('{"text": "one"}\n')
    assert main(["score", *arguments]) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert error.count("\n") == 0
    assert not (here / "results").exists()


def test_with_config_it_is_the_stage(here, capsys):
    for config in (["--config", "none.json"], ["--config=none.json"]):
        assert main(["score", *config, "--output", "out"]) == 2
        assert "--config: 'none.json' does not exist" in capsys.readouterr().err
