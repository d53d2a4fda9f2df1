"""Files that would run code, or that are not data, are refused in one line."""

import os
import subprocess
import sys

import pandas as pd
import pytest

import malice
from hub_server import Hub, card, serve
from qatlab.artifact import write_json
from qatlab.errors import UserError
from qatlab.job import JobDescription
from qatlab.sources import readers


@pytest.fixture
def marker(tmp_path):
    return tmp_path / "it_ran"


def test_pickles_are_no_data(tmp_path, marker):
    for name in ("pairs.pkl", "pairs.pickle", "pairs.npy", "pairs.pt", "pairs.joblib"):
        with pytest.raises(UserError, match="unknown file type"):
            readers.read_columns(malice.pickled(tmp_path / name, marker), ["anchor"])
    for name in ("pairs.parquet", "pairs.jsonl.gz", "pairs.csv.gz"):  # whatever they are called
        with pytest.raises(UserError, match="cannot be read"):
            readers.read_columns(malice.pickled(tmp_path / name, marker), ["anchor"])
    assert not marker.exists()


def test_a_record_nested_without_end_is_one_line(tmp_path):
    (tmp_path / "deep.jsonl").write_text('{"anchor": ' + "[" * 200_000 + "]" * 200_000 + "}\n")
    with pytest.raises(UserError, match=r"deep\.jsonl, line 1: nested too deep"):
        readers.read_columns(tmp_path / "deep.jsonl", ["anchor"])


def test_an_invalid_configuration_of_a_stage_is_one_line(tmp_path, capsys):
    from qatlab.__main__ import main

    for content in ("[" * 200_000, "{", "[]", '{"label": "x"}', "\x80"):
        (tmp_path / "config.json").write_text(content, encoding="latin-1")
        assert main(["data", "--config", str(tmp_path / "config.json"), "--output", str(tmp_path / "out")]) == 2
        messages = capsys.readouterr().err.splitlines()
        assert len(messages) == 1
        assert "is not the configuration of a stage" in messages[0]


def of_hub(folder, tmp_path):
    """Return the message of the data stage for a data set of the hub, after which there is no output."""
    config = {"source": "hub", "name": "someone/odd", "columns": ["anchor", "positive"]}
    description = JobDescription(kind="data", name="x", label="x", config=config, inputs={}, origin="hub")
    write_json(tmp_path / "config.json", description.model_dump())
    with serve(Hub(datasets={"someone/odd": folder})) as served:
        result = subprocess.run(
            [
                sys.executable,
                "-m",
                "qatlab",
                "data",
                "--config",
                tmp_path / "config.json",
                "--output",
                tmp_path / "out",
            ],
            env={
                **os.environ,
                "HF_ENDPOINT": served.address,
                "HF_HOME": str(tmp_path / "cache"),
                "HF_HUB_OFFLINE": "0",
            },
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert result.returncode == 2, result.stderr
    assert not (tmp_path / "out").exists()
    (message,) = [line for line in result.stderr.splitlines() if "failed" in line]
    return message


def test_a_loading_script_does_not_run(tmp_path, marker):
    folder = tmp_path / "odd"
    folder.mkdir()
    malice.module(folder / "odd.py", marker)
    (folder / "README.md").write_text("---\n{}\n---\n")
    message = of_hub(folder, tmp_path)
    assert (
        message
        == "data x failed: data 'someone/odd' cannot be read: Dataset scripts are no longer supported, but found odd.py"
    )
    assert not marker.exists()


def test_a_file_with_a_wrong_suffix_is_one_line(tmp_path, marker):
    folder = tmp_path / "odd"
    folder.mkdir()
    malice.pickled(folder / "train.parquet", marker)
    (folder / "README.md").write_text(card(default=("train", "train.parquet")))
    assert of_hub(folder, tmp_path).startswith("data x failed: data 'someone/odd'")
    assert not marker.exists()


def test_texts_that_a_terminal_would_obey_are_shown(tmp_path, capsys):
    from qatlab.__main__ import main

    pd.DataFrame({"a\x1b[2Jb": ["x"]}).to_csv(tmp_path / "pairs.csv", index=False)
    config = {"source": "local", "name": "x", "path": str(tmp_path / "pairs.csv")}
    write_json(tmp_path / "config.json", {"name": "x", "label": "x\x1b[31m", "config": config, "origin": None})
    assert main(["data", "--config", str(tmp_path / "config.json"), "--output", str(tmp_path / "out")]) == 2
    message = capsys.readouterr().err
    assert "data x\\x1b[31m failed:" in message
    assert "the file has: a\\x1b[2Jb (set data.columns to the columns to use)" in message
    assert "\x1b" not in message
