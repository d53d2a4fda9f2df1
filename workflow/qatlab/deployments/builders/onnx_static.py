"""Static int8 quantization of an ONNX file by ONNX Runtime with calibrated activation ranges (QDQ), without PyTorch."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

from qatlab.deployments.builders.calibration import feeds
from qatlab.deployments.builders.onnx_export import copy_without_weights
from qatlab.deployments.onnx import ONNX_FILE, StaticQuantization

METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "percentile": CalibrationMethod.Percentile,
    "entropy": CalibrationMethod.Entropy,
}


class Texts(CalibrationDataReader):
    """Reader of batches of tokenized texts, which can be read once."""

    def __init__(self, batches: Iterator[dict[str, np.ndarray]]) -> None:
        self.batches = batches

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Return the next batch, or None after the last."""
        return next(self.batches, None)


def quantize(source: Path, target: Path, config: StaticQuantization, texts: list[str]) -> None:
    """Copy a deployment's folder and quantize its ONNX file, with activation ranges that are calibrated on texts.

    Args:
        source: folder of a float ONNX deployment.
        target: the folder to write.
        config: the parameters of ONNX Runtime.
        texts: the calibration set.

    Reference: https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
    """
    copy_without_weights(source, target)
    (target / ONNX_FILE).parent.mkdir()
    names = {entry.name for entry in onnx.load(source / ONNX_FILE, load_external_data=False).graph.input}
    # Histograms of activations require batches of equal shape.
    batches = feeds(source, texts, names, same_length=config.calibration != "minmax")
    quantize_static(
        source / ONNX_FILE,
        target / ONNX_FILE,
        Texts(batches),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=config.op_types,
        per_channel=config.per_channel,
        reduce_range=config.reduce_range,
        activation_type=QuantType[config.activation_type],
        weight_type=QuantType[config.weight_type],
        nodes_to_exclude=config.nodes_to_exclude,
        calibrate_method=METHODS[config.calibration],
        extra_options={"MatMulConstBOnly": True, "CalibPercentile": config.percentile},
    )
