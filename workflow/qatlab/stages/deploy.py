"""deploy: a trained model as it is shipped."""

import shutil
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from qatlab.artifact import write_json
from qatlab.config.deploy import DeployConfig, Deployment, OnnxDeployment, TorchDeployment

WEIGHTS = (".safetensors", ".onnx", ".data", ".onnx_data", ".bin")


def run(description: dict[str, Any], inputs: dict[str, Path], output: Path, threads: int | None) -> None:
    """Writes model/ (a folder Sentence Transformers loads with the same backend) and cost.json (bytes of the weights)."""
    config: Deployment = TypeAdapter(DeployConfig).validate_python(description["config"])
    target, data = output / "model", inputs.get("data")
    if isinstance(config, TorchDeployment):
        _torch(config, inputs["model"] / "model", target, data, threads)
    elif isinstance(config, OnnxDeployment):
        _onnx(config, inputs, target, threads, description["label"])
    else:
        from qatlab.deploy import calibration, openvino

        source, texts = inputs["float"] / "model", []
        if config.quantization is not None:
            assert data is not None
            texts = calibration.calibration_texts(source, data, config.quantization.calibration_texts)
        openvino.deploy(source, target, config.quantization, texts)
    files = [file for file in target.rglob("*") if file.suffix in WEIGHTS]
    write_json(output / "cost.json", {"bytes": sum(file.stat().st_size for file in files)})


def _torch(config: TorchDeployment, source: Path, target: Path, data: Path | None, threads: int | None) -> None:
    if config.weights is not None and not config.simulated:
        from qatlab.deploy import torchao

        torchao.deploy(source, target, config.weights)
    else:
        from qatlab.deploy.torch import deploy

        deploy(source, target, config, data, threads)


def _onnx(config: OnnxDeployment, inputs: dict[str, Path], target: Path, threads: int | None, label: str) -> None:
    if config.quantization is not None:
        from qatlab.deploy.onnx_quantized import deploy

        deploy(inputs["float"] / "model", target, config, inputs.get("data"), threads, label)
    elif config.output != "float32":
        shutil.copytree(inputs["float"] / "model", target, ignore=shutil.ignore_patterns(".snakemake_timestamp"))
    else:
        from qatlab.deploy.onnx_export import export

        export(inputs["model"] / "model", target, config)
    if config.output != "float32":
        from qatlab.deploy.onnx_codes import finish_with_codes

        finish_with_codes(target, config.output, inputs.get("data"), config.range_texts, threads)
