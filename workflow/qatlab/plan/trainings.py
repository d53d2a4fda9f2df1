"""How much a study trains, known before anything is done."""

from collections import Counter

from qatlab.config.study import RunConfig
from qatlab.plan.runs import Run


def steps_of(config: RunConfig) -> int | None:
    """Optimizer steps of a run; None where it trains on however many rows there are."""
    rows, trainer = config.data.rows, config.trainer
    if trainer.max_steps is None and rows is None:
        return None
    return trainer.steps(rows or 0)


def trainings(runs: list[Run]) -> list[str]:
    """A line for each size of training, such as "16 trainings of 1,407 steps: 90,000 rows, batches of 64"."""
    configs = [run.config for run in runs if run.config.method.train]
    return [
        f"{count} training{'s' if count > 1 else ''} of {size}" for size, count in Counter(map(_size, configs)).items()
    ]


def _size(config: RunConfig) -> str:
    steps, rows, trainer = steps_of(config), config.data.rows, config.trainer
    epochs = (
        f"{trainer.num_train_epochs:g} epochs of " if trainer.num_train_epochs != 1 and not trainer.max_steps else ""
    )
    accumulated = trainer.gradient_accumulation_steps
    return (
        f"{f'{steps:,}' if steps else 'as many'} steps: {epochs}{f'{rows:,}' if rows else 'all'} rows, batches of "
        f"{trainer.batch_size}{f' × {accumulated}' if accumulated > 1 else ''}"
    )
