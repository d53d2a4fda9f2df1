"""Comparisons of a study: the bits of runs, the components of a decomposition, published results, and the study's answers."""

import csv
import math
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

from qatlab.config.evaluate import EvaluateConfig
from qatlab.deployments.deployment import Deployment
from qatlab.deployments.torch import TorchDeployment
from qatlab.errors import UserError, unknown
from qatlab.evaluation.outputs import outputs
from qatlab.plan.artifacts import Nothing, Planner
from qatlab.plan.runs import Run, float_deployment, of_model, plan_deployment, plan_encoding, plan_score
from qatlab.quantization.precisions import RANGED, is_binary, sides
from qatlab.study.config import RunConfig
from qatlab.study.record import AnswerConfig, Chain, Part, Step
from qatlab.tables.names import FROM_FLOAT, PUBLISHED_COLUMNS, PUBLISHED_TABLES, simulation


@dataclass(frozen=True)
class Published:
    """Published results that a study's tables show beside its own.

    Attributes:
        file: CSV file of the published results.
        stands_for: names in the file by the name at this scale; see `compose.stands_for`.
    """

    file: Path
    stands_for: dict[str, dict[str, object]]


def published_file(conf: Path, name: str) -> Path:
    """Return the path of a file of published results: in results/published, beside the folder of configurations."""
    return conf.parent / "results" / "published" / f"{name}.csv"


def check_published(conf: Path, name: str, matrix: list[str]) -> Path:
    """Check a file of published results, and return its path.

    Args:
        conf: folder of the configuration files.
        name: name of the file, without .csv.
        matrix: keys of the study's matrix; those besides method and seed may be columns.

    Raises:
        UserError: for a missing file, or one whose columns or values a table cannot show.
    """
    path = published_file(conf, name)
    if not path.parent.is_dir():
        raise UserError(
            f"study.published is '{name}', and the folder {path.parent} is missing; in a clone, restore it by "
            "`git restore results/published`, or set study.published=null"
        )
    if not path.is_file():
        raise unknown("study.published", name, sorted(file.stem for file in path.parent.glob("*.csv")))
    with path.open(newline="", encoding="utf-8") as stream:
        rows = csv.DictReader(stream)
        columns = list(rows.fieldnames or [])
        _check_columns(path, columns, [key for key in matrix if key not in ("method", "seed")])
        for row in rows:
            _check_row(f"{path}, line {rows.line_num}", row)
    return path


def _check_columns(path: Path, columns: list[str], varied: list[str]) -> None:
    for column in PUBLISHED_COLUMNS:
        if column not in columns:
            raise UserError(f"{path} has no column '{column}'; it needs {', '.join(PUBLISHED_COLUMNS)}")
    for column in columns:
        if column not in (*PUBLISHED_COLUMNS, "note", *varied):
            raise UserError(
                f"{path}: column '{column}' is not a key of the study's matrix; besides {', '.join(PUBLISHED_COLUMNS)}, a file can have "
                f"{', '.join(['note', *varied])}"
            )


def _check_row(where: str, row: dict[str, str]) -> None:
    if row["table"] not in PUBLISHED_TABLES:
        raise UserError(f"{where}: no table '{row['table']}'; valid: {', '.join(PUBLISHED_TABLES)}")
    if not row["source"]:
        raise UserError(f"{where}: a published result needs a source")
    try:
        finite = not row["value"] or math.isfinite(float(row["value"]))
    except ValueError:
        finite = False
    if not finite:
        raise UserError(f"{where}: value is '{row['value']}', not a number (leave it empty where none is published)")


Names = dict[str, dict[str, object]]


def planned_answers(answers: list[AnswerConfig], runs: list[Run], stands_for: Names) -> list[AnswerConfig]:
    """Return the answers that the study's runs provide; overrides may have removed a method, deployment or value.

    Args:
        answers: the answers of the study's file.
        runs: all runs of the study.
        stands_for: names in the study's file by the name at this scale; see `compose.stands_for`.

    Raises:
        UserError: for a name that the study's file does not have.
    """
    at_scale: Names = {key: {str(full): scaled for scaled, full in names.items()} for key, names in stands_for.items()}
    renamed = [_at_scale(answer, at_scale) for answer in answers]
    return [answer for answer in renamed if _has_runs(answer, runs)]


def _at_scale(answer: AnswerConfig, names: Names) -> AnswerConfig:
    for key in answer.where:
        if key not in names:
            raise UserError(
                f"study.answers: '{key}' is not a key of the study's matrix, or a scale changes the number of its values"
            )
    renamed = {
        "method": _name("method", answer.method, names),
        "against": _name("method", answer.against, names),
        "deploy": answer.deploy and _name("deploy", answer.deploy, names),
        "against_deploy": answer.against_deploy and _name("deploy", answer.against_deploy, names),
        "where": {key: _name(key, value, names) for key, value in answer.where.items()},
    }
    return answer.model_copy(update=renamed)


def _name(key: str, name: Any, names: Names) -> Any:
    if key not in names:  # not swept: all runs have the same one
        return name
    if str(name) not in names[key]:
        raise unknown(f"{key} in study.answers", name, names[key])
    return names[key][str(name)]


def _has_runs(answer: AnswerConfig, runs: list[Run]) -> bool:
    return all(
        any(
            run.config.method.name == method
            and (not deploy or deploy in run.config.deploy)
            and all(str(run.cell.get(key)) == str(value) for key, value in answer.where.items())
            for run in runs
        )
        for method, deploy in (
            (answer.method, answer.deploy),
            (answer.against, answer.against_deploy or answer.deploy),
        )
    )


COMPARED_KINDS = ("retrieval", "reranking")
PLAIN = TorchDeployment(backend="torch")


def plan_bit_changes(planner: Planner, runs: list[Run], baseline: str) -> None:
    """Plan the comparisons of bits, where the study trains for quantized embeddings and scores bits beside a baseline.

    Each trained run is compared with the baseline of the same seed and otherwise equal cell, and each run of a trained baseline with
    those of its later seeds. Methods that append a rotation are left out: their bits belong to other axes.

    Args:
        planner: collection to which the artifacts are added.
        runs: all runs of the study, whose `bit_changes` are filled in.
        baseline: the study's baseline method.
    """
    references = [run for run in runs if run.config.method.name == baseline and not run.config.appends_a_layer]
    deployment = bits_deployment(runs[0])
    if not references or deployment is None or not _trains_for_bits_it_scores(runs):
        return
    for run in runs:
        reference = _reference(run, references)
        if reference is not None:
            _compare(planner, run, reference, deployment)
    for first, second in combinations(references, 2):
        if _otherwise_equal(first, second, seed=False):
            _compare(planner, first, second, deployment)


def bits_deployment(run: Run) -> str | None:
    """Return the deployment whose bits are compared, if any.

    It is the first plain float32 one in PyTorch, or else the first on the model's own axes.
    """
    on_own_axes = [name for name, config in run.config.deploy.items() if not config.rotated]
    plain = [name for name in on_own_axes if run.config.deploy[name] == PLAIN]
    return next(iter([*plain, *on_own_axes]), None)


def _trains_for_bits_it_scores(runs: list[Run]) -> bool:
    trained_for = any(run.config.method.embedding_quantization is not None for run in runs)
    scored = runs[0].config.evaluate.precisions  # all runs are evaluated alike
    return trained_for and any(is_binary(side) for name in scored for side in sides(name))


def _reference(run: Run, references: list[Run]) -> Run | None:
    """Return the baseline's run that matches a trained run of another method, or None."""
    method = run.config.method
    if not method.train or run.config.appends_a_layer or method.name == references[0].config.method.name:
        return None
    return next((other for other in references if _otherwise_equal(run, other)), None)


def _otherwise_equal(run: Run, reference: Run, seed: bool = True) -> bool:
    """Return whether two cells differ only in the method, or, if `seed` is false, only in the seed.

    An untrained reference does not depend on the seed and the training, so that only keys of the model are compared.
    """
    trained = reference.config.method.train
    if trained and (run.config.seed == reference.config.seed) is not seed:
        return False
    keys = [key for key in run.cell if key not in ("method", "seed") and (trained or of_model(key))]
    return all(run.cell[key] == reference.cell[key] for key in keys)


def _compare(planner: Planner, run: Run, reference: Run, deployment: str) -> None:
    for task, kind in run.kinds.items():
        if kind in COMPARED_KINDS:
            run.bit_changes[reference.name, deployment, task] = planner.add(
                "bit_changes",
                f"{run.name}-{deployment}-{task}",
                Nothing(),
                {"reference": reference.encoded[deployment, task], "encode": run.encoded[deployment, task]},
                f"{run.name} · {deployment} against {reference.name} · {task}",
            )


# Decomposition of the cost of quantization: variants of one trained model between its float deployment and the shipped one.
#
# Each variant adds one component to the previous one, so that the differences of neighbours sum to the total loss of quality:
# float; quantized weights; quantized activations; the shipped file; rounded embeddings; ranges fitted to queries and documents
# separately; the comparison of codes in published evaluations.

PRECISIONS = ("int8", "binary")  # precisions that are decomposed, where the study scores them


class Comparison(NamedTuple):
    """Storage and comparison of embeddings: one value for each of these fields of EvaluateConfig."""

    precision: str
    scoring: str
    ranges: str


PLAIN_COMPARISON = Comparison("float32", "dequantized", "corpus")
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
    compared = list(dict.fromkeys([PLAIN_COMPARISON, *(how for added in stored.values() for how in added.values())]))
    for precision, added in stored.items():
        steps = [
            *(
                _step(
                    planner,
                    run,
                    component,
                    PLAIN_COMPARISON,
                    by_task,
                    compared if by_task is shipped else [PLAIN_COMPARISON],
                )
                for component, by_task in parts.items()
            ),
            *(_step(planner, run, component, how, shipped, compared) for component, how in added.items()),
        ]
        run.chains.append(Chain(deploy=deployment, precision=precision, steps=tuple(steps)))


def _precisions(config: RunConfig) -> list[str]:
    """Return the precisions of the study that are decomposed, in its order; float32 where there is none."""
    return [name for name in config.evaluate.precisions if name in PRECISIONS] or [PLAIN_COMPARISON.precision]


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
    if precision == PLAIN_COMPARISON.precision:
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
