"""Card of a trained embedding model."""

import pandas as pd

from qatlab.cards.training_card import KnownData, KnownModel, gradients_of, training_card
from qatlab.config.method import TrainingConfig
from qatlab.training.training import TrainingCost


def card(config: TrainingConfig, model: KnownModel, data: KnownData, cost: TrainingCost, steps: pd.DataFrame) -> str:
    """Return README.md of a trained folder.

    Args:
        config: method, trainer and seed of the training.
        model: the base model.
        data: the training rows.
        cost: steps, duration and device of the training.
        steps: the training's log, one row per step.
    """
    return training_card(config, model, data, cost, gradients_of(steps))


CONFIG = TrainingConfig
