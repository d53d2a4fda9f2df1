"""File names of one model's deployments in a Sentence Transformers folder that holds all of them."""

from collections.abc import Mapping

from qatlab.deployments.deployment import Deployment


def shared_names(deployments: Mapping[str, Deployment]) -> dict[str, str]:
    """Return the names of the files in the common folder, by deployment; deployments without such a file are left out."""
    names: dict[str, str] = {}
    for name, config in deployments.items():
        others = {other: (deployments[other], file) for other, file in names.items()}
        file = config.shared_file(name, others)
        if file is not None:
            names[name] = file
    return names
