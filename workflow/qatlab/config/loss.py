"""Configuration of a method's loss (method.loss), which names any registered loss."""

from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from pydantic import BeforeValidator

from qatlab.training_losses.loss import LOSSES, Loss

DEFAULT = "multiple_negatives_ranking"


def _named(value: Any) -> Any:
    return {"name": DEFAULT, **value} if isinstance(value, dict) else value


if TYPE_CHECKING:
    LossConfig: TypeAlias = Loss
else:
    LossConfig = Annotated[LOSSES.config_type(), BeforeValidator(_named)]


def default_loss() -> Loss:
    """Return the configuration of the loss that a method has if it names none."""
    return LOSSES.get(DEFAULT).model_validate({"name": DEFAULT})
