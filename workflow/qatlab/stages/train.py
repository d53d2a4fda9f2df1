"""Stage train: training of a model of any family."""

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
from transformers import set_seed

from qatlab.artifact import checkpoint_folder, read_json, write_json
from qatlab.cards.training_card import FILE, card, known_data, known_model
from qatlab.config.method import LoraConfig
from qatlab.config.weights import WeightStartConfig
from qatlab.errors import UserError
from qatlab.job import START, JobDescription, part_of, training_part
from qatlab.machine.processes import is_first
from qatlab.progress import say
from qatlab.training.callbacks import TrainingLog
from qatlab.training.resumable import Checkpoints, StopWhenDiverged, provenance
from qatlab.training.training import SCRATCH, Training, TrainingCost, claim_resources, cost, training_arguments


def run(description: JobDescription, inputs: dict[str, Path], output: Path, threads: int | None) -> None:
    """Write model/ (a plain folder of the family's library, with its card), log.csv (one row per step) and cost.json."""
    part = part_of(description, training_part(bool(description.config["method"].get("head"))))
    config = part.CONFIG.model_validate(description.config)
    method = config.method
    claim_resources(config.trainer, threads)
    set_seed(config.seed)
    training: Training = part.TRAINING(config, inputs, description.label)
    callbacks: list[Any] = []
    if method.weights is not None:
        callbacks.append(_quantize_weights(training))
    if method.lora is not None:
        _add_adapters(training.model, method.lora)
    loss = training.loss()
    log = TrainingLog(description.label, loss, list(callbacks), training.clock)
    callbacks += [*training.callbacks(log), log]
    arguments = training_arguments(
        config.trainer,
        config.learning_rate,
        config.seed,
        output,
        description.name,
        training.examples,
        method.extra_steps,
    )
    trainer = training.trainer(arguments, loss, callbacks)
    trained_parameters = sum(p.numel() for p in training.model.parameters() if p.requires_grad)
    origin = provenance("train", description, inputs, [part.__name__])
    checkpoints = Checkpoints(checkpoint_folder(output), origin, log)
    trainer.add_callback(StopWhenDiverged(description.label, checkpoints))
    trainer.train_resumably(checkpoints)
    log.check_live()
    cost_of_training = cost(log.step_seconds, config.trainer, trained_parameters, _device_of(training.model))
    if START in inputs:
        cost_of_training = cost_of_training.after(TrainingCost(**read_json(inputs[START] / "cost.json")))
    if not is_first():
        return
    if method.lora is not None:
        from qatlab.training.lora import merge_adapters

        merge_adapters(training.model)
    if method.weights is not None:
        from qatlab.weights.prepare import strip

        strip(training.model)
    training.save(output / "model", loss)
    steps = pd.DataFrame(log.rows)
    steps.to_csv(output / "log.csv", index=False)
    write_json(output / "cost.json", cost_of_training._asdict())
    model, data = known_model(inputs["model"]), known_data(inputs["data"])
    text = card(description, model, data, cost_of_training, steps)
    (output / "model" / FILE).write_text(text, encoding="utf-8")
    shutil.rmtree(output / SCRATCH, ignore_errors=True)


def _device_of(model: Any) -> str:
    device: str = next(model.parameters()).device.type
    return device


def _quantize_weights(training: Training) -> Any:
    """Prepare the model; return the callback that switches its fake quantizers. A scheme without effect ends the run here."""
    from qatlab.weights.prepare import WeightQuantizationCallback, check_live, prepare

    method, clock = training.config.method, training.clock
    assert method.weights is not None
    try:
        layers = prepare(training.model, method.weights)
    except ValueError as error:
        raise UserError(str(error)) from None
    check_live(training.model, training.outputs)
    say(f"weights: {len(layers)} layers are fake-quantized ({method.weights.name})")
    return WeightQuantizationCallback(method.weights_start or WeightStartConfig(), clock.progress if clock else None)


def _add_adapters(model: Any, config: LoraConfig) -> None:
    from qatlab.training.lora import add_adapters

    try:
        layers = add_adapters(model, config)
    except ValueError as error:
        raise UserError(str(error)) from None
    say(f"LoRA: adapters of rank {config.r} on {len(layers)} linear layers")
