"""The card of a trained embedding model."""

from typing import Any

import pandas as pd

from qatlab.cards.training_card import gradients_of, training_card


def card(
    config: dict[str, Any], model: dict[str, Any], data: dict[str, Any], cost: dict[str, Any], steps: pd.DataFrame
) -> str:
    """Return README.md of a trained folder.

    Args:
        config: of the training.
        model, data: configuration and manifest, in one, of the base model and of the training rows.
        cost: what it took.
        steps: the training's log, one row per step.
    """
    return training_card(config, model, data, cost, gradients_of(steps))
