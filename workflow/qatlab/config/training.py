"""Part of a study's configuration that determines a training, which the stage `train` reads."""

from typing import Annotated

from pydantic import Field

from qatlab.config.method import MethodConfig
from qatlab.config.trainer import TrainerConfig
from qatlab.registry import Strict


class TrainingConfig(Strict):
    """Configuration of one training of a model of any family."""

    method: MethodConfig
    trainer: TrainerConfig
    seed: Annotated[int, Field(description="Random seed of the run.")]

    @property
    def learning_rate(self) -> float:
        """Return the learning rate of the method, or that of the trainer where the method sets none."""
        return self.method.learning_rate or self.trainer.learning_rate
