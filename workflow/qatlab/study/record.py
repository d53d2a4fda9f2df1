"""The record of a study: what the plan writes, and tables, plots, cards and pages read.

A record is frozen and versioned, and goes to and from JSON: `results/plan/study/NAME.json` holds it under `config`. Paths in it are
relative to the results folder.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from qatlab.base import Line, Strict, VariantName
from qatlab.config.evaluate import EvaluateConfig
from qatlab.config.kind import Kind

VERSION: Literal[1] = 1


class AnswerConfig(Strict):
    """A comparison that answers a study's question, by names as the study's file has them."""

    method: VariantName
    against: Annotated[VariantName, Field(description="Another method, or the same method deployed otherwise")] = (
        "baseline"
    )
    deploy: Annotated[Line, Field(description="The deployment whose scores are compared")] = ""
    against_deploy: Annotated[
        Line | None, Field(description="The deployment of the other method, if it is a different one")
    ] = None
    precision: Annotated[Line, Field(description="Output precision, as tables call it")] = "float32"
    figure: Annotated[
        Literal["score", "peak_memory_bytes", "seconds_per_step", "train_seconds"],
        Field(description="The study's main metric, or a cost of training"),
    ] = "score"
    where: Annotated[dict[str, object], Field(description="Values of other keys of the matrix")] = {}

    @model_validator(mode="after")
    def _scores_are_of_a_deployment(self) -> "AnswerConfig":
        if self.figure == "score" and not self.deploy:
            raise ValueError("an answer by scores needs deploy: which deployment's")
        return self


class Evaluation(Strict):
    """One pass of a run's deployed model over a task or a set of texts.

    Attributes:
        encode, score: paths of the encoding and of its scores; a set of texts has no scores.
        training: path of the encoding of training documents that ranges or axes were fitted on.
        drift: paths of the comparisons with a reference's embeddings, by reference.
        bit_changes: paths of the comparisons of bits, by the name of the other run.
    """

    deploy: str
    task: str
    encode: str
    score: str | None = None
    training: str | None = None
    drift: dict[str, str] = {}
    bit_changes: dict[str, str] = {}


class Step(Strict):
    """One component of a decomposition, and the scores of the model that has it and all components before.

    Attributes:
        component: its name in tables.
        output: how embeddings are compared, as columns of per_query.parquet name it.
        scores: paths of the scores, by task.
    """

    component: str
    output: str
    scores: dict[str, str]


class Chain(Strict):
    """The steps of a decomposition, from the float model to one deployment whose embeddings are stored at one precision."""

    deploy: str
    precision: str
    steps: tuple[Step, ...]


class Part(Strict):
    """An encoding that chains are made from: its deployed model, its task, and the paths of all scores of its embeddings."""

    deploy: str
    task: str
    deployed: str
    encode: str
    scores: tuple[str, ...] = ()


class RunRecord(Strict):
    """One run of a study: its labels in tables, and the paths of its artifacts.

    Attributes:
        name: of the run, unique in the study.
        seed: None for an untrained model.
        varied: values of the matrix's other keys, by column (`matrix.KEY`).
        trains_for: the precisions in the loss of its method.
        scheme: the name of the scheme of weights that it is trained with; "none" without one.
        tuning: "full" or "LoRA-RANK"; empty for an untrained model.
        trained: path of the model, `train/…` or, untrained, `model/…`.
        deployed: paths of the deployed models, by deployment.
        matched: the deployments on the grid that its weights were trained for, and the name of the scheme.
        counterpart: the method that is quantized after training beside it: its own recipe without the scheme.
        references: the run and deployment that a reference of drift means, by reference.
        budgets: the deployments whose drift was compared with a budget.
        reduce_range: by deployment, whether its integer weights have 7 bits; None where it has none.
    """

    name: str
    method: str
    model: str = ""
    data: str = ""
    seed: int | None = None
    varied: dict[str, object] = {}
    trains_for: tuple[str, ...] = ()
    scheme: str = "none"
    tuning: str = ""
    trained: str = ""
    deployed: dict[str, str] = {}
    matched: dict[str, str] = {}
    counterpart: str | None = None
    references: dict[str, tuple[str, str]] = {}
    budgets: tuple[str, ...] = ()
    reduce_range: dict[str, bool | None] = {}
    evaluations: tuple[Evaluation, ...] = ()
    chains: tuple[Chain, ...] = ()
    parts: tuple[Part, ...] = ()

    @property
    def trains(self) -> bool:
        """Return whether the run has a model of its own."""
        return self.trained.startswith("train/")

    @property
    def cell(self) -> tuple[object, ...]:
        """Return the values of the matrix's other keys, in the order of the keys."""
        return tuple(self.varied.values())


class Axes(Strict):
    """The axes that embeddings are quantized on: their label in tables, and what they are in words."""

    label: str
    words: str


class StudyRecord(Strict):
    """A study at one of its scales, as the plan decided it.

    Attributes:
        name, title, scale, question: as in the study's file.
        baseline: the method that differences refer to.
        primary_metric: of retrieval.
        main_metrics: the metric that stands for a task, by task.
        kinds: by task.
        answers: the comparisons that answer the question, with names as they are at this scale.
        axes, chosen_axes: all axes of the study, and the labels of those that `evaluate.rotations` lists.
        stands_for: where tables show published figures: by matrix key, `task`, `texts` and `deploy`, the names in the study's file
            that names at this scale stand for.
        float_deployment: the deployment whose float embeddings others' losses are differences from.
        tables, plots: of installed packages, that the study requests.
        evaluate: how embeddings are scored; None where the study's models have none.
        views: the wide tables that the study has, once they are known.
    """

    version: Literal[1] = VERSION
    name: str
    title: str
    baseline: str
    primary_metric: str
    main_metrics: dict[str, str]
    kinds: dict[str, Kind]
    scale: str
    question: str | None = None
    answers: tuple[AnswerConfig, ...] = ()
    axes: tuple[Axes, ...] = ()
    chosen_axes: tuple[str, ...]
    stands_for: dict[str, dict[str, object]] | None = None
    float_deployment: str
    deployments: tuple[str, ...]
    tables: tuple[str, ...] = ()
    plots: tuple[str, ...] = ()
    evaluate: EvaluateConfig | None
    runs: tuple[RunRecord, ...]
    views: tuple[str, ...] = ()


class IncompleteRun(Strict):
    """A run that lacks artifacts: its name, `failed` or `not run`, and the first cause."""

    run: str
    status: str
    failure: str | None = None


class StudySummary(Strict):
    """study.json, which the page of all studies reads: what a study asks, how many runs it has, and which of them lack artifacts."""

    study: str
    title: str
    scale: str
    question: str | None = None
    runs: int
    incomplete: tuple[IncompleteRun, ...] = ()
