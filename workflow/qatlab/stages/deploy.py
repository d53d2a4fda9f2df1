"""deploy: a trained model as it is shipped."""

from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from qatlab.artifact import write_json
from qatlab.config.deploy import DeployConfig, OnnxDeployment, TorchDeployment


def run(description: dict[str, Any], inputs: dict[str, Path], output: Path, threads: int | None) -> None:
    """Writes model/ (a folder Sentence Transformers loads with the same backend) and cost.json (bytes of the weights)."""
    config: TorchDeployment | OnnxDeployment = TypeAdapter(DeployConfig).validate_python(description["config"])
    source, target = inputs["model"] / "model", output / "model"
    if isinstance(config, TorchDeployment) and config.weights is not None:
        from qatlab.deploy import torchao

        torchao.deploy(source, target, config.weights)
    elif isinstance(config, TorchDeployment):
        from qatlab.deploy.torch import deploy

        deploy(source, target, config.rotation, inputs.get("data"), threads)
    elif config.quantization is None:
        from qatlab.deploy.onnx_export import export

        export(source, target, config.opset)
    else:
        from qatlab.deploy.onnx_dynamic import quantize

        quantize(inputs["float"] / "model", target, config.quantization)
    weights = [file for file in target.rglob("*") if file.suffix in (".safetensors", ".onnx", ".data", ".onnx_data")]
    write_json(output / "cost.json", {"bytes": sum(file.stat().st_size for file in weights)})
