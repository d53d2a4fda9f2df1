"""deploy_causal_lm: a causal language model as it is shipped."""

from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from qatlab.artifact import write_json
from qatlab.config.deploy import DeployConfig
from qatlab.deploy.causal_lm import deploy
from qatlab.deployments.torch import TorchDeployment


def run(description: dict[str, Any], inputs: dict[str, Path], output: Path, threads: int | None) -> None:
    """Write model/ and cost.json: bytes of the weights and, of quantized ones, how many of those of linear layers are quantized."""
    config = TypeAdapter(DeployConfig).validate_python(description["config"])
    assert isinstance(config, TorchDeployment)
    counts = deploy(inputs["model"] / "model", output / "model", config)
    files = (output / "model").rglob("*.safetensors")
    size = sum(file.stat().st_size for file in files)
    write_json(output / "cost.json", {"bytes": size, **(counts._asdict() if counts else {})})
