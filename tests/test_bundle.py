"""Bundles: artifacts come out as they were gathered, and any other outcome is one line."""

import json
import os
import shutil

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from qatlab.artifact import sha256_of, write_json
from qatlab.bundle import INDEX, Bundle, Gathering, in_use, run_from
from qatlab.errors import UserError

PATH = "model/small-0123"


def model_origin(config):
    """As a plan looks it up."""
    return "hub"


def artifact(folder, tensors):
    """A model's artifact, as its stage writes it."""
    model = folder / PATH / "model"
    model.mkdir(parents=True)
    save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})
    write_json(folder / PATH / "manifest.json", {"name": "small", "sha256": sha256_of(model)})


def gathered(folder, tensors, half=False):
    """A bundle of that model alone."""
    artifact(folder, tensors)
    gathering = Gathering(folder, "quickstart", half)
    gathering.origin("model_origin {}", model_origin, None)
    gathering.add(PATH)
    gathering.close()
    return Bundle(folder)


def copied(bundle, output):
    """The artifact, put where its stage would have made it."""
    output.mkdir()
    bundle.copy(PATH, output)
    return load_file(output / "model" / "model.safetensors")


@pytest.fixture
def weights():
    """Weights of several types."""
    torch.manual_seed(0)
    return {
        "float32": torch.randn(64, 32),
        "bfloat16": torch.randn(8).bfloat16(),
        "float16": torch.randn(8).half(),
        "positions": torch.arange(7),
    }


def test_an_artifact_comes_out_as_it_was(tmp_path, weights):
    bundle = gathered(tmp_path / "bundle", weights)
    copied(bundle, tmp_path / "there")
    assert sha256_of(tmp_path / "there") == sha256_of(tmp_path / "bundle" / PATH)
    assert bundle.origin("model_origin {}", model_origin, None) == "hub"


def test_half_rounds_float32_alone(tmp_path, weights):
    bundle = gathered(tmp_path / "bundle", weights, half=True)
    stored = load_file(tmp_path / "bundle" / PATH / "model" / "model.safetensors")
    assert {name: tensor.dtype for name, tensor in stored.items()} == {
        name: torch.float16 if name == "float32" else tensor.dtype for name, tensor in weights.items()
    }
    rounded = copied(bundle, tmp_path / "there")
    for name, tensor in weights.items():
        expected = tensor.half().float() if name == "float32" else tensor
        assert rounded[name].dtype == tensor.dtype
        assert torch.equal(rounded[name], expected)
    with safe_open(tmp_path / "there" / "model" / "model.safetensors", framework="pt") as file:
        assert file.metadata() == {"format": "pt"}


def test_a_rounded_model_has_its_own_identity(tmp_path, weights):
    bundle = gathered(tmp_path / "bundle", weights, half=True)
    assert bundle.origin("model_origin {}", model_origin, None) == {"of": "hub", "weights": "float16"}
    copied(bundle, tmp_path / "there")
    manifest = json.loads((tmp_path / "there" / "manifest.json").read_text())
    assert manifest["weights"] == "float16"
    assert manifest["sha256"] == sha256_of(tmp_path / "there" / "model")


def test_tasks_are_mined_with_the_weights_that_come_out(tmp_path, weights):
    artifact(tmp_path / "bundle", weights)
    gathering = Gathering(tmp_path / "bundle", "quickstart", True)
    gathering.add(PATH)
    file = tmp_path / "bundle" / PATH / "model" / "model.safetensors"
    mined_with = load_file(file)
    gathering.close()
    assert load_file(file)["float32"].dtype == torch.float16
    copy = copied(Bundle(tmp_path / "bundle"), tmp_path / "there")
    assert all(torch.equal(copy[name], tensor) for name, tensor in mined_with.items())
    assert not torch.equal(copy["float32"], weights["float32"])


@settings(deadline=None, max_examples=20)
@given(st.floats(min_value=2.0**16, max_value=2.0**127, width=32), st.sampled_from([1, -1]))
def test_half_refuses_what_float16_cannot_hold(tmp_path_factory, value, sign):
    folder = tmp_path_factory.mktemp("bundle")
    with pytest.raises(UserError, match=r"^model.safetensors: bias has values beyond 65504, .*; leave --half out$"):
        gathered(folder, {"bias": torch.tensor([0.0, sign * value])}, half=True)


def test_half_of_no_values(tmp_path):
    weights = {"empty": torch.zeros(0, 4)}
    assert copied(gathered(tmp_path / "bundle", weights, half=True), tmp_path / "there")["empty"].shape == (0, 4)


def test_a_changed_file_is_refused(tmp_path, weights):
    bundle = gathered(tmp_path / "bundle", weights)
    file = tmp_path / "bundle" / PATH / "model" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\x01")
    with pytest.raises(UserError, match=r"has changed since it was gathered .*; copy the bundle again$"):
        copied(bundle, tmp_path / "there")


def test_a_missing_artifact_is_named(tmp_path, weights):
    bundle = gathered(tmp_path / "bundle", weights)
    with pytest.raises(
        UserError, match=r"lacks data 'gooaq' as the study configures it \(it was made for: quickstart\); make one"
    ):
        bundle.origin("data_origin {}", data_origin, Named("gooaq"))
    with pytest.raises(UserError, match="lacks model 'other'"):
        bundle.check([Planned("model", "model/other-0123", "other")])
    bundle.check([Planned("model", PATH, "small"), Planned("train", "train/x-0123", "x")])
    shutil.rmtree(tmp_path / "bundle" / PATH)
    with pytest.raises(UserError, match="lacks model 'small'"):
        bundle.check([Planned("model", PATH, "small")])
    with pytest.raises(UserError, match="lacks model 'small-0123'"):
        copied(bundle, tmp_path / "there")


def data_origin(config):
    """As a plan looks it up."""
    raise AssertionError("a bundle looks nothing up")


class Named:
    """A section of the configuration."""

    def __init__(self, name):
        self.name = name


class Planned:
    """An artifact of a plan."""

    def __init__(self, kind, path, label):
        self.kind, self.path, self.label = kind, path, label


@pytest.mark.parametrize("index", ["", "[]", "{}", '{"study": "a"}', "[" * 100_000], ids=range(5))
def test_a_folder_that_is_no_bundle(tmp_path, index):
    with pytest.raises(UserError, match="does not exist; make it with qatlab bundle"):
        Bundle(tmp_path / "none")
    with pytest.raises(UserError, match=f"has no readable {INDEX}; make it again"):
        Bundle(tmp_path)
    (tmp_path / INDEX).write_text(index)
    with pytest.raises(UserError, match=f"has no readable {INDEX}; make it again"):
        Bundle(tmp_path)


def test_running_from_it_reaches_other_processes_and_leaves_the_network_alone(tmp_path, weights, monkeypatch):
    for name in ("QATLAB_BUNDLE", "HF_HUB_OFFLINE"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    assert in_use() is None
    gathered(tmp_path / "bundle", weights)
    monkeypatch.chdir(tmp_path)
    run_from((tmp_path / "bundle").relative_to(tmp_path))
    assert (os.environ["QATLAB_BUNDLE"], os.environ["HF_HUB_OFFLINE"]) == (str(tmp_path / "bundle"), "1")
    assert in_use().study == "quickstart"
    monkeypatch.delenv("HF_HUB_OFFLINE")  # as where the environment names the bundle
    assert in_use().study == "quickstart"
    assert os.environ["HF_HUB_OFFLINE"] == "1"
