"""The nodes that contribute most to drift are found; the budget is met, or the reason why not is reported."""

import json
import math
import shutil

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qatlab.deployments.backends import onnx_quantized
from qatlab.deployments.backends.onnx_quantized import search
from qatlab.deployments.backends.onnx_runtime import OnnxEncoder
from qatlab.deployments.deployment import cosine
from qatlab.deployments.onnx import ONNX_FILE, DriftBudget, OnnxDeployment
from qatlab.errors import UserError

pytestmark = pytest.mark.slow(15)


class Costs:
    """Drift as the sum of what the nodes that are not left out cost."""

    def __init__(self, costs):
        self.costs, self.calls = costs, 0

    def __call__(self, left_out):
        self.calls += 1
        return sum(cost for name, cost in self.costs.items() if name not in left_out)


@given(
    count=st.integers(1, 40),
    heavy=st.sets(st.integers(0, 39), min_size=1, max_size=3),
)
def test_the_heaviest_nodes_are_found_in_few_tries(count, heavy):
    heavy = {index for index in heavy if index < count}
    costs = Costs({f"node{i}": 1.0 + 0.1 * i if i in heavy else 0.0001 for i in range(count)})
    finding = search(list(costs.costs), costs, DriftBudget(mean_distance=0.5, max_nodes=8))
    assert {name for name, _ in finding.nodes} == {f"node{i}" for i in heavy}
    assert finding.remaining <= 0.5
    assert costs.calls <= 1 + len(heavy) * (2 * math.ceil(math.log2(max(count, 2))) + 2)


def test_within_the_budget_nothing_is_searched():
    costs = Costs({"a": 0.1, "b": 0.1})
    assert search(["a", "b"], costs, DriftBudget(mean_distance=0.3)).nodes == []
    assert costs.calls == 1


def test_no_more_nodes_than_allowed():
    finding = search(list("abcdef"), Costs(dict.fromkeys("abcdef", 1.0)), DriftBudget(mean_distance=0.1, max_nodes=2))
    assert len(finding.nodes) == 2
    assert finding.remaining == 4


def deploy(tiny_onnx, data, folder, **budget):
    config = {"backend": "onnx", "quantization": {"mode": "IntegerOps"}, "budget": budget or None}
    folder.mkdir()
    onnx_quantized.deploy(tiny_onnx, folder / "model", OnnxDeployment.model_validate(config), data, 1, "tried")
    return folder


def drift(tiny_onnx, folder, texts):
    plain, quantized = (OnnxEncoder(f, 1).encode(texts, 16) for f in (tiny_onnx, folder / "model"))
    return float(np.mean(1 - cosine(plain, quantized)))


def test_the_worst_nodes_of_a_real_file_are_named_and_left_out(tiny_onnx, training_data, pairs, tmp_path, capsys):
    texts = [text for pair in pairs[80:120] for text in pair]
    whole = deploy(tiny_onnx, training_data, tmp_path / "whole")
    budget = {"mean_distance": 1e-7, "texts": 16, "max_nodes": 2}
    named = deploy(tiny_onnx, training_data, tmp_path / "named", **budget)
    left = deploy(tiny_onnx, training_data, tmp_path / "left", **budget, leave_out=True)
    report = json.loads((left / "budget.json").read_text())
    worst = [node["node"] for node in report["nodes"]]
    assert len(worst) == 2
    assert report["left_out"] == worst
    assert report["drift_without_nodes"] < report["drift"]
    assert (named / "model" / ONNX_FILE).read_bytes() == (whole / "model" / ONNX_FILE).read_bytes()
    assert json.loads((named / "budget.json").read_text())["left_out"] == []
    kinds = {node.name: node.op_type for node in onnx.load(left / "model" / ONNX_FILE).graph.node}
    assert all(kinds[name] == "MatMul" for name in worst)
    assert drift(tiny_onnx, left, texts) < drift(tiny_onnx, whole, texts)
    assert f"is over the budget of 1e-07; worst: {worst[0]} (" in capsys.readouterr().err
    assert not (left / "try").exists()


def test_a_file_within_its_budget_is_fully_quantized(tiny_onnx, training_data, tmp_path):
    folder = deploy(tiny_onnx, training_data, tmp_path / "one", mean_distance=0.9, texts=8, leave_out=True)
    report = json.loads((folder / "budget.json").read_text())
    assert report["nodes"] == report["left_out"] == []
    assert report["drift"] <= 0.9


def test_unknown_nodes_are_refused(tiny_onnx, tmp_path):
    config = {"backend": "onnx", "quantization": {"mode": "IntegerOps", "nodes_to_exclude": ["/nowhere"]}}
    with pytest.raises(UserError, match="names '/nowhere', which is not a node of the ONNX file"):
        onnx_quantized.deploy(tiny_onnx, tmp_path / "m", OnnxDeployment.model_validate(config), None, 1, "tried")


def test_a_truncated_file_is_one_line_for_the_quantizer_and_for_the_encoder(tiny_onnx, tmp_path):
    broken = tmp_path / "deploy" / "model"
    shutil.copytree(tiny_onnx, broken)
    content = (broken / ONNX_FILE).read_bytes()
    (broken / ONNX_FILE).write_bytes(content[: len(content) // 2])
    config = OnnxDeployment.model_validate({"backend": "onnx", "quantization": {"mode": "IntegerOps"}})
    with pytest.raises(
        UserError, match=r"model.onnx is not a complete ONNX file .*; delete its folder, .*/deploy, and run"
    ):
        onnx_quantized.deploy(broken, tmp_path / "m", config, None, 1, "tried")
    with pytest.raises(
        UserError, match=r"model.onnx is not a complete ONNX file .*; delete its folder, .*/deploy, and run"
    ):
        OnnxEncoder(broken, 1)


def test_a_float_file_has_no_budget():
    with pytest.raises(ValueError, match="budget is for quantized files"):
        OnnxDeployment.model_validate({"backend": "onnx", "budget": {"mean_distance": 0.1}})
