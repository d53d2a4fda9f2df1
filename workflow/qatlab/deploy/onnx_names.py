"""What the ONNX files of one model are called in a Sentence Transformers folder that has them all."""

from collections.abc import Mapping

from qatlab.config.deploy import OnnxDeployment

USUAL = "onnx_int8"  # the deployment that Sentence Transformers' own quantization makes


def shared_names(deployments: Mapping[str, OnnxDeployment]) -> dict[str, str]:
    """By deployment, its file in a folder that has them all, named as Sentence Transformers names its exports.

    Float is `onnx/model.onnx`; quantized ones carry the type of their weights: `onnx/model_qint8_quantized.onnx`, and with what
    tells them apart: `onnx/model_qint8_static.onnx`.
    """
    names: dict[str, str] = {}
    floats: list[OnnxDeployment] = []  # the first of which needs no name of its own
    for deployment, config in deployments.items():
        if config.quantization is None:
            floats.append(config)
            exporter = "" if config.exporter == floats[0].exporter else f"_{config.exporter}"
            opset = "" if config.opset == floats[0].opset else f"_opset{config.opset}"
            names[deployment] = f"onnx/model{exporter}{opset}.onnx"
            continue
        weights = config.quantization.weight_type.lower()
        told = "quantized" if deployment == USUAL else deployment.removeprefix(f"{USUAL}_")
        taken = f"onnx/model_{weights}_{told}.onnx" in names.values()
        names[deployment] = f"onnx/model_{weights}_{deployment if taken else told}.onnx"
    return names
