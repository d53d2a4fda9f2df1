"""encode: one pass of a deployed model over a task or a set of texts: its embeddings, or its predictions."""

from pathlib import Path

from qatlab.artifact import read_json, write_json
from qatlab.deployments.deployment import DEPLOYMENTS, Deployment
from qatlab.evaluation.one_pass import Pass
from qatlab.families.parts import part_of
from qatlab.job import JobDescription
from qatlab.machine.processor import features, integer_kernel


def run(description: JobDescription, inputs: dict[str, Path], output: Path, threads: int | None) -> None:
    """Write what the family's model gives for the texts; cost.json, machine.json."""
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
    found = features()
    integers = integer_kernel(found, deployment.sums_are_exact) if deployment.integer_arithmetic else None
    write_json(output / "machine.json", {"features": found, "integer_kernel": integers})
