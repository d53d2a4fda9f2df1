"""Pushing models, through the hub's own client and a server on loopback that implements its protocol."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hub_server import serve
from hub_uploads import READER, WRITER, UploadHub
from qatlab.commands.push import repositories
from qatlab.errors import UserError

pytestmark = pytest.mark.slow(20)

CARD = "---\nlibrary_name: sentence-transformers\n---\n\n# A model\n"
DOWNLOAD = "import sys; from huggingface_hub import snapshot_download; print(snapshot_download(sys.argv[1]))"
NAMES = {"ste-seed=0": "me/tiny-ste-seed-0", "ste-seed=1": "me/tiny-ste-seed-1"}


@pytest.fixture
def models(tmp_path):
    for number, run in enumerate(NAMES):
        folder = tmp_path / "models" / run
        (folder / "onnx").mkdir(parents=True)
        (folder / "README.md").write_text(CARD)
        (folder / "config.json").write_text(f'{{"seed": {number}}}')
        (folder / "model.safetensors").write_bytes(bytes(range(256)) * 40 + bytes([number]))
        (folder / "onnx" / "model.onnx").write_bytes(b"onnx" * 1000 + bytes([number]))
        (folder / "empty.txt").touch()
    return tmp_path / "models"


@pytest.fixture
def hub(tmp_path):
    (tmp_path / "hub").mkdir()
    with serve(UploadHub(folder=tmp_path / "hub")) as served:
        yield served


def environment(hub, tmp_path, token=WRITER):
    more = {"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "0", "HF_TOKEN": token}
    more["HF_HUB_DISABLE_XET"] = "1"  # whose storage the hub on loopback does not have
    return {**os.environ, **more}


def push(hub, models, *arguments, owner="me", token=WRITER):
    output = models.parent / "pushed.json"
    command = [sys.executable, "-m", "qatlab", "push", "--models", str(models), "--study", "tiny", "--owner", owner]
    command += ["--output", str(output), "--log", str(models.parent / "push.log"), *arguments]
    env = environment(hub, models.parent, token)
    result = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
    result.pushed = json.loads(output.read_text()) if output.exists() else None
    return result


def refused(result):
    """The one line that a person reads."""
    assert result.returncode == 2, result.stderr
    assert result.pushed is None
    return result.stderr.strip().splitlines()[-1].removeprefix("qatlab: ")


def test_pushed_files_come_back_byte_for_byte(hub, models, tmp_path):
    result = push(hub, models)
    assert result.returncode == 0, result.stderr
    assert {run: pushed_model["repository"] for run, pushed_model in result.pushed.items()} == NAMES
    assert {pushed_model["repository"]: pushed_model["commit"] for pushed_model in result.pushed.values()} == hub.main
    assert hub.private == dict.fromkeys(NAMES.values(), True)
    for run, repository in NAMES.items():
        command = [sys.executable, "-c", DOWNLOAD, repository]
        env = environment(hub, tmp_path)
        folder = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout.strip()
        sent = {p.relative_to(models / run): p.read_bytes() for p in (models / run).rglob("*") if p.is_file()}
        assert len(sent) == 5
        assert {path: (Path(folder) / path).read_bytes() for path in sent} == sent
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or WRITER.encode() not in path.read_bytes(), path


def test_a_second_push_commits_only_changed_files(hub, models):
    assert push(hub, models, "--public").returncode == 0
    assert hub.private == dict.fromkeys(NAMES.values(), False)
    (models / "ste-seed=1" / "config.json").write_text("{}")
    before = dict(hub.main)
    again = push(hub, models)
    assert again.returncode == 0, again.stderr
    first, second = NAMES.values()
    assert hub.commits == 3
    assert hub.main[first] == before[first] == again.pushed["ste-seed=0"]["commit"]
    assert hub.main[second] != before[second]
    assert sum(count for path, count in hub.requests.items() if path.startswith("/lfs/")) == 4


@pytest.mark.parametrize(
    "faults",
    [
        {"/api/repos/create": [429]},
        {"/preupload/": [429, 503]},
        {"/commit/": [500]},
        {"/commit/": ["cut"]},  # made, and its answer lost: the second try finds nothing to do
        {"/lfs/": [503]},
        {"/objects/batch": ["cut"]},
    ],
)
def test_requests_to_a_busy_or_broken_hub_are_repeated(hub, models, faults):
    hub.faults = faults
    result = push(hub, models)
    assert result.returncode == 0, result.stderr
    assert {pushed_model["repository"]: pushed_model["commit"] for pushed_model in result.pushed.values()} == hub.main
    assert hub.commits == 2


@pytest.mark.parametrize(
    ("token", "message"),
    [
        ("", "pushing needs a hub token with write access: export HF_TOKEN=…"),
        ("hf_broken\nin_two", "HF_TOKEN is malformed: it contains whitespace, control characters"),
        ("hf_unknown", "the hub does not accept the token in HF_TOKEN; create one with write access at"),
        (READER, "the token in HF_TOKEN has no write access to 'me/tiny-ste-seed-0'; grant it, or"),
    ],
)
def test_a_token_that_is_missing_or_refused_is_one_line(hub, models, token, message):
    result = push(hub, models, token=token)
    assert refused(result).startswith(message)
    assert not token or token not in result.stderr
    assert hub.commits == 0
    assert "Traceback" not in result.stderr


def test_a_hub_that_stays_broken_or_is_down_is_one_line_and_nothing_is_reported_as_pushed(hub, models):
    (models.parent / "pushed.json").write_text("{}")  # from an earlier push
    hub.faults = {"seed-1/commit/": [500] * 10}
    result = push(hub, models)
    assert refused(result).startswith(
        "'me/tiny-ste-seed-1' could not be pushed: the hub answered (Server error '500 Internal Server Error'"
    )
    assert hub.commits == 1
    hub.address = "http://127.0.0.1:9"
    assert refused(push(hub, models)).startswith(
        "'me/tiny-ste-seed-0' could not be pushed: the hub cannot be reached ("
    )


def test_a_card_that_the_hub_does_not_take_is_one_line(hub, models):
    (models / "ste-seed=0" / "README.md").write_text("---\ntags: []\n---\n")
    assert "could not be pushed: Invalid metadata in README.md" in refused(push(hub, models))


def test_no_network_on_purpose_is_one_line(hub, models):
    command = [sys.executable, "-m", "qatlab", "push", "--models", str(models), "--study", "tiny", "--owner", "me"]
    env = {**environment(hub, models.parent), "HF_HUB_OFFLINE": "1"}
    result = subprocess.run(
        [*command, "--output", str(models.parent / "pushed.json")], env=env, capture_output=True, text=True
    )
    assert result.stderr.strip() == "qatlab: pushing needs network access, which HF_HUB_OFFLINE=1 disables; unset it"


def test_names_are_the_hubs():
    runs = ["a-model.name=org-x-seed=0", "b-rate=1e-05..-seed=-1"]
    repository_names = repositories("my.org", "tiny_2", runs)
    assert list(repository_names.values()) == [
        "my.org/tiny_2-a-model.name-org-x-seed-0",
        "my.org/tiny_2-b-rate-1e-05.-seed-1",
    ]


@pytest.mark.parametrize(
    ("owner", "runs", "message"),
    [
        ("", ["a"], "push=OWNER: give the user or organization"),
        ("me/you", ["a"], "push=me/you: give the user or organization"),
        ("-me", ["a"], "'-me/tiny-a' cannot be the name of a repository on the hub"),
        ("me", ["a" * 96], "cannot be the name of a repository on the hub .*maximum length is 96"),
        ("me", ["a=1", "a-1"], "two runs would be pushed to 'me/tiny-a-1'"),
    ],
)
def test_names_that_the_hub_does_not_have_are_refused(owner, runs, message):
    with pytest.raises(UserError, match=message):
        repositories(owner, "tiny", runs)
