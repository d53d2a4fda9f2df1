"""Plan of the comparisons of bits: each trained run with the baseline, and the seeds of the baseline with one another."""

from itertools import combinations

from qatlab.deployments.torch import TorchDeployment
from qatlab.plan.artifacts import Nothing, Planner
from qatlab.plan.runs import Run, of_model
from qatlab.quantization.precisions import is_binary, sides

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
    references = [run for run in runs if run.config.method.name == baseline and run.config.method.rotation is None]
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
    if not method.train or method.rotation is not None or method.name == references[0].config.method.name:
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
