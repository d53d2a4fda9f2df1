"""Builder of OpenVINO models from an ONNX file; int8 by NNCF, with activation ranges that are calibrated on training texts."""

import sys
from pathlib import Path
from types import ModuleType

from qatlab.deployments.onnx import ONNX_FILE
from qatlab.deployments.openvino import OpenvinoQuantization

OPENVINO_FILE = "openvino/openvino_model.xml"  # name of the file in Optimum and Sentence Transformers


def import_openvino() -> ModuleType:
    """Import the package without its telemetry."""
    # None makes the import of the telemetry package fail, which openvino and nncf tolerate; no other switch disables it for both.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    module: ModuleType = openvino
    return module


def deploy(source: Path, target: Path, config: OpenvinoQuantization | None, texts: list[str]) -> None:
    """Copy the folder of a float ONNX deployment, with an OpenVINO model instead of the ONNX file.

    Args:
        source: folder of the float ONNX deployment.
        target: the folder to write.
        config: the quantization; None keeps float32.
        texts: the calibration set; unused without quantization.

    Reference: https://docs.openvino.ai, nncf.quantize
    """
    from qatlab.deployments.builders.calibration import feeds
    from qatlab.deployments.builders.onnx_export import copy_without_weights

    openvino = import_openvino()
    model = openvino.convert_model(source / ONNX_FILE)
    if config is not None:
        import nncf

        names = {name for entry in model.inputs for name in entry.names}
        batches = list(feeds(source, texts, names))
        model = nncf.quantize(
            model,
            nncf.Dataset(batches),
            preset=nncf.QuantizationPreset(config.preset),
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(batches),
            fast_bias_correction=config.fast_bias_correction,
        )
    copy_without_weights(source, target)
    (target / OPENVINO_FILE).parent.mkdir()
    openvino.save_model(model, target / OPENVINO_FILE, compress_to_fp16=False)
