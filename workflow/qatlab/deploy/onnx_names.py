"""What the ONNX files of one model are called in a Sentence Transformers folder that has them all."""

from collections.abc import Mapping

from qatlab.config.deploy import OnnxDeployment
from qatlab.deploy.onnx_export import ONNX_FILE

USUAL = "onnx_int8"  # the deployment that Sentence Transformers' own quantization makes


def shared_names(deployments: Mapping[str, OnnxDeployment]) -> dict[str, str]:
    """By deployment, its file in a folder that has them all, named as Sentence Transformers names its exports.

    Float is `onnx/model.onnx`; quantized ones carry the type of their weights: `onnx/model_qint8_quantized.onnx`, and with what
    tells them apart: `onnx/model_qint8_static.onnx`.
    """
    names: dict[str, str] = {}
    opsets: list[int] = []  # of float files, the first of which needs no name of its own
    for deployment, config in deployments.items():
        if config.quantization is None:
            opsets.append(config.opset)
            names[deployment] = ONNX_FILE if config.opset == opsets[0] else f"onnx/model_opset{config.opset}.onnx"
            continue
        weights = config.quantization.weight_type.lower()
        told = "quantized" if deployment == USUAL else deployment.removeprefix(f"{USUAL}_")
        taken = f"onnx/model_{weights}_{told}.onnx" in names.values()
        names[deployment] = f"onnx/model_{weights}_{deployment if taken else told}.onnx"
    return names
