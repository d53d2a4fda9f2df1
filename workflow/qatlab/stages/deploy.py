"""deploy: a trained model as it is shipped."""

import shutil
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from qatlab.artifact import write_json
from qatlab.config.deploy import DeployConfig, Deployment, OnnxDeployment, TorchDeployment
from qatlab.weights.coverage import Coverage

WEIGHTS = (".safetensors", ".onnx", ".data", ".onnx_data", ".bin")


def run(description: dict[str, Any], inputs: dict[str, Path], output: Path, threads: int | None) -> None:
    """Write model/ (a folder Sentence Transformers loads with the same backend) and cost.json.

    cost.json has the bytes of the weights and, of quantized weights, how many of those of linear layers are quantized.
    """
    config: Deployment = TypeAdapter(DeployConfig).validate_python(description["config"])
    target, data = output / "model", inputs.get("data")
    counts: Coverage | None = None
    if isinstance(config, TorchDeployment):
        counts = _torch(config, inputs["model"] / "model", target, data, threads)
    elif isinstance(config, OnnxDeployment):
        counts = _onnx(config, inputs, target, threads, description["label"])
    else:
        from qatlab.deploy import calibration, openvino

        source, texts = inputs["float"] / "model", []
        if config.quantization is not None:
            assert data is not None
            texts = calibration.calibration_texts(source, data, config.quantization.calibration_texts)
        openvino.deploy(source, target, config.quantization, texts)
    _check(config, inputs, target, threads, f"deploy {description['label']}")
    files = [file for file in target.rglob("*") if file.suffix in WEIGHTS]
    size = sum(file.stat().st_size for file in files)
    write_json(output / "cost.json", {"bytes": size, **(counts._asdict() if counts else {})})


def _check(config: Deployment, inputs: dict[str, Path], target: Path, threads: int | None, label: str) -> None:
    """Raises UserError for a file that computes something else than Sentence Transformers; encodings check PyTorch's deployments."""
    if isinstance(config, TorchDeployment):
        return
    from qatlab.deploy.agreement import check_agreement, check_quantized
    from qatlab.encoders.load import load_encoder

    encoder = load_encoder(target, threads, config)
    if config.quantization is None:
        from qatlab.models.embedding import load_model

        check_agreement(encoder, load_model(inputs["model"] / "model", "cpu", "float32"), target, label)
    else:
        plain = OnnxDeployment(backend="onnx")
        check_quantized(encoder, load_encoder(inputs["float"] / "model", threads, plain), label)


def _torch(
    config: TorchDeployment, source: Path, target: Path, data: Path | None, threads: int | None
) -> Coverage | None:
    if config.weights is not None and not config.simulated:
        from qatlab.deploy import torchao

        return torchao.deploy(source, target, config.weights)
    from qatlab.deploy.torch import deploy

    deploy(source, target, config, data, threads)
    return None


def _onnx(
    config: OnnxDeployment, inputs: dict[str, Path], target: Path, threads: int | None, label: str
) -> Coverage | None:
    counts: Coverage | None = None
    if config.quantization is not None:
        from qatlab.deploy.onnx_quantized import deploy

        counts = deploy(inputs["float"] / "model", target, config, inputs.get("data"), threads, label)
    elif config.output != "float32":
        shutil.copytree(inputs["float"] / "model", target, ignore=shutil.ignore_patterns(".snakemake_timestamp"))
    else:
        from qatlab.deploy.onnx_export import export

        export(inputs["model"] / "model", target, config)
    if config.output != "float32":
        from qatlab.deploy.onnx_codes import finish_with_codes

        finish_with_codes(target, config.output, inputs.get("data"), config.range_texts, threads)
    return counts
