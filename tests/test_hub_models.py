"""Models from the hub, through the hub's own client and a server on loopback that implements its protocol."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hub_server import Hub, serve

pytestmark = pytest.mark.slow(30)

DOWNLOAD = "import sys; from qatlab.hub import download; print(download(*sys.argv[1:]))"


@pytest.fixture
def hub(tiny_model, tmp_path):
    source = tmp_path / "repository"
    shutil.copytree(tiny_model, source)
    (source / "pytorch_model.bin").write_bytes(b"pickle")
    (source / "modeling_evil.py").write_text("raise SystemExit")
    with serve(Hub(models={"someone/tiny": source})) as served:
        yield {**os.environ, "HF_ENDPOINT": served.address, "HF_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "0"}


def download(environment, name, revision="main"):
    command = [sys.executable, "-c", DOWNLOAD, name, revision]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


def test_a_model_comes_without_pickles_and_code(hub, tiny_model):
    result = download(hub, "someone/tiny")
    assert result.returncode == 0, result.stderr
    folder = result.stdout.strip()
    names = {name for _, _, files in os.walk(folder, followlinks=True) for name in files}
    assert {"model.safetensors", "modules.json", "tokenizer.json"} <= names
    assert not {"pytorch_model.bin", "modeling_evil.py"} & names
    assert (Path(folder) / "model.safetensors").read_bytes() == (tiny_model / "model.safetensors").read_bytes()


def test_a_complete_cache_serves_without_network(hub):
    assert download(hub, "someone/tiny").returncode == 0
    assert download({**hub, "HF_HUB_OFFLINE": "1"}, "someone/tiny").returncode == 0


@pytest.mark.parametrize(
    ("name", "revision", "message"),
    [
        ("someone/else", "main", "the hub has no model 'someone/else'"),
        ("someone/tiny", "v2", "model 'someone/tiny' has no revision 'v2' on the hub"),
        ("gated/model", "main", "model 'gated/model' is gated"),
        ("not/a/hub/id", "main", "model 'not/a/hub/id' is neither a local path nor a hub id"),
    ],
)
def test_each_refusal_is_explained(hub, name, revision, message):
    result = download(hub, name, revision)
    assert result.returncode != 0
    assert f"UserError: {message}" in result.stderr


def test_without_network_the_message_explains_how_to_work_offline(hub):
    result = download({**hub, "HF_ENDPOINT": "http://127.0.0.1:9"}, "someone/tiny")
    assert "UserError: model 'someone/tiny' is not in the local cache and the hub cannot be reached" in result.stderr
    assert "download it elsewhere and give its folder (model.name=FOLDER)" in result.stderr
