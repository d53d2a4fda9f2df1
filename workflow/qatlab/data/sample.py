"""Which rows of a table a training has."""

import random
from collections.abc import Mapping

from qatlab.config.trainer import TrainerConfig
from qatlab.errors import UserError


def kept_rows(count: int, seed: int, kept: int | None) -> list[int]:
    """The numbers of the rows that are kept, in the order in which they are stored; all of them, shuffled, where None."""
    order = list(range(count))
    random.Random(seed).shuffle(order)
    return order[:kept]


def check_count(name: str, count: int, kept: int | None) -> None:
    """Raises UserError for no rows, or fewer than are to be kept."""
    if count == 0:
        raise UserError(f"data '{name}' has no rows")
    if kept is not None and count < kept:
        raise UserError(
            f"data '{name}' has {count} rows, fewer than data.rows={kept}; data.rows=null takes as many as there are"
        )


def check_batches(count: int, distinct: Mapping[str, int], trainer: TrainerConfig) -> None:
    """Raises UserError where no batch can be filled: a batch of pairs or tuples has no text twice.

    Args:
        count: training rows.
        distinct: how many different texts each column has in them.
    """
    size = trainer.batch_size
    if not trainer.dataloader_drop_last:
        return
    if count < size:
        raise UserError(
            f"trainer.batch_size={size} is more than the {count} training rows; lower it or raise data.rows"
        )
    column = min(distinct, key=lambda name: distinct[name])
    if distinct[column] < size:
        raise UserError(
            f"column '{column}' has {distinct[column]} different text{'s'[: distinct[column] != 1]} in {count} training rows, fewer "
            f"than trainer.batch_size={size}, and a batch has no text twice; lower it, or bring more different texts"
        )
