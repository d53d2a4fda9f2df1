"""Selection of training rows, and checks that there are enough of them."""

import random
from collections.abc import Mapping

from qatlab.config.trainer import TrainerConfig
from qatlab.errors import UserError


def kept_rows(count: int, seed: int, kept: int | None) -> list[int]:
    """Return the numbers of the rows to keep, in the shuffled order in which they are stored.

    Args:
        count: number of rows of the table.
        seed: random seed of the shuffle.
        kept: number of rows to keep; None keeps all.
    """
    order = list(range(count))
    random.Random(seed).shuffle(order)
    return order[:kept]


def check_count(name: str, count: int, kept: int | None) -> None:
    """Raise a UserError if a data set has no rows, or fewer rows than are to be kept.

    Args:
        name: name of the data set, for messages.
        count: number of rows of the data set.
        kept: number of rows to keep; None keeps all.
    """
    if count == 0:
        raise UserError(f"data '{name}' has no rows")
    if kept is not None and count < kept:
        raise UserError(f"data '{name}' has {count} rows, fewer than data.rows={kept}; data.rows=null takes all rows")


def check_batches(count: int, distinct: Mapping[str, int], trainer: TrainerConfig) -> None:
    """Raise a UserError if no batch can be filled, given that a batch of pairs or tuples contains no text twice.

    Args:
        count: number of training rows.
        distinct: number of distinct texts in the training rows by column.
        trainer: batch size, and whether incomplete batches are dropped; the check applies only if they are.
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
            f"than trainer.batch_size={size}, and a batch has no text twice; lower it, or provide more different texts"
        )
