"""Builder of quantized ONNX files, which compares their drift with a budget and finds the nodes that exceed it."""

import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from qatlab.artifact import write_json
from qatlab.config.weights import LEAST_SHARE, Coverage
from qatlab.deployments.builders import onnx_dynamic, onnx_static
from qatlab.deployments.builders.calibration import calibration_texts
from qatlab.deployments.builders.drift_budget import SearchResult, search
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

BATCH_SIZE = 32


def deploy(
    source: Path, target: Path, config: OnnxDeployment, data: Path | None, threads: int | None, label: str
) -> Coverage:
    """Copy the folder of a float ONNX deployment and quantize its file; with a budget, also write budget.json beside the folder.

    Args:
        source: folder of the float deployment.
        target: the folder to write.
        config: the quantized deployment.
        data: folder of the data artifact, for calibration texts.
        threads: number of CPU threads; None for all.
        label: name of the deployment, for messages.

    Returns:
        The number of quantized weights of matrix products among all of them.

    Raises:
        UserError: if the float file is incomplete or lacks a node to exclude, or if less than half of the weights are quantized
            although no node is excluded.
    """
    assert config.quantization is not None
    plain = _load(source / ONNX_FILE)
    nodes = {node.name for node in plain.graph.node}
    for name in config.quantization.nodes_to_exclude:
        if name not in nodes:
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
    """Return whether the configuration itself keeps matrix products in float."""
    quantization = config.quantization
    operators = quantization.op_types if isinstance(quantization, StaticQuantization) else ["MatMul"]
    excluded = quantization.nodes_to_exclude if quantization is not None else []
    return bool(excluded) or config.budget is not None or "MatMul" not in operators


def float_weights(model: Any) -> int:
    """Return the number of float weights of the matrix products in an ONNX model."""
    names = {node.input[1] for node in model.graph.node if node.op_type in ("MatMul", "Gemm")}
    return sum(
        math.prod(tensor.dims)
        for tensor in model.graph.initializer
        if tensor.name in names and tensor.data_type == onnx.TensorProto.FLOAT
    )


def _keep_within_budget(
    source: Path, target: Path, config: OnnxDeployment, data: Path | None, threads: int | None, label: str
) -> None:
    """Write budget.json beside a quantized folder, and quantize it again without the nodes that the budget leaves out."""
    assert config.quantization is not None
    assert config.budget is not None
    assert data is not None
    result = _search(source, target.with_name("try"), config, data, threads)
    left_out = [name for name, _ in result.nodes] if config.budget.leave_out else []
    if left_out:
        shutil.rmtree(target)
        _quantize(source, target, _without(config.quantization, left_out), data)
    write_json(target.with_name(BUDGET_FILE), _summary(config.budget, result, left_out))
    say(f"deploy {label}: {_sentence(config.budget, result, left_out)}")


def products(model: Any) -> list[str]:
    """Return the names of the matrix products with weights, which quantization affects, in the order of the graph."""
    constant = {tensor.name for tensor in model.graph.initializer}
    return [node.name for node in model.graph.node if node.op_type in ("MatMul", "Gemm") and node.input[1] in constant]


def _search(source: Path, scratch: Path, config: OnnxDeployment, data: Path, threads: int | None) -> SearchResult:
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

    nodes = [name for name in products(_load(source / ONNX_FILE)) if name not in config.quantization.nodes_to_exclude]
    result = search(nodes, drift_without, config.budget)
    shutil.rmtree(scratch)
    return result


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
    except Exception as error:  # Errors of protobuf and of the file system have no common base class.
        raise UserError(
            f"{path} is not a complete ONNX file ({type(error).__name__}); delete its folder, {path.parents[2]}, and run again"
        ) from None


def _summary(budget: DriftBudget, result: SearchResult, left_out: list[str]) -> dict[str, object]:
    return {
        "budget": budget.mean_distance,
        "drift": result.drift,
        "nodes": [{"node": name, "drift_without": drift} for name, drift in result.nodes],
        "drift_without_nodes": result.remaining,
        "left_out": left_out,
    }


def _sentence(budget: DriftBudget, result: SearchResult, left_out: list[str]) -> str:
    if not result.nodes:
        return f"drift {result.drift:.4f} is within the budget of {budget.mean_distance:g}"
    names = ", ".join(f"{name} ({drift:.4f} without it)" for name, drift in result.nodes)
    measure = "left in float" if left_out else "all quantized; leave_out: true keeps them in float"
    return f"drift {result.drift:.4f} is over the budget of {budget.mean_distance:g}; worst: {names}; {measure}"
