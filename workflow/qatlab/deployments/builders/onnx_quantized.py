"""A quantized ONNX file, by its configuration; within a drift budget, or with the names of the nodes that break it."""

import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from qatlab.artifact import write_json
from qatlab.deployments.builders import onnx_dynamic, onnx_static
from qatlab.deployments.builders.calibration import calibration_texts
from qatlab.deployments.builders.drift_budget import Finding, search
from qatlab.deployments.encoders.onnx import OnnxEncoder
from qatlab.deployments.onnx import (
    BUDGET_FILE,
    ONNX_FILE,
    DriftBudget,
    DynamicQuantization,
    OnnxDeployment,
    StaticQuantization,
)
from qatlab.errors import UserError
from qatlab.evaluation.cosine import cosine
from qatlab.progress import say
from qatlab.weights.coverage import LEAST_SHARE, Coverage

BATCH_SIZE = 32


def deploy(
    source: Path, target: Path, config: OnnxDeployment, data: Path | None, threads: int | None, label: str
) -> Coverage:
    """Write the folder `source` of a float ONNX deployment with its file quantized; budget.json beside it, with a budget.

    Returns how many weights of matrix products are quantized, of how many.

    Raises UserError for a float file that is not whole, for nodes to exclude that it does not have, and where less than half of
    the weights are quantized though no node is excluded.
    """
    assert config.quantization is not None
    plain = _load(source / ONNX_FILE)
    there = {node.name for node in plain.graph.node}
    for name in config.quantization.nodes_to_exclude:
        if name not in there:
            raise UserError(f"quantization.nodes_to_exclude names '{name}', which is not a node of the ONNX file")
    _quantize(source, target, config.quantization, data)
    if config.budget is not None:
        _keep_within_budget(source, target, config, data, threads, label)
    weights = float_weights(plain)
    counts = Coverage(weights - float_weights(onnx.load(target / ONNX_FILE, load_external_data=False)), weights)
    if counts.share < LEAST_SHARE and not _leaves_products_out(config):
        raise UserError(
            f"ONNX Runtime quantizes {counts.quantized_weights:,} of the {counts.linear_weights:,} weights of matrix products in the "
            "file of this model; leave its quantized ONNX deployments out"
        )
    return counts


def _leaves_products_out(config: OnnxDeployment) -> bool:
    """Whether the configuration itself says that matrix products stay in float."""
    quantization = config.quantization
    operators = quantization.op_types if isinstance(quantization, StaticQuantization) else ["MatMul"]
    excluded = quantization.nodes_to_exclude if quantization is not None else []
    return bool(excluded) or config.budget is not None or "MatMul" not in operators


def float_weights(model: Any) -> int:
    """Return how many float weights the matrix products of an ONNX model have."""
    names = {node.input[1] for node in model.graph.node if node.op_type in ("MatMul", "Gemm")}
    return sum(
        math.prod(tensor.dims)
        for tensor in model.graph.initializer
        if tensor.name in names and tensor.data_type == onnx.TensorProto.FLOAT
    )


def _keep_within_budget(
    source: Path, target: Path, config: OnnxDeployment, data: Path | None, threads: int | None, label: str
) -> None:
    """Write budget.json beside a quantized folder, and quantize it anew without the nodes that the budget leaves out."""
    assert config.quantization is not None
    assert config.budget is not None
    assert data is not None
    finding = _search(source, target.with_name("try"), config, data, threads)
    left_out = [name for name, _ in finding.nodes] if config.budget.leave_out else []
    if left_out:
        shutil.rmtree(target)
        _quantize(source, target, _without(config.quantization, left_out), data)
    write_json(target.with_name(BUDGET_FILE), _summary(config.budget, finding, left_out))
    say(f"deploy {label}: {_sentence(config.budget, finding, left_out)}")


def products(model: Any) -> list[str]:
    """The matrix products with weights in an ONNX model, which are what is quantized, in the order of the graph."""
    constant = {tensor.name for tensor in model.graph.initializer}
    return [node.name for node in model.graph.node if node.op_type in ("MatMul", "Gemm") and node.input[1] in constant]


def _search(source: Path, scratch: Path, config: OnnxDeployment, data: Path, threads: int | None) -> Finding:
    assert config.quantization is not None
    assert config.budget is not None
    texts = calibration_texts(source, data, config.budget.texts)
    plain = OnnxEncoder(source, threads).encode(texts, BATCH_SIZE)

    def drift_without(left_out: list[str]) -> float:
        assert config.quantization is not None
        shutil.rmtree(scratch, ignore_errors=True)
        _quantize(source, scratch, _without(config.quantization, left_out), data)
        embeddings = OnnxEncoder(scratch, threads, config.exact_products).encode(texts, BATCH_SIZE)
        return float(np.mean(1 - cosine(plain, embeddings)))

    nodes = [n for n in products(_load(source / ONNX_FILE)) if n not in config.quantization.nodes_to_exclude]
    finding = search(nodes, drift_without, config.budget)
    shutil.rmtree(scratch)
    return finding


def _quantize(source: Path, target: Path, config: DynamicQuantization | StaticQuantization, data: Path | None) -> None:
    if isinstance(config, DynamicQuantization):
        onnx_dynamic.quantize(source, target, config)
        return
    assert data is not None
    onnx_static.quantize(source, target, config, calibration_texts(source, data, config.calibration_texts))


def _without(
    config: DynamicQuantization | StaticQuantization, names: list[str]
) -> DynamicQuantization | StaticQuantization:
    return config.model_copy(update={"nodes_to_exclude": [*config.nodes_to_exclude, *names]})


def _load(path: Path) -> Any:
    try:
        return onnx.load(path)
    except Exception as error:  # protobuf's and the file system's
        raise UserError(
            f"{path} is not a whole ONNX file ({type(error).__name__}); delete its folder, {path.parents[2]}, and run again"
        ) from None


def _summary(budget: DriftBudget, finding: Finding, left_out: list[str]) -> dict[str, Any]:
    return {
        "budget": budget.mean_distance,
        "drift": finding.drift,
        "nodes": [{"node": name, "drift_without": drift} for name, drift in finding.nodes],
        "drift_without_nodes": finding.remaining,
        "left_out": left_out,
    }


def _sentence(budget: DriftBudget, finding: Finding, left_out: list[str]) -> str:
    if not finding.nodes:
        return f"drift {finding.drift:.4f} is within the budget of {budget.mean_distance:g}"
    names = ", ".join(f"{name} ({drift:.4f} without it)" for name, drift in finding.nodes)
    done = "left in float" if left_out else "all quantized; leave_out: true keeps them in float"
    return f"drift {finding.drift:.4f} is over the budget of {budget.mean_distance:g}; worst: {names}; {done}"
