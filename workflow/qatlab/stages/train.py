"""train: one training with Sentence Transformers' own trainer."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainingArguments
from torch import nn
from transformers import TrainerCallback, set_seed

from qatlab.artifact import checkpoint_folder, write_json
from qatlab.cards.training_card import FILE, gradients_of, known, training_card
from qatlab.config.method import LoraConfig, MethodConfig, WeightStartConfig
from qatlab.config.trainer import TrainerConfig
from qatlab.data.sample import check_batches
from qatlab.errors import UserError
from qatlab.losses import QuantizationAwareCallback, QuantizationAwareLoss
from qatlab.losses.wrapped import gather
from qatlab.models.embedding import load_model
from qatlab.models.rotated import append_rotation, training_embeddings
from qatlab.processes import count, from_first, is_first
from qatlab.progress import say, show_warnings
from qatlab.quantization.ranges import RANGES
from qatlab.training.arguments import SCRATCH, training_arguments
from qatlab.training.build_loss import build_loss
from qatlab.training.callbacks import TrainingLog
from qatlab.training.checkpoints import Checkpoints, made_by
from qatlab.training.cost import cost
from qatlab.training.device import device_name
from qatlab.training.divergence import StopWhenDiverged
from qatlab.training.padding import sees_padding
from qatlab.training.share import take_share
from qatlab.training.trainer import Trainer

FIT_ROWS = 2048  # training documents that learned ranges start from
RESERVED = ("label", "labels", "score", "scores", "dataset_name", "return_loss")  # no texts to Sentence Transformers
LIVE_TEXTS = 8  # training texts that prove the fake quantizers of weights live


def run(description: dict[str, Any], inputs: dict[str, Path], output: Path, threads: int | None) -> None:
    """Writes model/ (a plain Sentence Transformers folder with its card), log.csv (a row a step) and cost.json."""
    method = MethodConfig.model_validate(description["config"]["method"])
    trainer_config = TrainerConfig.model_validate(description["config"]["trainer"])
    seed = description["config"]["seed"]
    learning_rate = method.learning_rate or trainer_config.learning_rate
    take_share(trainer_config, threads)
    set_seed(seed)
    table = pd.read_parquet(inputs["data"] / "train.parquet")
    names = names_of_texts(list(table.columns))
    rows = Dataset.from_pandas(table.rename(columns=names), preserve_index=False)
    check_batches(len(table), {str(column): table[column].nunique() for column in table}, trainer_config)
    folder = inputs["model"] / "model"
    model = load_model(folder, device_name())
    callbacks: list[TrainerCallback] = []
    if method.weights is not None:
        callbacks.append(_quantize_weights(model, method, rows))
    if method.lora is not None:
        _add_adapters(model, method.lora)
    if method.rotation is not None:
        append_rotation(model, folder, method.rotation, inputs["data"], method.rotation.trainable)
    loss = _loss(model, method, lambda: training_embeddings(model, folder, inputs["data"], FIT_ROWS))
    show_warnings("qatlab.losses", f"train {description['label']}")
    log = TrainingLog(description["label"], loss, list(callbacks))
    if log.loss is not None:
        callbacks.append(QuantizationAwareCallback(log.loss))
    trainer = Trainer(
        model=model,
        args=SentenceTransformerTrainingArguments(
            batch_sampler="no_duplicates",
            prompts={names.get(column, column): text for column, text in (trainer_config.prompts or {}).items()}
            or None,
            **training_arguments(
                trainer_config, learning_rate, seed, output, description["name"], len(rows), method.extra_steps
            ),
        ),
        train_dataset=rows,
        loss=loss,
        pad_alike=sees_padding(method),
        callbacks=[*callbacks, log],
    )
    trained_parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    checkpoints = Checkpoints(checkpoint_folder(output), made_by("train", description, inputs), log)
    trainer.add_callback(StopWhenDiverged(description["label"], checkpoints))
    trainer.train_resumably(checkpoints)
    log.check_live()
    took = cost(log.step_seconds, trainer_config, trained_parameters)
    if not is_first():
        return
    if method.lora is not None:
        from qatlab.training.lora import merge_adapters

        merge_adapters(model)
    if method.weights is not None:
        from qatlab.weights.prepare import strip

        strip(model)
    model.save_pretrained(str(output / "model"), safe_serialization=True, create_model_card=False)
    if isinstance(loss, QuantizationAwareLoss):
        _save_ranges(loss, output / "model" / RANGES)
    rows_of_steps = pd.DataFrame(log.rows)
    rows_of_steps.to_csv(output / "log.csv", index=False)
    write_json(output / "cost.json", took)
    model_is, data_are = known(inputs["model"]), known(inputs["data"])
    card = training_card(description["config"], model_is, data_are, took, gradients_of(rows_of_steps))
    (output / "model" / FILE).write_text(card, encoding="utf-8")
    shutil.rmtree(output / SCRATCH, ignore_errors=True)


def names_of_texts(columns: list[str]) -> dict[str, str]:
    """What columns are called whose own names mean something else than a text to Sentence Transformers' trainer."""
    names = {}
    for column in columns:
        if column in RESERVED:
            name = f"{column}_text"
            while name in columns:
                name += "_text"
            names[column] = name
    return names


def _quantize_weights(model: SentenceTransformer, method: MethodConfig, rows: Dataset) -> TrainerCallback:
    """Prepares the model; the callback that switches its fake quantizers. Schemes that do nothing end the run here."""
    from qatlab.weights.callback import WeightQuantizationCallback
    from qatlab.weights.live import check_live
    from qatlab.weights.prepare import prepare

    assert method.weights is not None
    try:
        layers = prepare(model, method.weights)
    except ValueError as error:
        raise UserError(str(error)) from None
    texts = rows[rows.column_names[0]][:LIVE_TEXTS]
    check_live(model, lambda: model.encode(texts, convert_to_tensor=True, show_progress_bar=False))
    say(f"weights: {len(layers)} layers are fake-quantized ({method.weights.name})")
    return WeightQuantizationCallback(method.weights_start or WeightStartConfig())


def _loss(model: SentenceTransformer, method: MethodConfig, embeddings: Callable[[], np.ndarray]) -> nn.Module:
    """The method's, over the batches of all processes."""
    loss = build_loss(model, method, lambda: from_first(embeddings()))
    if count() > 1:
        try:
            gather(loss)
        except ValueError as error:
            raise UserError(f"{error}; set trainer.distributed.processes and nodes to 1") from None
    return loss


def _add_adapters(model: SentenceTransformer, config: LoraConfig) -> None:
    from qatlab.training.lora import add_adapters

    try:
        layers = add_adapters(model, config)
    except ValueError as error:
        raise UserError(str(error)) from None
    say(f"LoRA: adapters of rank {config.r} on {len(layers)} linear layers")


def _save_ranges(loss: QuantizationAwareLoss, folder: Path) -> None:
    """The ranges that training made, frozen, beside the weights: <precision>.npz, for `Range.load`."""
    loss.ranges.freeze()
    for precision, ranges in loss.ranges.lasting().items():
        folder.mkdir(exist_ok=True)
        ranges.save(folder / f"{precision}.npz")
