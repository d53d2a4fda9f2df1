"""The artifacts of a causal language model's run: trained, shipped, asked, and scored."""

from pathlib import Path
from typing import Any

from qatlab.config.causal_lm import CausalTrainingConfig, PredictionConfig
from qatlab.config.study import RunConfig
from qatlab.errors import UserError
from qatlab.plan.artifacts import Planner, dump
from qatlab.plan.origin import task_kind, task_origin
from qatlab.plan.runs import Run, check_rows, plan_data, plan_model, run_name

CAUSAL_KINDS = ("translation", "language_modelling")


def plan_causal_run(planner: Planner, cell: dict[str, Any], config: RunConfig) -> Run:
    """A cell's run. Raises UserError for tasks that a causal language model has no answer to."""
    model = plan_model(planner, config.model)
    trained, name = model, run_name(cell, config)
    if config.method.train:
        slice_ = CausalTrainingConfig(
            method=config.method,
            trainer=config.trainer,
            seed=config.seed,
            max_seq_length=config.model.max_seq_length,
            prompt=config.model.prompt,
        )
        slug = f"{Path(config.model.name).name}-{config.data.name}-{name}"
        inputs = {"model": model, "data": plan_data(planner, config)}
        check_rows(planner, config)
        trained = planner.add("train_causal_lm", slug, dump(slice_), inputs, name)
    run = Run(name, cell, config, trained)
    for deployment, section in config.deploy.items():
        label = f"{name} · {deployment}"
        inputs = {"model": trained}
        run.deployed[deployment] = planner.add("deploy_causal_lm", f"{name}-{deployment}", dump(section), inputs, label)
    for task in config.task:
        _plan_task(planner, run, task)
    return run


def _plan_task(planner: Planner, run: Run, task: str) -> None:
    config, section = run.config, run.config.task[task]
    path = planner.add("task", task, {"task": task, **dump(section)}, {}, task, planner.origin(task_origin, section))
    kind = run.kinds[task] = task_kind(section, planner.artifacts[path].origin)
    if kind not in CAUSAL_KINDS:
        raise UserError(
            f"task '{task}' asks for embeddings ({kind}), and model '{config.model.name}' is a causal language model; "
            f"give it tasks of {' or '.join(CAUSAL_KINDS)}"
        )
    slice_ = PredictionConfig(
        predict=config.predict, max_seq_length=config.model.max_seq_length, prompt=config.model.prompt
    )
    for deployment, deployed in run.deployed.items():
        slug, label = f"{run.name}-{deployment}-{task}", f"{run.name} · {deployment} · {task}"
        predicted = planner.add("predict", slug, dump(slice_), {"deploy": deployed, "task": path}, label)
        run.encoded[deployment, task] = predicted
        inputs = {"predict": predicted, "task": path}
        run.scored[deployment, task] = planner.add("score_predictions", slug, {}, inputs, label)
