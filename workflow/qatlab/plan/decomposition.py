"""What quantization costs, component by component: the forms of one trained model between its float self and what is shipped.

Each form adds one component to the one before, so that the differences of neighbours add up to the whole drop:
float; weights quantized; activations too; the shipped file; its embeddings rounded; with ranges of each side; as published
evaluations compare them.
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

PRECISIONS = ("int8", "binary")  # of outputs that are decomposed, where the study scores them


class Comparison(NamedTuple):
    """How embeddings are stored and compared: fields of EvaluateConfig, one value each."""

    precision: str
    scoring: str
    ranges: str


PLAIN = Comparison("float32", "dequantized", "corpus")
# To start from, where the study refers to no float deployment.
TRAINED = ("torch_fp32", TorchDeployment(backend="torch"))
# How published evaluations compare what is stored: codes as numbers, bits as 0 and 1, documents relevant or not.
SCORER = ("sentence_transformers_compat", "per_call")


def check_decomposition(runs: list[Run]) -> None:
    """Raises UserError for entries that name no method or deployment of the study, or nothing that is quantized."""
    entries = runs[0].config.study.decomposition
    if entries and "retrieval" not in runs[0].kinds.values():
        raise UserError("study.decomposition is of retrieval, and the study has no such task; add one, or leave it out")
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
                f"those that do: {', '.join(fitting) or 'none in this study'}"
            )


def plan_decomposition(planner: Planner, run: Run) -> None:
    """Adds to a run the chains that its study asks for, and what they are made from beyond its own deployments."""
    for entry in run.config.study.decomposition:
        method, _, deployment = entry.partition("/")
        if method == run.config.method.name:
            _plan_chains(planner, run, deployment)


def _plan_chains(planner: Planner, run: Run, deployment: str) -> None:
    parts = {
        component: _plan_parts(planner, run, name, config)
        for component, (name, config) in _forms(run, deployment).items()
    }
    shipped = list(parts.values())[-1]
    stored = {precision: _outputs(precision) for precision in _precisions(run.config)}
    compared = list(dict.fromkeys([PLAIN, *(how for added in stored.values() for how in added.values())]))
    for precision, added in stored.items():
        steps = [
            *(
                _step(planner, run, component, PLAIN, of_form, compared if of_form is shipped else [PLAIN])
                for component, of_form in parts.items()
            ),
            *(_step(planner, run, component, how, shipped, compared) for component, how in added.items()),
        ]
        run.chains.append(Chain(deploy=deployment, precision=precision, steps=tuple(steps)))


def _precisions(config: RunConfig) -> list[str]:
    """What embeddings are rounded to, in the order of the study; float32 where it rounds to nothing that is decomposed."""
    return [name for name in config.evaluate.precisions if name in PRECISIONS] or [PLAIN.precision]


def _forms(run: Run, deployment: str) -> dict[str, tuple[str, Deployment]]:
    """By component: the name of the form that adds it, and how it is made; the last is what is shipped."""
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
    """By component: what storing and comparing codes adds to the shipped file's embeddings."""
    if precision == PLAIN.precision:
        return {}
    rounded = Comparison(precision, "dequantized", "corpus")
    found = {"output rounding": rounded}
    if precision in RANGED:
        found["range mismatch"] = rounded._replace(ranges="per_call")
    found["scorer"] = Comparison(precision, *SCORER)
    return found


def _plan_parts(planner: Planner, run: Run, form: str, config: Deployment) -> dict[str, Part]:
    """By task: a form's encoding. The study's own deployments, and what a run was trained in, are there already."""
    deployed, found = plan_deployment(planner, run, form, config), {}
    for task in (name for name, kind in run.kinds.items() if kind == "retrieval"):
        of_float = planner.artifacts[run.encoded[float_deployment(run), task]]
        inputs = {"deploy": deployed, "task": of_float.inputs["task"]}
        encode = plan_encoding(planner, run, form, inputs, task)
        found[task] = run.parts.setdefault(encode, Part(deploy=form, task=task, deployed=deployed, encode=encode))
    return found


def _step(
    planner: Planner, run: Run, component: str, how: Comparison, of_form: dict[str, Part], compared: list[Comparison]
) -> Step:
    """A component's step. What a form is compared in that differs in precision alone is scored in one job."""
    precisions = [other.precision for other in compared if other[1:] == how[1:]]
    config, scores = _evaluation(run.config, precisions, how), {}
    for task, part in of_form.items():
        scores[task] = plan_score(planner, run, (part.deploy, task), part.encode, config)
        known = run.parts[part.encode].scores
        together = tuple(dict.fromkeys([*known, scores[task]]))
        run.parts[part.encode] = part.model_copy(update={"scores": together})
    return Step(component=component, output=_output(run.config, how), scores=scores)


def _evaluation(config: RunConfig, precisions: list[str], how: Comparison) -> EvaluateConfig:
    """The study's evaluation, but for what is decomposed: one metric, on the model's own axes, without rescoring."""
    asked = config.evaluate
    values = {"metrics": asked.metrics[:1], "precisions": precisions, "scoring": [how.scoring], "ranges": [how.ranges]}
    kept = asked.model_dump(include={"similarity", "range_kind", "range_limit"})
    return EvaluateConfig.model_validate({**values, **kept})


def _output(config: RunConfig, how: Comparison) -> str:
    (made,) = outputs(_evaluation(config, [how.precision], how))
    return made.name
