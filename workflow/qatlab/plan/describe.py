"""Conversion of a planned run to its record: its labels, the paths of its artifacts, and its counterparts."""

from qatlab.config.method import MethodConfig
from qatlab.plan.runs import Run, of_model
from qatlab.study.record import Evaluation, RunRecord


def counterparts(runs: list[Run], baseline: str) -> dict[str, str | None]:
    """Return the PTQ counterpart of each method; None for a method without a weight-quantization scheme.

    It is the method with the same recipe without the scheme, or else the baseline, if the study has it.
    """
    methods = {run.config.method.name: run.config.method for run in runs}
    plain: dict[str, str] = {}
    for name, method in methods.items():
        if method.weights is None:
            plain.setdefault(_recipe(method), name)
    default = baseline if baseline in methods else None
    return {name: plain.get(_recipe(method), default) if method.weights else None for name, method in methods.items()}


def _recipe(method: MethodConfig) -> str:
    """Return a method's settings without its weight quantization, as JSON."""
    lora = None if method.lora is None else method.lora.model_copy(update={"quantized": "base"})
    without = {"name": "", "weights": None, "weights_start": None, "lora": lora}
    return method.model_copy(update=without).model_dump_json()


def matched(run: Run) -> dict[str, str]:
    """Return the scheme's name by deployment, for deployments on the grid that a run's weights were trained for."""
    scheme = run.config.method.weights
    if scheme is None:
        return {}
    return {deployment: scheme.name for deployment, config in run.config.deploy.items() if config.ships(scheme)}


def float_deployment(run: Run) -> str:
    """Return the deployment whose float embeddings others are compared with.

    It is the reference of drift, if it belongs to the same run, or else the first deployment.
    """
    own = [name for name in run.config.drift.references if name in run.deployed]
    return own[0] if own else next(iter(run.config.deploy))


def run_record(run: Run, counterparts: dict[str, str | None]) -> RunRecord:
    """Return the record of a run, which tables, plots and cards read.

    Args:
        run: planned run.
        counterparts: PTQ counterpart of each method; see `counterparts`.
    """
    trained, scheme, lora = run.config.method.train, run.config.method.weights, run.config.method.lora
    quantized = run.config.method.embedding_quantization
    tuning = f"LoRA-{lora.r}" if lora else "full"
    return RunRecord(
        name=run.name,
        model=run.config.model.name,
        data=run.config.data.name if trained else "",
        method=run.config.method.name,
        seed=run.config.seed if trained else None,
        varied={
            f"matrix.{key}": value if trained or of_model(key) else ""
            for key, value in run.cell.items()
            if key not in ("method", "seed")
        },
        trains_for=tuple(quantized.precisions) if quantized else (),
        scheme=scheme.name if scheme else "none",
        tuning=tuning if trained else "",
        trained=run.trained,
        deployed=run.deployed,
        matched=matched(run),
        counterpart=counterparts[run.config.method.name],
        references=run.references,
        budgets=tuple(name for name, config in run.config.deploy.items() if config.has_budget),
        reduce_range={name: config.reduce_range for name, config in run.config.deploy.items()},
        evaluations=tuple(_evaluation(run, deploy, task) for deploy, task in run.encoded),
        chains=tuple(run.chains),
        parts=tuple(run.parts.values()),
    )


def _evaluation(run: Run, deploy: str, task: str) -> Evaluation:
    pair, scored = (deploy, task), run.scored.get((deploy, task))
    return Evaluation(
        deploy=deploy,
        task=task,
        encode=run.encoded[pair],
        score=scored,
        training=run.training.get(deploy) if scored is not None else None,
        drift={reference: path for (reference, *other), path in run.drifted.items() if tuple(other) == pair},
        bit_changes={name: path for (name, *other), path in run.bit_changes.items() if tuple(other) == pair},
    )
