"""The card of a trained model: README.md of the trained folder, by the family of the model."""

import pandas as pd
from huggingface_hub import ModelCardData

from qatlab.cards.training_card import (
    QAT_TAG,
    KnownData,
    KnownModel,
    base_in_words,
    base_name,
    causal_method_in_words,
    gradients_of,
    rows_in_words,
    settings,
    training_card,
    with_front_matter,
)
from qatlab.config.method import CausalTrainingConfig, MethodConfig, TrainingConfig
from qatlab.job import JobDescription
from qatlab.tables.labels import in_markdown
from qatlab.training.training import TrainingCost


def card(training: JobDescription, model: KnownModel, data: KnownData, cost: TrainingCost, steps: pd.DataFrame) -> str:
    """Return README.md of a trained folder: YAML front matter for the hub, and Markdown, without paths or dates of this machine.

    Args:
        training: description of the training's job: its family, and its method, trainer and seed.
        model: the base model.
        data: the training rows.
        cost: steps, duration and device of the training.
        steps: the training's log, one row per step.
    """
    if training.family == "causal_lm":
        return _causal_card(CausalTrainingConfig.model_validate(training.config), model, data, cost)
    config = TrainingConfig.model_validate(training.config)
    return training_card(config, model, data, cost, gradients_of(steps))


def _causal_card(config: CausalTrainingConfig, model: KnownModel, data: KnownData, cost: TrainingCost) -> str:
    """Return the card of a causal language model: its base model and data, how it was trained and quantized, and how to load it."""
    method, translates = config.method, len(data.manifest.columns) > 1
    aware = " with its weights quantized in training" if method.weights else ""
    sections = [
        f"# {in_markdown(base_name(model))}, trained by `{method.name}`",
        f"A causal language model: {_base(model)}, trained{aware} on {rows_in_words(data)}, in "
        + (
            f"pairs of at most {config.max_seq_length} tokens."
            if translates
            else f"blocks of {config.max_seq_length} tokens."
        ),
        "## Load it",
        _loading(config.prompt, translates),
        "## How it was trained",
        causal_method_in_words(method),
        settings(config.trainer, method, config.seed, "in random order"),
        f"{cost.steps:,} steps in {cost.seconds:,.0f} seconds, on {cost.device}.",
    ]
    return with_front_matter(_metadata(method, model, data, translates), "\n\n".join(sections))


def _base(model: KnownModel) -> str:
    if model.source != "made":
        return base_in_words(model)
    shape = model.config.decoder
    assert shape is not None
    return f"{shape.num_hidden_layers} layers of {shape.hidden_size} with random weights and one token per byte"


def _metadata(method: MethodConfig, model: KnownModel, data: KnownData, translates: bool) -> ModelCardData:
    # A local folder, or a model that the study made, has no name on the hub to which a card could point.
    base = {"base_model": model.config.name, "base_model_relation": "finetune"} if model.source == "hub" else {}
    return ModelCardData(
        library_name="transformers",
        pipeline_tag="translation" if translates else "text-generation",
        tags=[
            "text-generation",
            *([QAT_TAG] if method.weights else []),
            f"dataset_size:{data.manifest.rows}",
        ],
        datasets=data.source.hub_ids(),
        **base,
    )


def _loading(prompt: str, translates: bool) -> str:
    """Return an example of loading the model that needs only Transformers."""
    text = prompt.replace("{source}", "…") if translates else "…"
    lines = [
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "",
        'folder = "."  # this folder',
        "tokenizer = AutoTokenizer.from_pretrained(folder)",
        "model = AutoModelForCausalLM.from_pretrained(folder)",
        "begins = tokenizer.bos_token or tokenizer.eos_token  # the token before each text in training",
        f'tokens = tokenizer(begins + {text!r}, add_special_tokens=False, return_tensors="pt")',
        "output = model.generate(**tokens, max_new_tokens=64, do_sample=False)",
        'print(tokenizer.decode(output[0, tokens["input_ids"].shape[1] :], skip_special_tokens=True))',
    ]
    return "```python\n" + "\n".join(lines) + "\n```"
