"""What a deployment's job asks of the machine."""

from pydantic import TypeAdapter

from qatlab.deployments.deployment import Deployment
from qatlab.plan.artifacts import Artifact
from qatlab.study.deploy import DeployConfig

_DEPLOYMENT: TypeAdapter[Deployment] = TypeAdapter(DeployConfig)


def runs_on_gpu(artifact: Artifact) -> bool:
    """Whether the deployed model is run on a GPU where there is one."""
    return _config(artifact).runs_on_gpu


def made_on_gpu(artifact: Artifact) -> bool:
    """Whether a GPU makes it, where there is one."""
    return _config(artifact).made_on_gpu


def _config(artifact: Artifact) -> Deployment:
    return _DEPLOYMENT.validate_python(artifact.config)
