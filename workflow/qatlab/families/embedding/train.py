"""The training of an embedding model, by Sentence Transformers' own trainer: its loss, from a method's configuration."""

import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from accelerate.data_loader import BatchSamplerShard
from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from torch import nn
from torch.utils.data import DataLoader

from qatlab.artifact import read_json
from qatlab.config.embedding_quantization import CentringConfig, EmbeddingQuantizationConfig, EstimatorConfig
from qatlab.config.method import LearningRatesConfig, MethodConfig, TrainingConfig
from qatlab.config.trainer import check_batches
from qatlab.errors import UserError
from qatlab.job import begins_with
from qatlab.losses import QuantizationAwareCallback, QuantizationAwareLoss
from qatlab.losses.ranges import Centring, append_tanh, ends_in_unit_length, tanh_range
from qatlab.losses.terms import FloatTeacherLoss, MarginRanking, WeightSchedule
from qatlab.losses.wrapped import gather
from qatlab.machine.hardware import device_name
from qatlab.machine.processes import count, from_first
from qatlab.models.embedding import append_rotation, load_model, training_embeddings
from qatlab.progress import show_warnings
from qatlab.quantization.estimators import ESTIMATORS, LearnedStep
from qatlab.quantization.precisions import PRECISIONS, QUANTILE, RANGED, sides
from qatlab.quantization.ranges import KINDS, RANGES, FixedRange, RunningQuantileRange, RunningRange
from qatlab.training.callbacks import TrainingLog
from qatlab.training.resumable import Resumable, sees_padding
from qatlab.training.training import Training


class Trainer(Resumable, SentenceTransformerTrainer):
    """Sentence Transformers' trainer without bf16 autocast of the loss.

    On a CPU, Transformers' trainer would apply bf16 autocast to the loss too; on a GPU it does not. bf16 keeps 8 bits of a similarity,
    which is too few to distinguish an int8 embedding from a float one. The model itself still runs in bf16: accelerate wraps its
    forward pass and returns float32 embeddings.
    """

    def autocast_smart_context_manager(self, cache_enabled: bool | None = True) -> AbstractContextManager[None]:
        """Return a context without autocast for the loss."""
        return nullcontext()

    def get_train_dataloader(self) -> DataLoader:
        """Return the data loader, whose sampler receives the epoch in a distributed training too.

        Accelerate (1.15) does not pass the epoch on to the sampler, so that all epochs would have the order of the first one.
        Transformers sets it on the sampler's shard, also in a resumed training that skips batches.
        """
        loader = super().get_train_dataloader()
        shard: Any = loader.batch_sampler
        if isinstance(shard, BatchSamplerShard):
            shard.set_epoch = shard.batch_sampler.set_epoch
        return loader

    def _padding(self) -> tuple[int, bool]:
        tokenizer: Any = self.model.tokenizer
        return tokenizer.pad_token_id, tokenizer.padding_side == "left"

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Log values together with the weights, components and shares of changed values of the loss, so that trackers receive them.

        Args:
            logs: the values to log, by name.
            args: further arguments of Transformers' `log`.
            kwargs: further arguments of Transformers' `log`.
        """
        if "loss" in logs and isinstance(self.loss, QuantizationAwareLoss):
            logs = {**logs, **self.loss.diagnostics}
        super().log(logs, *args, **kwargs)


def build_loss(
    model: SentenceTransformer, method: MethodConfig, embeddings: Callable[[], np.ndarray] | None = None
) -> nn.Module:
    """Build the method's loss, wrapped in QuantizationAwareLoss if the method quantizes embeddings.

    Args:
        model: the model to train.
        method: the method's configuration.
        embeddings: returns the model's embeddings of training documents, (n, dim) float32; required for ranges that are
            initialized from them.

    Raises:
        ValueError: if such ranges are configured and `embeddings` is None.
    """
    loss: nn.Module = method.loss.build(model)
    config = method.embedding_quantization
    if config is None:
        return loss
    # The order matters for the variant pr3655, so it is fixed here and does not depend on the order in the YAML file.
    precisions = sorted(config.precisions, key=lambda name: [PRECISIONS.index(side) for side in sides(name)])
    return QuantizationAwareLoss(
        model,
        loss,
        precisions=precisions,
        weights=[WeightSchedule(**config.precisions[name].model_dump()) for name in precisions],
        ranges=_ranges(config, model, embeddings),
        estimator=_estimator(config.estimator),
        scales=config.scales,
        match_scales=config.match_scales,
        learned_scales=config.learned_scales,
        centring=_centring(config.centring, model),
        diagnose_every=config.diagnose_every,
        distillation=config.distillation,
        regularization=config.regularization.model_dump(),
        margin_ranking=None if config.margin_ranking is None else MarginRanking(**config.margin_ranking.model_dump()),
        variant=config.variant,
    )


def _ranges(
    config: EmbeddingQuantizationConfig, model: SentenceTransformer, embeddings: Callable[[], np.ndarray] | None
) -> Any:
    used = [precision for precision in RANGED if any(precision in sides(name) for name in config.precisions)]
    if config.ranges.kind == "running":
        uniform, quantile = (kind(config.ranges.momentum) for kind in (RunningRange, RunningQuantileRange))
        return {precision: quantile if precision in QUANTILE else uniform for precision in used}
    if config.ranges.kind == "fixed":
        return FixedRange(config.ranges.limit)
    if config.ranges.kind == "batch":
        return "batch"
    if config.ranges.kind == "tanh":
        return dict.fromkeys(used, tanh_range(model.get_embedding_dimension() or 0))
    if embeddings is None:
        raise ValueError(f"{config.ranges.kind} ranges start from embeddings of training documents; give embeddings")
    values = embeddings()
    if config.ranges.kind == "learned":
        return {name: LearnedStep(values.shape[1], name).fit(torch.from_numpy(values)) for name in used}
    return KINDS[config.ranges.kind]().fit(values)


def _centring(config: CentringConfig | None, model: SentenceTransformer) -> Centring | None:
    if config is None:
        return None
    return Centring(config.kind, model.get_embedding_dimension(), config.momentum, unit=ends_in_unit_length(model))


def _estimator(config: EstimatorConfig) -> Any:
    """Return the registered estimator, constructed with those fields of the configuration that are its parameters."""
    estimator = ESTIMATORS[config.name]
    fields = [field for field in signature(estimator).parameters if field in EstimatorConfig.model_fields]
    return estimator(**{field: getattr(config, field) for field in fields})


def divide_by_length(transformer: Any, groups: int) -> None:
    """Make a transformer run each training batch in groups of texts of similar length, each padded to its own longest text.

    Its output has the shape that one pass over the batch has, with zeros at padding tokens, which no pooling reads.

    Args:
        transformer: first module of a Sentence Transformers model, which is changed in place.
        groups: number of groups per batch.
    """
    whole = transformer.forward
    left = transformer.tokenizer.padding_side == "left"

    def forward(features: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        mask = features.get("attention_mask")
        if not transformer.training or mask is None or mask.ndim != 2:
            return dict(whole(features, **kwargs))
        lengths = mask.sum(dim=1)
        order = lengths.argsort(stable=True)
        parts = []
        for rows in order.tensor_split(min(groups, len(mask))):
            width = max(int(lengths[rows].max()), 1)
            tokens = slice(-width, None) if left else slice(width)
            group = {
                name: value[rows][:, tokens] if getattr(value, "shape", None) == mask.shape else value
                for name, value in features.items()
            }
            missing = mask.shape[1] - width
            embeddings = whole(group, **kwargs)["token_embeddings"]
            parts.append(nn.functional.pad(embeddings, (0, 0, missing, 0) if left else (0, 0, 0, missing)))
        return {**features, "token_embeddings": torch.cat(parts)[order.argsort()]}

    transformer.forward = forward


FIT_ROWS = 2048  # number of training documents on which the initial values of learned ranges are fitted
# Column names that Sentence Transformers does not treat as texts.
RESERVED = ("label", "labels", "score", "scores", "dataset_name", "return_loss")
LIVE_TEXTS = 8  # number of training texts that check that fake quantizers of weights have an effect


class EmbeddingTraining(Training):
    """Training of an embedding model on rows of texts, with one column per role of the loss."""

    config: TrainingConfig

    def __init__(self, config: TrainingConfig, inputs: dict[str, Path], label: str) -> None:
        """Load the rows and the model."""
        self.config, self.inputs, self.label = config, inputs, label
        table = pd.read_parquet(inputs["data"] / "train.parquet")
        self.names = names_of_texts(list(table.columns))
        self.rows = Dataset.from_pandas(table.rename(columns=self.names), preserve_index=False)
        check_batches(len(table), {str(column): table[column].nunique() for column in table}, config.trainer)
        self.examples = len(self.rows)
        self.folder = begins_with(inputs)
        self.model = load_model(self.folder, device_name())
        self.base_modules = count_modules(inputs["model"] / "model")
        rates = config.method.learning_rates
        for module in list(self.model)[self.base_modules :] if rates is None or rates.head is None else []:
            module.requires_grad_(False)
        pads = hasattr(self.model.tokenizer, "padding_side")  # static embeddings do not
        if config.trainer.length_groups > 1 and pads and not sees_padding(config.method):
            divide_by_length(self.model[0], config.trainer.length_groups)

    def outputs(self) -> torch.Tensor:
        """Return the embeddings of the first training texts."""
        texts = self.rows[self.rows.column_names[0]][:LIVE_TEXTS]
        embeddings: torch.Tensor = self.model.encode(texts, convert_to_tensor=True, show_progress_bar=False)
        return embeddings

    def loss(self) -> nn.Module:
        """Append the method's rotation to the model, and return its loss over the batches of all processes."""
        method, data = self.config.method, self.inputs["data"]
        if method.rotation is not None:
            append_rotation(self.model, self.folder, method.rotation, data, method.rotation.trainable)
        if method.embedding_quantization is not None and method.embedding_quantization.activation == "tanh":
            append_tanh(self.model)
        loss = build_loss(
            self.model, method, lambda: from_first(training_embeddings(self.model, self.folder, data, FIT_ROWS))
        )
        if method.float_teacher is not None:
            teacher = load_model(self.folder, device_name())
            loss = FloatTeacherLoss(self.model, loss, teacher, method.float_teacher, method.loss.scale)
        if count() > 1:
            try:
                gather(loss)
            except ValueError as error:
                raise UserError(f"{error}; set trainer.distributed.processes and nodes to 1") from None
        show_warnings("qatlab.losses", f"train {self.label}")
        return loss

    def callbacks(self, log: TrainingLog) -> list[Any]:
        """Return the callback that advances the schedules of a quantization-aware loss."""
        return [QuantizationAwareCallback(log.loss)] if log.loss is not None else []

    def trainer(self, arguments: dict[str, object], loss: nn.Module | None, callbacks: Sequence[Any]) -> Resumable:
        """Return Sentence Transformers' trainer."""
        prompts = self.config.trainer.prompts or {}
        if self.config.method.learning_rates is not None:
            assert loss is not None
            arguments = {**arguments, "learning_rate_mapping": self._rates(loss, self.config.method.learning_rates)}
        return Trainer(
            model=self.model,
            args=SentenceTransformerTrainingArguments(
                batch_sampler="no_duplicates",
                prompts={self.names.get(column, column): text for column, text in prompts.items()} or None,
                **arguments,
            ),
            train_dataset=self.rows,
            loss=loss,
            pad_alike=sees_padding(self.config.method),
            callbacks=list(callbacks),
        )

    def _rates(self, loss: nn.Module, rates: LearningRatesConfig) -> dict[str, float]:
        """Return the learning rates of the encoder and of the head, by regular expressions of the names of their parameters in the loss.

        Raises:
            UserError: for a part without trained parameters.
        """
        modules = list(self.model)
        parts = {"encoder": modules[: self.base_modules], "head": modules[self.base_modules :]}
        mapping = {}
        for part, rate in rates.model_dump(exclude_none=True).items():
            own = {id(tensor) for module in parts[part] for tensor in module.parameters() if tensor.requires_grad}
            names = [re.escape(name) for name, tensor in loss.named_parameters() if id(tensor) in own]
            if not names:
                raise UserError(
                    f"method '{self.config.method.name}' sets learning_rates.{part}, but the {part} has no trained parameters; leave it "
                    "out" + (", or append a trainable rotation" if part == "head" else "")
                )
            mapping[f"^(?:{'|'.join(names)})$"] = rate
        return mapping

    def save(self, folder: Path, loss: nn.Module | None) -> None:
        """Write a Sentence Transformers folder, with the ranges of training beside the weights."""
        self.model.save_pretrained(str(folder), safe_serialization=True, create_model_card=False)
        if isinstance(loss, QuantizationAwareLoss):
            _save_ranges(loss, folder / RANGES)


def count_modules(folder: Path) -> int:
    """Return the number of modules of a model's folder; a plain encoder gets mean pooling."""
    listed = folder / "modules.json"
    return len(read_json(listed)) if listed.exists() else 2


def names_of_texts(columns: list[str]) -> dict[str, str]:
    """Return new names for the columns whose names Sentence Transformers' trainer does not treat as texts."""
    names = {}
    for column in columns:
        if column in RESERVED:
            name = f"{column}_text"
            while name in columns:
                name += "_text"
            names[column] = name
    return names


def _save_ranges(loss: QuantizationAwareLoss, folder: Path) -> None:
    """Write the frozen ranges as <precision>.npz, for `Range.load`."""
    loss.ranges.freeze()
    for precision, ranges in loss.ranges.lasting().items():
        folder.mkdir(exist_ok=True)
        ranges.save(folder / f"{precision}.npz")


CONFIG, TRAINING = TrainingConfig, EmbeddingTraining
