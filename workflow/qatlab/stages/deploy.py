"""Stage deploy: a trained model in the form in which it is shipped."""

from pathlib import Path

from qatlab.artifact import write_json
from qatlab.deployments.deployment import DEPLOYMENTS, Deployment
from qatlab.job import JobDescription, part_of

WEIGHTS = (".safetensors", ".onnx", ".data", ".onnx_data", ".bin")


def run(description: JobDescription, inputs: dict[str, Path], output: Path, threads: int | None) -> None:
    """Write model/ (a folder that the family's library loads) and cost.json.

    cost.json has the size of the weights in bytes and, if weights are quantized, how many of those of linear layers are.
    """
    config: Deployment = DEPLOYMENTS.read(description.config)
    target = output / "model"
    counts = part_of(description, "deploy").build(config, inputs, target, threads, description.label)
    files = [file for file in target.rglob("*") if file.suffix in WEIGHTS]
    size = sum(file.stat().st_size for file in files)
    write_json(output / "cost.json", {"bytes": size, **(counts._asdict() if counts else {})})
