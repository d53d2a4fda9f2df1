"""Filters and groups that do not fit the model are found before the first job, from its configuration alone."""

import json
import shutil

import pytest
import torch
from safetensors.torch import save_file
from sentence_transformers import SentenceTransformer

from conftest import PROJECT
from qatlab.errors import UserError
from qatlab.families.family import modules_of
from qatlab.plan.checks import check_layers
from qatlab.plan.plan import load_study


def check(tiny_model, tmp_path, *overrides):
    plan = load_study(
        PROJECT / "conf", "quickstart", overrides=[f"model.name={tiny_model}", "model.max_seq_length=24", *overrides]
    )
    check_layers(plan, tmp_path)
    return plan


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ("study.matrix.method=[baseline:int8]", "+method.weights.modules=decoder"),
            r"'int8' quantizes nothing: modules 'decoder' matches no layer .*it has 13, such as 0.model.encoder.layer.0.",
        ),
        (
            ("study.matrix.method=[lora]", "+method.lora.target_modules=q_proj"),
            "lora.target_modules 'q_proj' matches no linear layer of the model .it has 13",
        ),
        (
            ("study.matrix.method=[baseline:int4]", "++method.weights.group_size=24"),
            "group_size 24 does not divide the 32 inputs of 0.model.encoder.layer.0.attention.self.query; these do: 32, 16, 8",
        ),
        (
            (
                "study.matrix.method=[untrained]",
                "deploy=[torch_fp32,torchao:int4]",
                "deploy.torchao:int4.weights.group_size=24",
            ),
            "group_size 24 does not divide",
        ),
    ],
)
def test_what_does_not_fit_is_one_line(tiny_model, tmp_path, overrides, message):
    with pytest.raises(UserError, match=message):
        check(tiny_model, tmp_path, *overrides)


def test_what_fits_or_is_made_already_passes(tiny_model, tmp_path):
    check(tiny_model, tmp_path, "study.matrix.method=[baseline:int4,lora:int4]", "deploy=[torch_fp32,torchao:int4]")
    overrides = ("study.matrix.method=[lora]", "+method.lora.target_modules=q_proj")
    plan = load_study(
        PROJECT / "conf", "quickstart", overrides=[f"model.name={tiny_model}", "model.max_seq_length=24", *overrides]
    )
    (trained,) = [artifact for artifact in plan.artifacts.values() if artifact.kind == "train"]
    (tmp_path / trained.path).mkdir(parents=True)
    check_layers(plan, tmp_path)


def test_the_names_are_those_of_the_real_model(tiny_model, tmp_path):
    """With a dense layer at the end, as EmbeddingGemma has."""
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    modules = json.loads((folder / "modules.json").read_text())
    name = str(len(modules))
    entry = {"idx": len(modules), "name": name, "path": f"{name}_Dense", "type": "sentence_transformers.models.Dense"}
    (folder / "modules.json").write_text(json.dumps([*modules, entry]))
    (folder / entry["path"]).mkdir()
    shape = {
        "in_features": 32,
        "out_features": 16,
        "bias": True,
        "activation_function": "torch.nn.modules.linear.Identity",
    }
    (folder / entry["path"] / "config.json").write_text(json.dumps(shape))
    weights = {"linear.weight": torch.zeros(16, 32), "linear.bias": torch.zeros(16)}
    save_file(weights, folder / entry["path"] / "model.safetensors")
    real, foreseen = SentenceTransformer(str(folder), device="cpu"), modules_of(folder)
    names, shapes = (
        {
            n: tuple(m.weight.shape)
            for n, m in model.named_modules()
            if isinstance(m, torch.nn.Linear | torch.nn.Embedding)
        }
        for model in (real, foreseen)
    )
    assert names == shapes
    assert len(names) == 17


def test_a_model_that_cannot_be_foreseen_is_left_to_its_job(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "of_tomorrow"}')
    assert modules_of(tmp_path) is None


def test_a_filter_may_mean_the_layer_that_a_rotation_appends(tiny_model, tmp_path):
    head = ("study.matrix.method=[overcomplete_head:int8]",)
    check(tiny_model, tmp_path, *head, "++method.weights.modules=2.linear", "deploy=[torch_fp32]")
