"""Configuration of a study (conf/study): the runs that it makes of the other groups, and the content of its tables."""

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, Field, PrivateAttr, field_validator, model_validator

from qatlab.config.evaluate import EvaluateConfig
from qatlab.config.method import MethodConfig
from qatlab.config.model import EncodeConfig, ModelConfig, PredictConfig
from qatlab.config.trainer import TrainerConfig
from qatlab.deployments.deployment import DEPLOYMENTS, Deployment
from qatlab.errors import UserError
from qatlab.quantization.precisions import RANGED, sides
from qatlab.registry import LONGEST_NAME, FullLine, Line, Name, Strict, VariantName, column_name
from qatlab.sources.source import SOURCES, Source
from qatlab.study.record import BUDGET, AnswerConfig
from qatlab.tasks.task import TASKS, Task
from qatlab.text_sets import TEXT_SETS, TextSet


def _each_once(references: str | list[str]) -> str | list[str]:
    if isinstance(references, list) and len(set(references)) != len(references):
        raise ValueError(f"a reference is listed twice: {', '.join(references)}; list each reference once")
    return references


class DriftTexts(Strict):
    """Settings of which texts' embeddings are compared."""

    texts: Annotated[
        Literal["documents", "queries", "all"], Field(description="Texts of a task whose embeddings are compared.")
    ] = "documents"
    limit: Annotated[
        int | None,
        Field(gt=0, description="Number of texts, from the first, whose embeddings are compared; null compares all."),
    ] = None


class DriftConfig(DriftTexts):
    """Settings for measuring the cosine similarity between each text's embeddings by a deployment and by a reference."""

    reference: Annotated[
        FullLine | Annotated[list[FullLine], Field(min_length=1)],
        AfterValidator(_each_once),
        Field(
            description="Reference, or list of references, that each deployment is compared with: another deployment of the same "
            "run (torch_fp32), or a deployment of another method's run (baseline/torch_fp32)."
        ),
    ] = "torch_fp32"

    @property
    def references(self) -> list[str]:
        """Return `reference` as a list, also where it is a single reference."""
        return [self.reference] if isinstance(self.reference, str) else self.reference


if TYPE_CHECKING:
    DataConfig: TypeAlias = Source
    DeployConfig: TypeAlias = Deployment
    TaskConfig: TypeAlias = Task
    TextsConfig: TypeAlias = TextSet
else:
    DataConfig, DeployConfig = SOURCES.config_type(), DEPLOYMENTS.config_type()
    TaskConfig, TextsConfig = TASKS.config_type(), TEXT_SETS.config_type()


class StudyConfig(Strict):
    """Settings of a study.

    The keys of its matrix are Hydra groups (method, model, data, trainer …) or dotted keys (trainer.batch_size, seed …).
    """

    name: Annotated[
        str,
        Field(
            pattern=r"^[a-z0-9][a-z0-9_]*$",
            max_length=LONGEST_NAME,
            description="Name of the study's file without .yaml, and of its results folder.",
        ),
    ]
    title: Annotated[FullLine, Field(description="Title that is printed above tables and plots.")]
    matrix: Annotated[
        dict[str, list[Any]], Field(min_length=1, description="Lists of values by key. Every combination is a run.")
    ]
    exclude: Annotated[
        list[dict[str, object]],
        Field(
            description="Combinations that are left out: runs that match every key of an entry, by its value or one of its list of values."
        ),
    ] = []
    scales: Annotated[
        dict[str, list[str]],
        Field(
            description="Named lists of overrides, chosen with `--config scale=NAME`. The study without them is its scale `full`, or "
            "`small` if the lists include a larger scale `full`."
        ),
    ] = {}
    baseline: Annotated[VariantName, Field(description="Method that differences refer to.")] = "baseline"
    question: Annotated[
        Line | None,
        Field(description="Question that the study answers, shown on its page and in results/studies/index.html."),
    ] = None
    budget: Annotated[
        float,
        Field(
            gt=0,
            lt=1,
            description="Largest loss of what the study recommends to ship, as a share of the best float result: 0.01 is 1 %. The "
            "upper end of the loss's interval counts.",
        ),
    ] = BUDGET
    answers: Annotated[list[AnswerConfig], Field(description="Comparisons that answer the question.")] = []
    published: Annotated[
        str | None,
        Field(
            pattern=r"^[a-z0-9][a-z0-9_]*$",
            description="NAME of results/published/NAME.csv: published results of other work, which tables show beside the study's. "
            "They refer to the study at full scale; a value of another scale stands for the one at the same position of its list.",
        ),
    ] = None
    tables: Annotated[
        list[Name], Field(description="Tables of installed packages that the study has besides those of qatlab.")
    ] = []
    plots: Annotated[
        list[Name], Field(description="Plots of installed packages that the study has besides those of qatlab.")
    ] = []
    parity: Annotated[
        bool,
        Field(
            description="Whether a method that trains for a scheme of weights also encodes the tasks by its forward pass in training, "
            "with which the table `parity` compares what is shipped. These are the slowest encodings of a study."
        ),
    ] = True
    decomposition: Annotated[
        list[Line],
        Field(
            description="Entries METHOD/DEPLOYMENT, such as baseline/onnx_int8. For each, a table decomposes the loss of quality "
            "between the float model and the deployment into components."
        ),
    ] = []

    @field_validator("matrix", mode="before")
    @classmethod
    def _dotted_keys(cls, matrix: Any) -> Any:
        """Flatten nested keys: Hydra's command line writes `{trainer.batch_size: [32]}` as `{trainer: {batch_size: [32]}}`."""
        if not isinstance(matrix, dict):
            return matrix
        flat: dict[str, object] = {}
        for key, value in matrix.items():
            if isinstance(value, dict):
                flat.update({f"{key}.{inner}": values for inner, values in cls._dotted_keys(value).items()})
            else:
                flat[key] = value
        return flat

    @field_validator("decomposition")
    @classmethod
    def _method_and_deployment(cls, entries: list[str]) -> list[str]:
        for entry in entries:
            if not re.fullmatch(r"[^/]+/[^/]+", entry):
                raise ValueError(f"'{entry}' is not METHOD/DEPLOYMENT; write baseline/onnx_int8, for example")
        if len(set(entries)) != len(entries):
            raise ValueError(f"an entry is listed twice: {', '.join(entries)}")
        return entries

    @field_validator("scales")
    @classmethod
    def _one_scale_is_the_file(cls, scales: dict[str, list[str]]) -> dict[str, list[str]]:
        if {"full", "small"} <= set(scales):
            raise ValueError(
                "lists both full and small, but a study that lists full is its scale small without any; remove one of the two"
            )
        return scales

    @model_validator(mode="after")
    def _matrix_is_a_matrix(self) -> "StudyConfig":
        for key, values in self.matrix.items():
            if not values:
                raise ValueError(f"matrix.{key} is empty; list at least one value")
            if len({repr(value) for value in values}) != len(values):
                raise ValueError(f"matrix.{key} lists a value twice")
        for entry in self.exclude:
            for key in entry:
                if key not in self.matrix:
                    raise ValueError(
                        f"exclude names '{key}', which is not a key of the matrix ({', '.join(self.matrix)})"
                    )
        return self


def needs_pairs(model: ModelConfig) -> bool:
    """Return whether a model is trained on two or more texts per row, as all embedding models are."""
    return model.embeds


class RunConfig(Strict):
    """Complete configuration of one cell of the matrix, composed and resolved."""

    study: StudyConfig
    seed: Annotated[
        int, Field(ge=0, lt=2**32, description="Random seed of the run. A study lists its seeds in study.matrix.seed.")
    ] = 0
    model: ModelConfig
    data: DataConfig
    method: MethodConfig
    trainer: TrainerConfig = TrainerConfig()
    deploy: Annotated[dict[VariantName, DeployConfig], Field(min_length=1)]
    task: Annotated[dict[Name, TaskConfig], Field(min_length=1)]
    texts: Annotated[
        dict[Name, TextsConfig], Field(description="Sets of texts that are embedded only to measure drift, by name.")
    ] = {}
    encode: EncodeConfig = EncodeConfig()
    predict: PredictConfig = PredictConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    drift: DriftConfig = DriftConfig()
    _first: "RunConfig | None" = PrivateAttr(default=None)

    @property
    def first(self) -> "RunConfig | None":
        """Return the configuration of the training that `method.start_from` names; None without one."""
        return self._first

    def starting_from(self, first: "RunConfig") -> "RunConfig":
        """Return this configuration with the training that it starts from, and with its own share of the steps.

        Raises:
            UserError: for other rows than those of a training on all rows, for a share of an unknown number of steps, and for a learning
                rate of a head that neither training has.
        """
        start, name = self.method.start_from, self.method.name
        assert start is not None
        if start.rows is not None and first.training_data.rows is None:
            raise UserError(
                f"method '{name}' is trained on {start.rows} other rows than '{first.method.name}', which uses all rows; set data.rows, or "
                "leave method.start_from.rows out"
            )
        if self.method.lacks_a_head and not first.appends_a_layer:
            raise UserError(
                f"method '{name}' sets learning_rates.head, but neither it nor '{first.method.name}' appends a layer that is trained; "
                "leave it out, or append a trainable rotation"
            )
        own = self.trainer
        if start.fraction is not None:
            total = self.steps
            if total is None or total < 2 or first.first is not None:
                raise UserError(
                    f"method '{name}' gives a share of its steps to '{first.method.name}', which needs two steps or more, their number "
                    "before training, and a first method without start_from; set trainer.max_steps or data.rows, or leave "
                    "method.start_from.fraction out"
                )
            count = min(max(round(start.fraction * total), 1), total - 1)
            parts = ({"max_steps": steps, "max_examples": None} for steps in (count, total - count))
            before, own = (self.trainer.model_copy(update=part) for part in parts)
            first = first.model_copy(update={"trainer": before})
        config = self.model_copy(update={"trainer": own})
        config._first = first
        return config

    @property
    def steps(self) -> int | None:
        """Return the trainer's optimizer steps, without the extra steps of a method.

        None if the length of a training is a time, or depends on an unknown number of rows or blocks.
        """
        rows, trainer = self.training_data.rows, self.trainer
        if trainer.max_seconds is not None:
            return None
        counted = trainer.max_steps is not None or trainer.max_examples is not None
        in_blocks = self.model.kind == "causal_lm" and len(self.data.columns) == 1
        return None if not counted and (rows is None or in_blocks) else trainer.steps(rows or 0)

    @property
    def training_data(self) -> Source:
        """Return the source of the rows that the method is trained on: `data`, or the rows after those of the first training."""
        start, first = self.method.start_from, self.first
        if start is None or first is None:
            return self.data
        before = first.training_data
        if start.rows is None:
            return before
        return before.model_copy(update={"skip": before.skip + (before.rows or 0), "rows": start.rows})

    @property
    def appends_a_layer(self) -> bool:
        """Return whether the trained model ends in a linear layer that the base model does not have."""
        return self.method.appends_a_layer or (self.first is not None and self.first.appends_a_layer)

    @model_validator(mode="after")
    def _pairs_where_needed(self) -> "RunConfig":
        if needs_pairs(self.model) and len(self.data.columns) < 2:
            raise ValueError(
                f"data '{self.data.name}' has one column ({self.data.columns[0]}), and an embedding model is trained on pairs; "
                "name two columns or more in data.columns, or choose other data"
            )
        return self

    @model_validator(mode="after")
    def _prompts_are_of_columns(self) -> "RunConfig":
        columns = [column_name(column) for column in self.data.columns]
        for column in self.trainer.prompts or {}:
            if not self.model.embeds:
                raise ValueError("trainer.prompts is for embedding models; a causal language model has model.prompt")
            if column not in columns:
                raise ValueError(
                    f"trainer.prompts names '{column}', which is not a column of the data ({', '.join(columns)})"
                )
        return self

    @model_validator(mode="after")
    def _drift_references_are_deployed(self) -> "RunConfig":
        for reference in self.drift.references if self.model.embeds else []:
            deployment = self.deploy.get(reference.rpartition("/")[2])
            if deployment is None:
                raise ValueError(
                    f"drift.reference '{reference}' is not a deployment of this study ({', '.join(self.deploy)})"
                )
            if deployment.rotated:
                raise ValueError(f"drift.reference '{reference}' rotates embeddings; compare with one that does not")
        return self

    @model_validator(mode="after")
    def _extra_steps_are_of_steps(self) -> "RunConfig":
        if self.method.extra_steps is not None and self.trainer.max_seconds is not None:
            raise ValueError(
                f"method '{self.method.name}' has extra_steps, but trainer.max_seconds ends a training after a time, not after a number "
                "of steps; give trainer.max_steps, max_examples or num_train_epochs instead"
            )
        return self

    @model_validator(mode="after")
    def _causal_models_have_no_embeddings(self) -> "RunConfig":
        if self.model.kind != "causal_lm":
            if self.trainer.max_seconds is not None:
                raise ValueError("trainer.max_seconds is for causal language models; give max_steps or max_examples")
            return self
        has = f"model '{self.model.name}' is a causal language model and has no embeddings"
        for name in ("embedding_quantization", "rotation", "head", "learning_rates", "float_teacher"):
            if getattr(self.method, name) is not None:
                raise ValueError(f"{has}: method '{self.method.name}' cannot train it with {name}")
        for name, deployment in self.deploy.items():
            if not deployment.serves_causal_lm:
                raise ValueError(
                    f"{has}: deployment '{name}' does not serve it; use torch_fp32, torch_bf16 or torchao:SCHEME"
                )
        if self.texts or self.study.decomposition:
            raise ValueError(f"{has}: leave {'texts' if self.texts else 'study.decomposition'} empty")
        return self

    @model_validator(mode="after")
    def _stored_embeddings_are_read(self) -> "RunConfig":
        backends = {deployment.backend for deployment in self.deploy.values()}
        sources = {task.source for task in self.task.values()}
        if self.model.kind != "vectors":
            if "vectors" in backends | sources:
                raise ValueError(
                    "the backend and the task 'vectors' read stored embeddings; set model.kind=vectors and model.name=FOLDER"
                )
            return self
        if self.method.train or backends != {"vectors"} or sources != {"vectors"} or self.texts:
            raise ValueError(
                f"model '{self.model.name}' is a folder of stored embeddings: it needs a method without training, and only "
                "deployments and tasks that read them, with backend: vectors and source: vectors"
            )
        return self

    @model_validator(mode="after")
    def _names_stand_for_one_thing(self) -> "RunConfig":
        for name in self.texts:
            if name in self.task:
                raise ValueError(f"'{name}' is the name of a task and of a set of texts; rename one of them")
        return self

    @model_validator(mode="after")
    def _codes_of_tanh_are_scored_on_its_grid(self) -> "RunConfig":
        quantization, evaluate = self.method.embedding_quantization, self.evaluate
        if quantization is None or quantization.activation is None or "model" in evaluate.ranges:
            return self
        scored = {side for name in evaluate.precisions for side in sides(name)}
        scored |= {step.documents for steps in evaluate.rescoring for step in steps}
        for precision in scored & set(self.method.saved_ranges):
            raise ValueError(
                f"method '{self.method.name}' stores {precision} on the fixed grid of its tanh, and evaluate.ranges "
                f"({', '.join(evaluate.ranges)}) fits another grid; set evaluate.ranges=[model], with only methods that save ranges for "
                f"{precision} in the study, or leave {precision} out of evaluate.precisions"
            )
        return self

    @model_validator(mode="after")
    def _model_ranges_are_made(self) -> "RunConfig":
        if "model" not in self.evaluate.ranges:
            return self
        for name in self.evaluate.precisions:
            for precision in set(sides(name)) & set(RANGED) - set(self.method.saved_ranges):
                raise ValueError(
                    f"evaluate.ranges has 'model', but method '{self.method.name}' saves no range for {precision}; use corpus, "
                    "or methods that train on it with embedding_quantization.ranges other than batch"
                )
        return self
