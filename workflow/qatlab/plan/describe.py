"""From a planned run to its record: its labels, the paths of its artifacts, and what it is compared with."""

from qatlab.config.method import MethodConfig
from qatlab.plan.runs import Run, of_model
from qatlab.study.record import Evaluation, RunRecord


def counterparts(runs: list[Run], baseline: str) -> dict[str, str | None]:
    """Return, by method, the method that is quantized after training beside it; None for a method without a scheme of weights.

    It is the method with the same recipe without the scheme, or else the baseline, if the study has it.
    """
    methods = {run.config.method.name: run.config.method for run in runs}
    plain: dict[str, str] = {}
    for name, method in methods.items():
        if method.weights is None:
            plain.setdefault(_recipe(method), name)
    otherwise = baseline if baseline in methods else None
    return {name: plain.get(_recipe(method), otherwise) if method.weights else None for name, method in methods.items()}


def _recipe(method: MethodConfig) -> str:
    """Return how a method trains, apart from quantizing weights."""
    lora = None if method.lora is None else method.lora.model_copy(update={"quantized": "base"})
    without = {"name": "", "weights": None, "weights_start": None, "lora": lora}
    return method.model_copy(update=without).model_dump_json()


def matched(run: Run) -> dict[str, str]:
    """Return the deployments on the very grid that a run's weights were trained for, and the scheme's name."""
    scheme = run.config.method.weights
    if scheme is None:
        return {}
    return {deployment: scheme.name for deployment, config in run.config.deploy.items() if config.ships(scheme)}


def float_deployment(run: Run) -> str:
    """Return the deployment whose float embeddings others are compared with.

    It is the one that drift refers to, if it is of the same run, or else the first.
    """
    own = [name for name in run.config.drift.references if name in run.deployed]
    return own[0] if own else next(iter(run.config.deploy))


def run_record(run: Run, counterparts: dict[str, str | None]) -> RunRecord:
    """Return what tables, plots and cards read of a run.

    Args:
        counterparts: of `counterparts`, by method.
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
    of_pair, scored = (deploy, task), run.scored.get((deploy, task))
    return Evaluation(
        deploy=deploy,
        task=task,
        encode=run.encoded[of_pair],
        score=scored,
        training=run.training.get(deploy) if scored is not None else None,
        drift={reference: path for (reference, *pair), path in run.drifted.items() if tuple(pair) == of_pair},
        bit_changes={other: path for (other, *pair), path in run.bit_changes.items() if tuple(pair) == of_pair},
    )
