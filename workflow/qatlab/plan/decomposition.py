"""Decomposition of the cost of quantization: variants of one trained model between its float deployment and the shipped one.

Each variant adds one component to the previous one, so that the differences of neighbours sum to the total loss of quality:
float; quantized weights; quantized activations; the shipped file; rounded embeddings; ranges fitted to queries and documents
separately; the comparison of codes in published evaluations.
"""

from typing import NamedTuple

from qatlab.config.evaluate import EvaluateConfig
from qatlab.deployments.deployment import Deployment
from qatlab.deployments.torch import TorchDeployment
from qatlab.errors import UserError, unknown
from qatlab.evaluation.outputs import outputs
from qatlab.plan.artifacts import Planner
from qatlab.plan.describe import float_deployment
from qatlab.plan.runs import Run, plan_deployment, plan_encoding, plan_score
from qatlab.quantization.precisions import RANGED
from qatlab.study.config import RunConfig
from qatlab.study.record import Chain, Part, Step
from qatlab.tables.names import FROM_FLOAT, simulation

PRECISIONS = ("int8", "binary")  # precisions that are decomposed, where the study scores them


class Comparison(NamedTuple):
    """Storage and comparison of embeddings: one value for each of these fields of EvaluateConfig."""

    precision: str
    scoring: str
    ranges: str


PLAIN = Comparison("float32", "dequantized", "corpus")
# The chain starts with it where the study refers to no plain float deployment.
TRAINED = ("torch_fp32", TorchDeployment(backend="torch"))
# Published evaluations compare codes as numbers and bits as 0 and 1, with ranges fitted per call.
SCORER = ("sentence_transformers_compat", "per_call")


def check_decomposition(runs: list[Run]) -> None:
    """Raise UserError for a decomposition without a retrieval task, an unknown method or deployment, or one without quantization."""
    entries = runs[0].config.study.decomposition
    if entries and "retrieval" not in runs[0].kinds.values():
        raise UserError(
            "study.decomposition needs a retrieval task, and the study has none; add one, or remove study.decomposition"
        )
    for entry in entries:
        method, _, deployment = entry.partition("/")
        methods = {run.config.method.name for run in runs}
        if method not in methods:
            raise unknown(f"method of study.decomposition '{entry}':", method, methods)
        deployments = runs[0].config.deploy  # the same in all runs
        if deployment not in deployments:
            raise unknown(f"deployment of study.decomposition '{entry}':", deployment, deployments)
        if not deployments[deployment].quantized:
            fitting = [name for name, config in deployments.items() if config.quantized]
            raise UserError(
                f"study.decomposition '{entry}': '{deployment}' ships no quantized weights, so there is nothing to decompose; "
                f"deployments with quantized weights: {', '.join(fitting) or 'none in this study'}"
            )


def plan_decomposition(planner: Planner, run: Run) -> None:
    """Add to a run the chains of its study's decomposition, and the artifacts that they need besides the run's own."""
    for entry in run.config.study.decomposition:
        method, _, deployment = entry.partition("/")
        if method == run.config.method.name:
            _plan_chains(planner, run, deployment)


def _plan_chains(planner: Planner, run: Run, deployment: str) -> None:
    parts = {
        component: _plan_parts(planner, run, name, config)
        for component, (name, config) in _variants(run, deployment).items()
    }
    shipped = list(parts.values())[-1]
    stored = {precision: _outputs(precision) for precision in _precisions(run.config)}
    compared = list(dict.fromkeys([PLAIN, *(how for added in stored.values() for how in added.values())]))
    for precision, added in stored.items():
        steps = [
            *(
                _step(planner, run, component, PLAIN, by_task, compared if by_task is shipped else [PLAIN])
                for component, by_task in parts.items()
            ),
            *(_step(planner, run, component, how, shipped, compared) for component, how in added.items()),
        ]
        run.chains.append(Chain(deploy=deployment, precision=precision, steps=tuple(steps)))


def _precisions(config: RunConfig) -> list[str]:
    """Return the precisions of the study that are decomposed, in its order; float32 where there is none."""
    return [name for name in config.evaluate.precisions if name in PRECISIONS] or [PLAIN.precision]


def _variants(run: Run, deployment: str) -> dict[str, tuple[str, Deployment]]:
    """Return, by component, the name and the deployment of the variant that adds it; the last one is shipped."""
    first, shipped = float_deployment(run), (deployment, run.config.deploy[deployment])
    plain = run.config.deploy[first].plain
    start = {FROM_FLOAT: (first, run.config.deploy[first]) if plain else TRAINED}
    scheme = run.config.deploy[deployment].simulated_by()
    if scheme is None:
        return {**start, "weights, activations and export": shipped}
    full = TorchDeployment(backend="torch", weights=scheme, simulated=True)
    together = (simulation(scheme.name), full)
    if scheme.in_blocks:
        return {**start, "weights and activations": together, "export": shipped}
    if not scheme.activated:
        return {**start, "weights": together, "export": shipped}
    alone = (simulation(scheme.name, activations=False), full.model_copy(update={"activations": False}))
    return {**start, "weights": alone, "activations": together, "export": shipped}


def _outputs(precision: str) -> dict[str, Comparison]:
    """Return, by component, the comparison that adds it to the shipped file's embeddings."""
    if precision == PLAIN.precision:
        return {}
    rounded = Comparison(precision, "dequantized", "corpus")
    comparisons = {"output rounding": rounded}
    if precision in RANGED:
        comparisons["range mismatch"] = rounded._replace(ranges="per_call")
    comparisons["scorer"] = Comparison(precision, *SCORER)
    return comparisons


def _plan_parts(planner: Planner, run: Run, variant: str, config: Deployment) -> dict[str, Part]:
    """Return the encoding of a variant by task; encodings that the run has already are reused."""
    deployed, parts = plan_deployment(planner, run, variant, config), {}
    for task in (name for name, kind in run.kinds.items() if kind == "retrieval"):
        float_encoding = planner.artifacts[run.encoded[float_deployment(run), task]]
        inputs = {"deploy": deployed, "task": float_encoding.inputs["task"]}
        encode = plan_encoding(planner, run, variant, inputs, task)
        parts[task] = run.parts.setdefault(encode, Part(deploy=variant, task=task, deployed=deployed, encode=encode))
    return parts


def _step(
    planner: Planner, run: Run, component: str, how: Comparison, parts: dict[str, Part], compared: list[Comparison]
) -> Step:
    """Return the step of a component. Comparisons that differ only in precision are scored in one job."""
    precisions = [other.precision for other in compared if other[1:] == how[1:]]
    config, scores = _evaluation(run.config, precisions, how), {}
    for task, part in parts.items():
        scores[task] = plan_score(planner, run, (part.deploy, task), part.encode, config)
        planned = run.parts[part.encode].scores
        all_scores = tuple(dict.fromkeys([*planned, scores[task]]))
        run.parts[part.encode] = part.model_copy(update={"scores": all_scores})
    return Step(component=component, output=_output(run.config, how), scores=scores)


def _evaluation(config: RunConfig, precisions: list[str], how: Comparison) -> EvaluateConfig:
    """Return the evaluation of one comparison: the study's first metric, on the model's own axes, without rescoring."""
    evaluate = config.evaluate
    values = {
        "metrics": evaluate.metrics[:1],
        "precisions": precisions,
        "scoring": [how.scoring],
        "ranges": [how.ranges],
    }
    unchanged = evaluate.model_dump(include={"similarity", "range_kind", "range_limit"})
    return EvaluateConfig.model_validate({**values, **unchanged})


def _output(config: RunConfig, how: Comparison) -> str:
    (output,) = outputs(_evaluation(config, [how.precision], how))
    return output.name
