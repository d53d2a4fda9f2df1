"""Dynamic int8 quantization of an ONNX file by ONNX Runtime, without PyTorch."""

from pathlib import Path

from onnxruntime.quantization import QuantType, quantize_dynamic

from qatlab.deployments.builders.onnx_export import copy_without_weights
from qatlab.deployments.onnx import ONNX_FILE, DynamicQuantization


def quantize(source: Path, target: Path, config: DynamicQuantization) -> None:
    """Copy a deployment's folder and quantize its ONNX file: weights to int8 now, activations at run time.

    Args:
        source: folder of a float ONNX deployment.
        target: the folder to write.
        config: the parameters of ONNX Runtime.

    Reference: https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
    """
    copy_without_weights(source, target)
    (target / ONNX_FILE).parent.mkdir()
    quantize_dynamic(
        source / ONNX_FILE,
        target / ONNX_FILE,
        per_channel=config.per_channel,
        reduce_range=config.reduce_range,
        weight_type=QuantType[config.weight_type],
        nodes_to_exclude=config.nodes_to_exclude,
        extra_options={"EnableSubgraph": config.enable_subgraph, "MatMulConstBOnly": config.matmul_const_b_only},
    )
