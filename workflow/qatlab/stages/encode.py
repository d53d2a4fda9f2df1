"""Stage encode: one pass of a deployed model over a task or a set of texts, which yields embeddings or predictions."""

from pathlib import Path

from qatlab.artifact import read_json, write_json
from qatlab.deployments.deployment import DEPLOYMENTS, Deployment, Pass
from qatlab.job import JobDescription, part_of
from qatlab.machine.hardware import features, integer_kernel


def run(description: JobDescription, inputs: dict[str, Path], output: Path, threads: int | None) -> None:
    """Write the family's embeddings or predictions of the texts, cost.json and machine.json."""
    deployment: Deployment = DEPLOYMENTS.read(read_json(inputs["deploy"] / "config.json")["config"])
    taken: Pass = part_of(description, "encode").encode(description, deployment, inputs, output, threads)
    write_json(
        output / "cost.json",
        {
            "texts": taken.texts,
            "seconds": taken.seconds,
            "texts_per_second": taken.texts / taken.seconds,
            "device": taken.device,
        },
    )
    cpu_features = features()
    integers = integer_kernel(cpu_features, deployment.sums_are_exact) if deployment.integer_arithmetic else None
    write_json(output / "machine.json", {"features": cpu_features, "integer_kernel": integers})
