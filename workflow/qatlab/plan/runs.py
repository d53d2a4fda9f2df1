"""Runs: the artifacts of one cell of the matrix, and the record of a run for tables and plots."""

from dataclasses import dataclass, field
from pathlib import Path

from qatlab.config.evaluate import EvaluateConfig
from qatlab.config.method import MethodConfig
from qatlab.config.model import EncodeTrainingConfig, ModelConfig
from qatlab.config.trainer import check_batches
from qatlab.deployments.deployment import Deployment
from qatlab.deployments.torch import TorchDeployment
from qatlab.errors import UserError, printable
from qatlab.evaluation.outputs import outputs
from qatlab.evaluation.task import Kind
from qatlab.families.family import Family, family_of
from qatlab.job import START
from qatlab.plan.artifacts import (
    Nothing,
    Planner,
    data_origin,
    engine_origin,
    model_origin,
    task_kind,
    task_origin,
    texts_origin,
    training_rows,
)
from qatlab.registry import Strict, distribution
from qatlab.sources.source import RowCounts, Source, check_count
from qatlab.study.config import DriftTexts, RunConfig
from qatlab.study.record import Chain, Evaluation, Part, RunRecord
from qatlab.tables.names import is_simulation, simulation
from qatlab.tasks.task import Task

# The method and the deployment whose embeddings a head is trained on, by their names in a study that lists them.
UNTRAINED, FLOAT = "untrained", "torch_fp32"


@dataclass
class Run:
    """Run of one cell of the matrix: its name in tables, and the paths of its artifacts."""

    name: str
    cell: dict[str, object]
    config: RunConfig
    trained: str
    family: Family
    deployed: dict[str, str] = field(default_factory=dict)  # deployment → path
    encoded: dict[tuple[str, str], str] = field(default_factory=dict)  # (deployment, task or set of texts) → path
    scored: dict[tuple[str, str], str] = field(default_factory=dict)  # (deployment, task) → path
    training: dict[str, str] = field(default_factory=dict)  # deployment → path of its encoding of training documents
    kinds: dict[str, Kind] = field(default_factory=dict)  # task → its kind
    references: dict[str, tuple[str, str]] = field(default_factory=dict)  # reference of drift → run and deployment
    drifted: dict[tuple[str, str, str], str] = field(
        default_factory=dict
    )  # (reference, deployment, task or texts) → path
    bit_changes: dict[tuple[str, str, str], str] = field(
        default_factory=dict
    )  # (name of the run compared with, deployment, task) → path
    engines: dict[tuple[str, str, str], str] = field(default_factory=dict)  # (engine, deployment, task) → path
    chains: list[Chain] = field(default_factory=list)  # chains of the study's decomposition
    parts: dict[str, Part] = field(default_factory=dict)  # path of an encoding → its part in the chains

    @property
    def tasks(self) -> dict[str, str]:
        """Return the role of each task and set of texts among the inputs of an encoding."""
        return dict.fromkeys(self.config.task, "task") | dict.fromkeys(self.config.texts, "texts")


def plan_run(planner: Planner, cell: dict[str, object], config: RunConfig) -> Run:
    """Plan the run of a cell, without its drift, which may refer to other runs.

    Args:
        planner: collection to which the artifacts are added.
        cell: value of each key of the matrix.
        config: configuration of the run.

    Raises:
        UserError: for tasks on which models of its family are not evaluated, and for too few rows of training data.
    """
    family = family_of(config.model.kind)
    model = plan_model(planner, config.model)
    trained, name = model, run_name(cell, config)
    if config.method.train:
        trained = plan_training(planner, cell, config, model)
    run = Run(name, cell, config, trained, family)
    for deployment in config.deploy:
        run.deployed[deployment] = plan_deployment(planner, run, deployment, config.deploy[deployment])
    scheme = config.method.weights
    if scheme is not None and family.has_embeddings and config.study.parity:
        as_trained = TorchDeployment(backend="torch", weights=scheme, simulated=True)
        run.deployed[simulation(scheme.name)] = plan_deployment(planner, run, simulation(scheme.name), as_trained)
    for task, role in run.tasks.items():
        _plan_task(planner, run, task, role)
    return run


def plan_training(planner: Planner, cell: dict[str, object], config: RunConfig, model: str) -> str:
    """Plan the training of a method, and before it the one that it starts from, and return its path.

    The first training is that of a run of the study with the same method, if there is one.

    Args:
        planner: collection to which the artifacts are added.
        cell: value of each key of the matrix.
        config: configuration of the run.
        model: path of the base model.

    Raises:
        UserError: for too few rows of training data.
    """
    family, name = family_of(config.model.kind), run_name(cell, config)
    start = {} if config.first is None else {START: plan_training(planner, cell, config.first, model)}
    data = plan_data(planner, config.training_data)
    check_rows(planner, config)
    embeddings = _plan_embeddings_of_head(planner, cell, config, start.get(START, model))
    slug = f"{Path(config.model.name).name}-{config.data.name}-{name}"
    package = distribution(type(config.method.loss)) or None
    inputs = {"model": model, "data": data, **start, **embeddings}
    return planner.add("train", slug, family.training(config), inputs, name, package, family=family.name)


def _plan_embeddings_of_head(
    planner: Planner, cell: dict[str, object], config: RunConfig, model: str
) -> dict[str, str]:
    """Plan the embeddings that a method's head is trained on, in PyTorch, and return their paths by role.

    They are those of the run without training, or of the method that it starts from, where the study has it: the embeddings of documents
    (`corpus_TASK`), and of training pairs (`pairs`). A method without a head has none.

    Args:
        planner: collection to which the artifacts are added.
        cell: value of each key of the matrix.
        config: configuration of the run.
        model: path of the model to which the head is appended: the base model, or the first training.
    """
    head, data = config.method.head, config.training_data
    if head is None:
        return {}
    config = config.first or config.model_copy(update={"method": MethodConfig(name=UNTRAINED, train=False)})
    run = Run(run_name(cell, config), cell, config, model, family_of(config.model.kind))
    deployed = plan_deployment(planner, run, FLOAT, TorchDeployment(backend="torch"))
    inputs = {}
    if head.fitted_on != "corpus":
        texts = {"deploy": deployed, "pairs": plan_data(planner, data)}
        rows = EncodeTrainingConfig(**config.encode.model_dump(), rows=head.rows)
        slug, label = f"{run.name}-{FLOAT}-pairs", f"{run.name} · {FLOAT} · training pairs"
        inputs["pairs"] = planner.add("encode", slug, rows, texts, label, family=run.family.name)
    for task in config.task if head.fitted_on != "pairs" else []:
        texts = {"deploy": deployed, "task": _plan_texts(planner, run, task, "task")}
        inputs[f"corpus_{task}"] = plan_encoding(planner, run, FLOAT, texts, task)
    return inputs


def check_rows(planner: Planner, config: RunConfig) -> None:
    """Raise UserError for training data with too few rows, or too few distinct texts for a batch, if they can be counted already."""
    data = config.training_data
    row_counts = planner.origin(training_rows, data)
    if row_counts is not None:
        counts = RowCounts(*row_counts)  # a bundle has them as a list
        check_count(data.name, counts.rows, data.rows, data.skip)
        if family_of(config.model.kind).has_embeddings:
            check_batches(counts.kept, counts.distinct, config.trainer)


def plan_model(planner: Planner, config: ModelConfig) -> str:
    """Plan the base model, and return its path."""
    origin = planner.origin(model_origin, config)
    changed = "-static" * (config.kind == "static")
    changed += {None: "", True: "-normalized", False: "-unnormalized"}[config.normalize]
    return planner.add("model", Path(config.name).name + changed, config, {}, config.name + changed, origin)


def _plan_task(planner: Planner, run: Run, task: str, role: str) -> None:
    """Plan the encodings and, for a task, the scores of every deployment. The simulated deployment encodes only tasks."""
    config = run.config
    task_path = _plan_texts(planner, run, task, role)
    if role == "task":
        kind = run.kinds[task] = task_kind(config.task[task], planner.artifacts[task_path].origin)
        if kind not in run.family.kinds:
            *others, last = run.family.kinds
            raise UserError(
                f"task '{task}' is of kind {kind}, and model '{config.model.name}' is {run.family.in_words}; choose tasks of kind "
                f"{', '.join(others)} or {last}"
            )
    for deployment, deployed in run.deployed.items():
        if is_simulation(deployment) and role == "texts":
            continue
        encoded = plan_encoding(planner, run, deployment, {"deploy": deployed, role: task_path}, task)
        run.encoded[deployment, task] = encoded
        if role == "task" and not is_simulation(deployment):
            scoring = run.family.scoring(config)
            run.scored[deployment, task] = plan_score(planner, run, (deployment, task), encoded, scoring)
            if run.kinds[task] == "retrieval" and run.family.has_embeddings:
                plan_engines(planner, run, (deployment, task), encoded)


def _plan_texts(planner: Planner, run: Run, task: str, role: str) -> str:
    """Plan a task or a set of texts, by its role, and return its path."""
    config = run.config
    section, lookup = (config.task[task], task_origin) if role == "task" else (config.texts[task], texts_origin)
    searcher = _searcher(planner, config.task[task]) if role == "task" else {}
    return planner.add(role, task, section, searcher, task, planner.origin(lookup, section), called=task)


def plan_encoding(planner: Planner, run: Run, deployment: str, inputs: dict[str, str], task: str) -> str:
    """Plan the encoding of a task or set of texts by a deployed model, and return its path.

    Args:
        planner: collection to which the artifact is added.
        run: run of the model.
        deployment: name of the deployment.
        inputs: paths of the deployed model (`deploy`), and of the texts by their role.
        task: name of the task or set of texts.
    """
    slug, label = f"{run.name}-{deployment}-{task}", f"{run.name} · {deployment} · {task}"
    return planner.add("encode", slug, run.family.encoding(run.config), inputs, label, family=run.family.name)


def plan_score(planner: Planner, run: Run, pair: tuple[str, str], encoded: str, config: Strict | None) -> str:
    """Plan the scores of an encoding, and return their path.

    Args:
        planner: collection to which the artifacts are added.
        run: run of the model.
        pair: deployment and task of the encoding.
        encoded: path of the encoding.
        config: settings of the evaluation; None where it has none.
    """
    encoding_inputs = planner.artifacts[encoded].inputs
    inputs = {"encode": encoded, "task": encoding_inputs["task"]}
    if isinstance(config, EvaluateConfig) and _fits_on_training(config, run.kinds[pair[1]]):
        inputs["training"] = run.training[pair[0]] = _plan_training(planner, run, pair[0], encoding_inputs["deploy"])
    label, slug = " · ".join([run.name, *pair]), "-".join([run.name, *pair])
    packages: dict[str, str] = {}  # versions of the installed packages that define the metrics
    for metric in config.metric_classes() if isinstance(config, EvaluateConfig) else []:
        packages |= distribution(metric)
    return planner.add("score", slug, config or Nothing(), inputs, label, packages or None, family=run.family.name)


def plan_engines(planner: Planner, run: Run, pair: tuple[str, str], encoded: str) -> None:
    """Plan what each engine of the evaluation makes of an encoding.

    Args:
        planner: collection to which the artifacts are added.
        run: run of the model, whose `engines` is filled in.
        pair: deployment and task of the encoding.
        encoded: path of the encoding.
    """
    evaluate, encoding_inputs = run.config.evaluate, planner.artifacts[encoded].inputs
    for engine in evaluate.engines:
        # Ranges of the documents are what an index has; those of queries do not matter.
        ranges = "corpus" if evaluate.ranges[0] == "per_call" else evaluate.ranges[0]
        config = EvaluateConfig(
            metrics=evaluate.metrics,
            similarity=evaluate.similarity,
            ranges=[ranges],
            range_kind=evaluate.range_kind,
            range_limit=evaluate.range_limit,
            engines=[engine],
        )
        inputs = {"encode": encoded, "task": encoding_inputs["task"]}
        if ranges == "training":
            inputs["training"] = _plan_training(planner, run, pair[0], encoding_inputs["deploy"])
        slug, label = "-".join([run.name, *pair, engine.engine]), " · ".join([run.name, *pair, engine.engine])
        origin = dict(planner.origin(engine_origin, engine))
        for metric in config.metric_classes():
            origin |= distribution(metric)
        run.engines[engine.engine, *pair] = planner.add("engine", slug, config, inputs, label, origin)


def _fits_on_training(config: EvaluateConfig, kind: Kind) -> bool:
    """Return whether ranges or axes of a task's outputs are fitted on embeddings of training documents."""
    axes_on_training = any(output.rotation.fitted_on == "training" for output in outputs(config, kind))
    return axes_on_training or "training" in config.ranges


def _searcher(planner: Planner, task: Task) -> dict[str, str]:
    """Return the model that mines hard negatives, as an input of the task; empty for a task without mining."""
    mining = task.mines_with()
    return {"model": plan_model(planner, mining.searcher)} if mining else {}


def _plan_training(planner: Planner, run: Run, deployment: str, deployed: str) -> str:
    """Plan a deployment's embeddings of training documents, on which ranges or axes are fitted, and return their path."""
    config = run.config
    documents = EncodeTrainingConfig(**config.encode.model_dump(), rows=config.evaluate.range_rows)
    inputs = {"deploy": deployed, "data": plan_data(planner, config.data)}
    label = f"{run.name} · {deployment} · training documents"
    slug = f"{run.name}-{deployment}-training"
    return planner.add("encode", slug, documents, inputs, label, family=run.family.name)


def plan_drift(planner: Planner, run: Run, runs: list[Run]) -> None:
    """Plan the drift of every deployment of a run from every reference.

    A run with quantized weights has its forward pass in training (the simulated deployment) as another reference.

    Args:
        planner: collection to which the artifacts are added.
        run: run whose `references` and `drifted` are filled in.
        runs: all runs of the study, to which references may refer.

    Raises:
        UserError: for a reference to a method without a matching run.
    """
    references = {name: _reference(name, run, runs) for name in run.config.drift.references}
    references |= {name: (run, name) for name in run.deployed if is_simulation(name)}
    run.references = {name: (other.name, deployed) for name, (other, deployed) in references.items()}
    for reference, (other, deployed) in references.items():
        for deployment, config in run.config.deploy.items():
            if run.deployed[deployment] == other.deployed[deployed] or config.rotated:
                continue
            for task, role in run.tasks.items():
                if (deployed, task) not in other.encoded:
                    continue
                inputs = {"reference": other.encoded[deployed, task], "encode": run.encoded[deployment, task]}
                if role == "task":
                    inputs["task"] = planner.artifacts[run.encoded[deployment, task]].inputs["task"]
                run.drifted[reference, deployment, task] = planner.add(
                    "drift",
                    f"{run.name}-{deployment}-{task}",
                    DriftTexts(texts=run.config.drift.texts, limit=run.config.drift.limit),
                    inputs,
                    f"{run.name} · {deployment} against {reference} · {task}",
                )


def _reference(name: str, run: Run, runs: list[Run]) -> tuple[Run, str]:
    """Return the run and deployment to which a reference such as 'torch_fp32' or 'baseline/torch_fp32' refers."""
    method, _, deployment = name.rpartition("/")
    if not method:
        return run, deployment
    varied = {key: value for key, value in run.cell.items() if key not in ("method", "seed")}
    for other in runs:
        equal_seed = (
            not other.config.method.train or not run.config.method.train or other.config.seed == run.config.seed
        )
        if other.config.method.name == method and varied.items() <= other.cell.items() and equal_seed:
            return other, deployment
    raise UserError(
        f"drift.reference '{name}': the study has no run of method '{method}' that matches run '{run.name}'"
    )


def plan_data(planner: Planner, config: Source) -> str:
    """Plan training data, and return their path."""
    return planner.add("data", config.name, config, {}, config.name, planner.origin(data_origin, config))


def plan_deployment(planner: Planner, run: Run, deployment: str, config: Deployment) -> str:
    """Plan a deployment of a run's model, and return its path.

    Deployments that are made from an ONNX file share the float one, which is exported once, even if the study does not list it.

    Args:
        planner: collection to which the artifacts are added.
        run: run of the model.
        deployment: name of the deployment.
        config: settings of the deployment.
    """
    inputs = {"model": run.trained}
    plain = config.made_from()
    if plain is not None:
        label = f"{run.name} · {plain.backend}"
        slug = f"{run.name}-{plain.backend}"
        inputs["float"] = _add_deployment(planner, run, slug, plain, {"model": run.trained}, label)
    if config.needs_texts:
        inputs["data"] = plan_data(planner, run.config.data)
    slug = f"{run.name}-{config.backend if config.exported and plain is None else deployment}"
    return _add_deployment(planner, run, slug, config, inputs, f"{run.name} · {deployment}")


def _add_deployment(
    planner: Planner, run: Run, slug: str, config: Deployment, inputs: dict[str, str], label: str
) -> str:
    """Add a deployment, whose fingerprint includes the version of the installed package that registers its class."""
    package = distribution(type(config)) or None
    return planner.add("deploy", slug, config, inputs, label, package, family=run.family.name)


def run_name(cell: dict[str, object], config: RunConfig) -> str:
    """Return the name of a run: the method, the other varied keys of the matrix, and the seed, safe in a path.

    An untrained model does not depend on the seed and the training: its name has only the keys of the model.
    """
    trained = config.method.train
    parts = [config.method.name]
    for key, value in cell.items():
        if key not in ("method", "seed") and (trained or of_model(key)):
            parts.append(f"{key.rpartition('.')[2]}={printable(value)}")
    return "-".join([*parts, *([f"seed={config.seed}"] if trained else [])])


def of_model(key: str) -> bool:
    """Return whether a key of the matrix changes the base model: `model`, or a key below it such as `model.max_seq_length`."""
    return key.partition(".")[0] == "model"


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
        head_fitted_on=run.config.method.head.fitted_on if run.config.method.head else None,
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
        engines={name: path for (name, *other), path in run.engines.items() if tuple(other) == pair},
    )
