"""train_causal_lm: one training of a causal language model with Transformers' own trainer."""

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainingArguments, set_seed

from qatlab.artifact import checkpoint_folder, write_json
from qatlab.cards.causal_card import causal_card
from qatlab.cards.training_card import FILE, known
from qatlab.config.causal_lm import CausalTrainingConfig
from qatlab.config.method import LoraConfig, MethodConfig, WeightStartConfig
from qatlab.errors import UserError
from qatlab.models.causal_lm import load_model, load_tokenizer
from qatlab.processes import is_first
from qatlab.progress import say
from qatlab.training.arguments import SCRATCH, training_arguments
from qatlab.training.callbacks import TrainingLog
from qatlab.training.causal_lm import Blocks, PadRight, translations
from qatlab.training.causal_trainer import OnTheClock
from qatlab.training.checkpoints import Checkpoints, made_by
from qatlab.training.cost import cost
from qatlab.training.device import device_name
from qatlab.training.divergence import StopWhenDiverged
from qatlab.training.padding import sees_padding
from qatlab.training.share import take_share
from qatlab.training.wall_clock import UNENDING, WallClock


def run(description: dict[str, Any], inputs: dict[str, Path], output: Path, threads: int | None) -> None:
    """Writes model/ (a plain folder of Transformers, with its tokenizer and a card), log.csv (a row a step) and cost.json."""
    config = CausalTrainingConfig.model_validate(description["config"])
    method, trainer_config = config.method, config.trainer
    take_share(trainer_config, threads)
    set_seed(config.seed)
    folder = inputs["model"] / "model"
    tokenizer = load_tokenizer(folder)
    examples = _examples(tokenizer, pd.read_parquet(inputs["data"] / "train.parquet"), config)
    model = load_model(folder, device_name())
    clock = WallClock(trainer_config.max_seconds) if trainer_config.max_seconds is not None else None
    callbacks: list[Any] = []
    if method.weights is not None:
        callbacks.append(_quantize_weights(model, method, examples, clock))
    if method.lora is not None:
        _add_adapters(model, method.lora)
    log = TrainingLog(description["label"], None, list(callbacks), clock)
    learning_rate = method.learning_rate or trainer_config.learning_rate
    arguments = training_arguments(
        trainer_config, learning_rate, config.seed, output, description["name"], len(examples), method.extra_steps
    )
    trainer = OnTheClock(
        model=model,
        args=TrainingArguments(**arguments | ({"max_steps": UNENDING} if clock else {})),
        train_dataset=examples,
        data_collator=PadRight(tokenizer.pad_token_id),
        callbacks=[*callbacks, log],
        clock=clock,
        pad_alike=sees_padding(method),
    )
    trained_parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    checkpoints = Checkpoints(checkpoint_folder(output), made_by("train_causal_lm", description, inputs), log)
    trainer.add_callback(StopWhenDiverged(description["label"], checkpoints))
    trainer.train_resumably(checkpoints)
    took = cost(log.step_seconds, trainer_config, trained_parameters)
    if not is_first():
        return
    if method.lora is not None:
        from qatlab.training.lora import merge_adapters

        merge_adapters(model)
    if method.weights is not None:
        from qatlab.weights.prepare import strip

        strip(model)
    model.save_pretrained(str(output / "model"), safe_serialization=True)
    tokenizer.save_pretrained(str(output / "model"))
    pd.DataFrame(log.rows).to_csv(output / "log.csv", index=False)
    write_json(output / "cost.json", took)
    card = causal_card(config, known(inputs["model"]), known(inputs["data"]), took)
    (output / "model" / FILE).write_text(card, encoding="utf-8")
    shutil.rmtree(output / SCRATCH, ignore_errors=True)


def _examples(tokenizer: PreTrainedTokenizerBase, rows: pd.DataFrame, config: CausalTrainingConfig) -> Any:
    """Blocks of one column of texts, or translations of two."""
    length, batch_size = config.max_seq_length, config.trainer.batch_size
    texts = [rows[column].tolist() for column in rows.columns]
    examples: Any
    if len(texts) == 1:
        examples = Blocks(tokenizer, texts[0], length)
        say(f"{len(examples):,} blocks of {length} tokens")
    else:
        examples, too_long = translations(tokenizer, texts[0], texts[1], config.prompt, length)
        if too_long:
            say(f"{too_long:,} of {len(rows):,} pairs have more than model.max_seq_length={length} tokens: left out")
    needed = batch_size if config.trainer.dataloader_drop_last else 1
    if len(examples) < needed:
        raise UserError(
            f"trainer.batch_size={batch_size} is more than the {len(examples)} training examples of {length} tokens; lower it, "
            "or raise data.rows"
        )
    return examples


def _quantize_weights(model: PreTrainedModel, method: MethodConfig, examples: Any, clock: WallClock | None) -> Any:
    """Prepares the model; the callback that switches its fake quantizers. Schemes that do nothing end the run here."""
    from qatlab.weights.callback import WeightQuantizationCallback
    from qatlab.weights.live import check_live
    from qatlab.weights.prepare import prepare

    assert method.weights is not None
    try:
        layers = prepare(model, method.weights)
    except ValueError as error:
        raise UserError(str(error)) from None
    tokens = torch.tensor([examples[0]["input_ids"]], device=model.device)
    with torch.no_grad():
        check_live(model, lambda: model(tokens).logits)
    say(f"weights: {len(layers)} layers are fake-quantized ({method.weights.name})")
    start = method.weights_start or WeightStartConfig()
    return WeightQuantizationCallback(start, clock.progress if clock else None)


def _add_adapters(model: PreTrainedModel, config: LoraConfig) -> None:
    from qatlab.training.lora import add_adapters

    try:
        layers = add_adapters(model, config)
    except ValueError as error:
        raise UserError(str(error)) from None
    say(f"LoRA: adapters of rank {config.r} on {len(layers)} linear layers")
