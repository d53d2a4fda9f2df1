"""Configuration of the deployments (conf/deploy): any registered backend, one entry per deployment, by its name."""

from typing import TYPE_CHECKING, TypeAlias

from qatlab.deployments.deployment import DEPLOYMENTS, Deployment

if TYPE_CHECKING:
    DeployConfig: TypeAlias = Deployment
else:
    DeployConfig = DEPLOYMENTS.config_type()
