"""How a model is served (conf/deploy): any registered deployment backend, one entry per deployment, by its name."""

from typing import TYPE_CHECKING, TypeAlias

from qatlab.deployments.deployment import DEPLOYMENTS, Deployment

if TYPE_CHECKING:
    DeployConfig: TypeAlias = Deployment
else:
    DeployConfig = DEPLOYMENTS.config_type()
