"""What a deployment's job asks of the machine."""

from pydantic import TypeAdapter

from qatlab.config.deploy import DeployConfig, Deployment, TorchDeployment
from qatlab.plan.artifacts import Artifact

_DEPLOYMENT: TypeAdapter[Deployment] = TypeAdapter(DeployConfig)


def runs_on_gpu(artifact: Artifact) -> bool:
    """Whether the deployed model is run on a GPU where there is one."""
    config = _config(artifact)
    return isinstance(config, TorchDeployment) and config.on_gpu


def made_on_gpu(artifact: Artifact) -> bool:
    """Whether a GPU makes it, where there is one: a rotation is fitted on embeddings, kernels pack their own weights."""
    config = _config(artifact)
    if not isinstance(config, TorchDeployment) or config.simulated:
        return False
    return config.rotated or (config.weights is not None and config.weights.on_gpu)


def _config(artifact: Artifact) -> Deployment:
    config: Deployment = _DEPLOYMENT.validate_python(artifact.config)
    return config
