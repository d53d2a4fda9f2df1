"""The record of a study, which the plan writes, and its conclusion, which the stage `tables` writes.

Tables, plots, cards and pages read the record, which is frozen and versioned, and is stored as JSON under `config` in
`results/plan/study/NAME.json`. Its paths are relative to the results folder. The conclusion, conclusion.json beside study.json, says
what quantization costs, whether a recipe wins it back, and what to ship, in sentences and as data; the study's page, the terminal
and the command `gate` read it.
"""

import shutil
import textwrap
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from qatlab.artifact import read_json
from qatlab.config.evaluate import EvaluateConfig
from qatlab.evaluation.task import Kind
from qatlab.registry import Line, Strict, VariantName

VERSION: Literal[1] = 1
BUDGET = 0.01  # largest loss of what a study recommends, as a share of the best float result


class AnswerConfig(Strict):
    """Comparison that answers a study's question, with the names that the study's file uses."""

    method: Annotated[VariantName, Field(description="Method that is compared.")]
    against: Annotated[VariantName, Field(description="Other method, or the same method with another deployment.")] = (
        "baseline"
    )
    deploy: Annotated[Line, Field(description="Deployment whose scores are compared.")] = ""
    against_deploy: Annotated[Line | None, Field(description="Deployment of the other method, where it differs.")] = (
        None
    )
    precision: Annotated[Line, Field(description="Output precision, by its name in tables, such as `binary`.")] = (
        "float32"
    )
    figure: Annotated[
        Literal["score", "peak_memory_bytes", "seconds_per_step", "train_seconds"],
        Field(description="Main metric of the study (`score`), or a cost of training."),
    ] = "score"
    where: Annotated[dict[str, object], Field(description="Values of other keys of the matrix, by key.")] = {}

    @model_validator(mode="after")
    def _scores_are_of_a_deployment(self) -> "AnswerConfig":
        if self.figure == "score" and not self.deploy:
            raise ValueError("an answer that compares scores needs a deployment; set deploy")
        return self


class Evaluation(Strict):
    """Paths of the results of one run's deployed model on one task or set of texts.

    Attributes:
        encode, score: paths of the encoding and of its scores; None for a set of texts, which is not scored.
        training: path of the encoding of training documents that ranges or axes were fitted on.
        drift: paths of the comparisons with the embeddings of a reference, by reference.
        bit_changes: paths of the comparisons of bits, by the name of the other run.
        engines: paths of what vector search engines make of the encoding, by engine.
    """

    deploy: str
    task: str
    encode: str
    score: str | None = None
    training: str | None = None
    drift: dict[str, str] = {}
    bit_changes: dict[str, str] = {}
    engines: dict[str, str] = {}


class Step(Strict):
    """One component of a decomposition, and the scores of the model with this component and all earlier ones.

    Attributes:
        component: name of the component in tables.
        output: how embeddings are compared, named as the columns of per_query.parquet.
        scores: paths of the scores, by task.
    """

    component: str
    output: str
    scores: dict[str, str]


class Chain(Strict):
    """Steps of a decomposition, from the float model to one deployment whose embeddings are stored at one precision."""

    deploy: str
    precision: str
    steps: tuple[Step, ...]


class Part(Strict):
    """Encoding that chains refer to: its deployed model, its task, and the paths of all scores of its embeddings."""

    deploy: str
    task: str
    deployed: str
    encode: str
    scores: tuple[str, ...] = ()


class RunRecord(Strict):
    """One run of a study: its labels in tables, and the paths of its artifacts.

    Attributes:
        name: name of the run, unique in the study.
        seed: random seed of the run; None for an untrained model.
        varied: values of the matrix's other keys, by column (`matrix.KEY`).
        trains_for: the precisions in the method's loss.
        head_fitted_on: what the method's head was trained on, as in its configuration; None for a method without a head.
        scheme: the weight-quantization scheme that the run is trained with; "none" without one.
        tuning: "full" or "LoRA-RANK"; empty for an untrained model.
        trained: path of the model, `train/…` or, untrained, `model/…`.
        deployed: paths of the deployed models, by deployment.
        matched: name of the scheme, by deployment, for deployments on the grid that the weights were trained for.
        counterpart: its PTQ counterpart: the method with the same recipe without the scheme.
        references: the run and deployment that each reference of drift stands for.
        budgets: deployments whose drift is compared with a budget.
        reduce_range: by deployment, whether its integer weights have 7 bits; None without integer weights.
    """

    name: str
    method: str
    model: str = ""
    data: str = ""
    seed: int | None = None
    varied: dict[str, object] = {}
    trains_for: tuple[str, ...] = ()
    head_fitted_on: str | None = Field(default=None, exclude_if=lambda value: value is None)
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
        """Return whether the run trains a model."""
        return self.trained.startswith("train/")

    @property
    def cell(self) -> tuple[object, ...]:
        """Return the values of the matrix's other keys, in the order of the keys."""
        return tuple(self.varied.values())


class Axes(Strict):
    """Axes on which embeddings are quantized: their label in tables, and their description in words."""

    label: str
    words: str


class StudyRecord(Strict):
    """Planned study at one of its scales.

    Attributes:
        name, title, question: as in the study's file.
        scale: name of the scale.
        baseline: the method that differences refer to.
        primary_metric: the main metric of retrieval, or that of agreement where no task is judged.
        main_metrics: the main metric of each task.
        kinds: the kind of each task.
        answers: the comparisons that answer the question, with the names at this scale.
        axes, chosen_axes: all axes of the study, and the labels of those that `evaluate.rotations` lists.
        stands_for: names in the study's file by the name at this scale, by matrix key, `task`, `texts` and `deploy`; None where
            tables show no published results.
        float_deployment: the deployment with float embeddings from which losses of quality are computed.
        quantized: the deployments whose files hold quantized weights.
        budget: largest loss of what the study recommends, as a share of the best float result.
        tables, plots: names of those of installed packages that the study requests.
        overrides: the user's overrides, with which the study was planned.
        evaluate: how embeddings are scored; None for models without embeddings.
        views: names of the study's wide tables; empty until they are determined from the rest of the record.
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
    quantized: tuple[str, ...] = ()
    budget: float = BUDGET
    tables: tuple[str, ...] = ()
    plots: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    evaluate: EvaluateConfig | None
    runs: tuple[RunRecord, ...]
    views: tuple[str, ...] = ()


class IncompleteRun(Strict):
    """Run with missing artifacts: its name, its status (`failed` or `not run`), and the first cause."""

    run: str
    status: str
    failure: str | None = None


class StudySummary(Strict):
    """Content of study.json, which pages read: the question, the number of runs, the incomplete runs, and the titles of tables."""

    study: str
    title: str
    scale: str
    question: str | None = None
    runs: int
    incomplete: tuple[IncompleteRun, ...] = ()
    titles: dict[str, str] = {}


CONCLUSION_FILE = "conclusion.json"
# In the study's folder; the table is shown where there is no page.
PAGE, TABLE = "index.html", "tables/recommendation.md"
Grade = Literal["safest", "balanced", "smallest"]
# Largest loss of an offer as a multiple of the study's budget, at the upper end of its interval.
GRADES: dict[Grade, float] = {"safest": 0.2, "balanced": 1.0, "smallest": 5.0}
WIDEST = 110  # characters of a line on the terminal, where sentences stay readable
INDENT = "  "


class EngineOffer(Strict):
    """Vector search engine that realizes an offer: the measured mode that stores the same precision and loses nothing significant.

    Attributes:
        engine, mode: names of the engine and of its mode.
        version: version of the engine that was measured.
        value: mean over tasks and seeds of the main metric of what the engine returns.
        difference, low, high: the value less that of an exact search of the same precision, and the ends of its 95 % interval.
        queries_per_second: median over tasks and seeds in one thread; None if it is unknown.
        configuration: YAML for a study's file that measures this mode.
        search: Python code that follows the offer's `load`, and stores and searches with the engine's own package; None if the mode
            has no short code.
    """

    engine: str
    mode: str
    version: str
    value: float
    difference: float
    low: float
    high: float
    queries_per_second: float | None
    configuration: str
    search: str | None

    def in_words(self, metric: str) -> str:
        """Return what was measured in one sentence without its full stop; `metric` is the label of the main metric."""
        low, high, difference = (
            f"{end + 0.0:+.4f}".replace("-", "−") for end in (self.low, self.high, self.difference)
        )
        speed = self.queries_per_second
        return (
            f"{self.engine} {self.version} in the mode {self.mode} has {metric} {self.value:.4f}, {difference} from an exact search of "
            f"the same precision (95 % interval {low} to {high})"
            + (f", at {speed:,.0f} queries per second in one thread" if speed is not None else "")
        )


class Offer(Strict):
    """Form in which a model can be shipped: the one with the fewest bytes within its grade's bound on the loss.

    Attributes:
        grade: the grade, whose bound is a multiple of the study's budget (GRADES).
        run: the run to load, of the lowest seed.
        varied: values of the matrix's keys besides method and seed.
        rotation: label of the axes on which embeddings are quantized, or "none".
        output: label of the precision in tables, with scoring and rescoring; "text" of a causal language model.
        doc_bytes: bytes stored per document, with copies for rescoring; 0 for a causal language model.
        model_bytes: median over seeds; None if it is unknown.
        texts_per_second: median over the runs of all methods in this deployment; None if it is unknown.
        value: mean over tasks and seeds of the main metric.
        loss, low, high: how much worse than the best float result the value is, and the ends of the simultaneous 95 % interval.
        relative, relative_high: `loss` and `high` as shares of the best float result.
        verdict: "better", "worse" or "not separable" from the best float result.
        load: Python code that loads the model and quantizes embeddings; paths are relative to the folder that contains results/.
        engine: the engine configuration that realizes the offer; None if the study measures no engine that does.
    """

    grade: Grade
    run: str
    method: str
    varied: dict[str, object]
    deploy: str
    rotation: str
    output: str
    scoring: str
    doc_bytes: int
    model_bytes: int | None
    texts_per_second: float | None
    value: float
    loss: float
    low: float
    high: float
    relative: float
    relative_high: float
    verdict: str
    load: str
    engine: EngineOffer | None = None


class Conclusion(Strict):
    """Conclusion of a study.

    Attributes:
        metric: label of the main metric.
        budget: largest loss of the balanced offer, as a share of the best float result.
        reference: the best float result in words; empty if the study has none.
        reference_value: its value.
        sentences: what quantization costs, whether a recipe wins it back, and the recommendation.
        offers: one offer per grade; empty if nothing can be recommended.
        undecided: what the results cannot decide, and what it would take; None if nothing is open.
        complete: whether all runs of the study have results.
    """

    version: Literal[1] = 1
    metric: str
    budget: float
    reference: str
    reference_value: float | None
    sentences: tuple[str, str, str]
    offers: tuple[Offer, ...] = ()
    undecided: str | None = None
    complete: bool = True

    def offer(self, grade: Grade) -> Offer | None:
        """Return the offer of a grade; None if there is none."""
        return next((offer for offer in self.offers if offer.grade == grade), None)


def read_conclusion(study: Path) -> Conclusion:
    """Read conclusion.json from the folder of a study."""
    return Conclusion.model_validate(read_json(study / CONCLUSION_FILE))


def terminal_lines(study: Path, width: int | None = None) -> list[str]:
    """Return the conclusion of a study as lines for the terminal: its name, the sentences, and the path of its page.

    Args:
        study: folder of the study.
        width: number of characters of a line; None for that of the terminal.
    """
    conclusion, page = read_conclusion(study), study / PAGE
    sentences = [*conclusion.sentences, *([conclusion.undecided] if conclusion.undecided else [])]
    across = min(width or shutil.get_terminal_size().columns, WIDEST)
    lines = [f"{study.name}:"]
    for sentence in sentences:
        # Names and paths are not broken at hyphens, so that they can be copied.
        lines += textwrap.wrap(
            sentence, max(across, 3 * len(INDENT)), initial_indent=INDENT, subsequent_indent=2 * INDENT,
            break_on_hyphens=False, break_long_words=False,
        )  # fmt: skip
    return [*lines, f"{INDENT}{page if page.exists() else study / TABLE}"]
