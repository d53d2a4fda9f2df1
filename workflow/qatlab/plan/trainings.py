"""Sizes of a study's trainings, computed before any job starts."""

from collections import Counter

from qatlab.plan.runs import Run
from qatlab.study.config import RunConfig


def steps_of(config: RunConfig) -> int | None:
    """Return the optimizer steps of a run; None if its length is a time, or depends on an unknown number of rows or blocks."""
    rows, trainer = config.data.rows, config.trainer
    if trainer.max_seconds is not None:
        return None
    counted = trainer.max_steps is not None or trainer.max_examples is not None
    in_blocks = config.model.kind == "causal_lm" and len(config.data.columns) == 1
    if not counted and (rows is None or in_blocks):
        return None
    return trainer.steps(rows or 0, config.method.extra_steps)


def trainings(runs: list[Run]) -> list[str]:
    """Return one line per size of training, such as "16 trainings of 1,407 steps: 90,000 rows, batches of 64"."""
    configs = [run.config for run in runs if run.config.method.train]
    return [
        f"{count} training{'s' if count > 1 else ''} of {size}" for size, count in Counter(map(_size, configs)).items()
    ]


def _size(config: RunConfig) -> str:
    steps, rows, trainer = steps_of(config), config.data.rows, config.trainer
    budgeted = trainer.max_steps or trainer.max_examples or trainer.max_seconds
    epochs = f"{trainer.num_train_epochs:g} epochs of " if trainer.num_train_epochs != 1 and not budgeted else ""
    accumulated = trainer.gradient_accumulation_steps
    length = (
        f"{trainer.max_seconds:g} seconds" if trainer.max_seconds else f"{f'{steps:,}' if steps else 'as many'} steps"
    )
    extra = config.method.extra_steps
    return (
        f"{length}: {epochs}{f'{rows:,}' if rows else 'all'} rows, batches of "
        f"{trainer.batch_size}{f' × {accumulated}' if accumulated > 1 else ''}{f', {100 * extra:g} % more steps' if extra else ''}"
    )
