"""What the stage `train` reads: the part of a study's configuration that a training follows from."""

from qatlab.base import Strict
from qatlab.config.method import MethodConfig
from qatlab.config.trainer import TrainerConfig


class TrainingConfig(Strict):
    """One training of a model of any family."""

    method: MethodConfig
    trainer: TrainerConfig
    seed: int

    @property
    def learning_rate(self) -> float:
        """The method's, or else the trainer's."""
        return self.method.learning_rate or self.trainer.learning_rate
