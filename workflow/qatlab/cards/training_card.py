"""Card of a trained model of any family: its base model and data, how it was trained and quantized, and how to load it."""

import math
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from huggingface_hub import ModelCardData

from qatlab.artifact import read_json
from qatlab.cards.recipe import FITTED, causal_method_in_words, head_settings, method_in_words
from qatlab.config.method import CausalTrainingConfig, MethodConfig, TrainingConfig
from qatlab.config.model import DecoderConfig, ModelConfig
from qatlab.config.trainer import TrainerConfig
from qatlab.job import JobDescription
from qatlab.quantization.precisions import GRADIENT_COSINE, GRADIENT_RATIO, QUANTILE, sides
from qatlab.quantization.ranges import RANGES
from qatlab.sources.source import SOURCES, DataManifest, Source
from qatlab.tables.labels import in_code, in_markdown, precision_label
from qatlab.training.training import TrainingCost

QUANTIZED_LOSS = "QuantizationAwareLoss"
FILE = "README.md"
INTEGERS = ("int8", "uint8")  # precisions to which Sentence Transformers quantizes embeddings
QAT_TAG = "quantization-aware-training"


class KnownModel(NamedTuple):
    """Base model of a training: its configuration, and its source (hub, package, local or made)."""

    config: ModelConfig
    source: str


class KnownData(NamedTuple):
    """Data of a training: the source of its rows, and the manifest of the data artifact."""

    source: Source
    manifest: DataManifest


def known_model(artifact: Path) -> KnownModel:
    """Read what the card of a trained model contains about its base model.

    The configuration is not validated again, so that writing a card cannot fail after its training.

    Args:
        artifact: folder of the model artifact.
    """
    values = read_json(artifact / "config.json")["config"]
    if values.get("decoder"):
        values["decoder"] = DecoderConfig.model_construct(**values["decoder"])
    return KnownModel(ModelConfig.model_construct(**values), read_json(artifact / "manifest.json")["source"])


def known_data(artifact: Path) -> KnownData:
    """Read what the card of a trained model contains about its training rows.

    Args:
        artifact: folder of the data artifact.
    """
    values = read_json(artifact / "config.json")["config"]
    source = SOURCES.get(values["source"])
    fields = {name: values[name] for name in source.model_fields if name in values}
    manifest = DataManifest.model_validate(read_json(artifact / "manifest.json"))
    return KnownData(source.model_construct(**fields), manifest)


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


def training_card(
    config: TrainingConfig,
    model: KnownModel,
    data: KnownData,
    cost: TrainingCost,
    gradients: dict[str, tuple[float, float]] | None = None,
) -> str:
    """Return README.md of a trained folder: YAML front matter for the hub, and Markdown, without paths or dates of this machine.

    Args:
        config: method, trainer and seed of the training.
        model: the base model.
        data: the training rows.
        cost: steps, duration and device of the training.
        gradients: the result of `gradients_of` for the training's log.
    """
    method = config.method
    sections = [
        f"# {in_markdown(base_name(model))}, trained by `{method.name}`",
        _summary(method, model, data),
        "## Load it",
        _loading(method),
        "## How it was trained",
        method_in_words(method),
        head_settings(method.head, config.seed)
        if method.head is not None
        else settings(config.trainer, method, config.seed, "without duplicates"),
        _cost_in_words(cost),
        *_gradients_in_words(gradients or {}),
    ]
    return with_front_matter(_metadata(method, model, data), "\n\n".join(sections))


def _cost_in_words(cost: TrainingCost) -> str:
    """Return the sentence about the steps and seconds of a training, and of the one that it starts from."""
    before = (
        f", after {cost.steps_before:,} steps in {cost.seconds_before:,.0f} seconds of the training that it starts from"
    )
    return (
        f"{cost.steps:,} steps in {cost.seconds:,.0f} seconds, on {cost.device}{before if cost.steps_before else ''}."
    )


def gradients_of(log: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """Return, by precision, the medians over a training's log of the norm ratio and the cosine of its gradient to the float32 term's."""
    names = [column.removeprefix(GRADIENT_RATIO) for column in log.columns if column.startswith(GRADIENT_RATIO)]
    return {name: (log[GRADIENT_RATIO + name].median(), log[GRADIENT_COSINE + name].median()) for name in names}


def _gradients_in_words(gradients: dict[str, tuple[float, float]]) -> list[str]:
    """Return the sentence about the strength of each precision's gradient at the embeddings, if it was measured."""
    ratios = [
        f"{precision_label(*sides(name))} {ratio:.2f} (cosine {cosine:.2f})"
        for name, (ratio, cosine) in gradients.items()
        if not math.isnan(ratio)
    ]
    lead = "Norm of each precision's gradient at the embeddings over the float32 term's, before weights, and the cosine between "
    return [f"{lead}the two, medians over training: {', '.join(ratios)}."] if ratios else []


def with_front_matter(metadata: ModelCardData, body: str) -> str:
    """Return a card's text, whose two parts `huggingface_hub.ModelCard` reads."""
    return f"---\n{metadata.to_yaml()}\n---\n\n{body.strip()}\n"


def base_name(model: KnownModel) -> str:
    """Return the name of a base model; of a folder only its last part, since the full path is private to the machine."""
    return str(Path(model.config.name).name)


def _metadata(method: MethodConfig, model: KnownModel, data: KnownData) -> ModelCardData:
    quantizes = method.embedding_quantization is not None or method.weights is not None or method.head is not None
    losses = [*([QUANTIZED_LOSS] if method.embedding_quantization else []), method.loss.class_name()]
    losses, on_pairs = ([], method.head.fitted_on != "corpus") if method.head is not None else (losses, True)
    # A local folder has no name on the hub to which a card could point.
    base = {} if model.source == "local" else {"base_model": model.config.name, "base_model_relation": "finetune"}
    return ModelCardData(
        library_name="sentence-transformers",
        pipeline_tag="sentence-similarity",
        tags=[
            "sentence-transformers",
            "sentence-similarity",
            "feature-extraction",
            *([QAT_TAG] if quantizes else []),
            *([f"dataset_size:{data.manifest.rows}"] if on_pairs else []),
            *(f"loss:{loss}" for loss in losses),
        ],
        datasets=data.source.hub_ids() if on_pairs else None,
        **base,
    )


def _budget(trainer: TrainerConfig) -> dict[str, str]:
    if trainer.max_seconds is not None:
        return {"seconds allowed": f"{trainer.max_seconds:g}"}
    counted = trainer.max_steps or trainer.max_examples
    return {} if counted else {"passes over the rows": f"{trainer.num_train_epochs:g}"}


def _summary(method: MethodConfig, model: KnownModel, data: KnownData) -> str:
    if method.head is not None:
        pairs = "" if method.head.fitted_on == "corpus" else f" (pairs: {rows_in_words(data)})"
        return (
            f"A [Sentence Transformers](https://www.SBERT.net) model: {base_in_words(model)}, with a linear head for binary embeddings, "
            f"fitted on {FITTED[method.head.fitted_on]}{pairs}. Texts are cut at {model.config.max_seq_length} tokens."
        )
    quantized = [
        *(["its embeddings"] if method.embedding_quantization else []),
        *(["its weights"] if method.weights else []),
    ]
    aware = f" with {' and '.join(quantized)} quantized in training" if quantized else ""
    return (
        f"A [Sentence Transformers](https://www.SBERT.net) model: {base_in_words(model)}, fine-tuned{aware} on {rows_in_words(data)}. "
        f"Texts are cut at {model.config.max_seq_length} tokens."
    )


def base_in_words(model: KnownModel) -> str:
    """Describe where the base model comes from, how many layers of it were used, and whether its normalization was changed."""
    config = model.config
    if model.source == "local":
        base = f"`{in_code(base_name(model))}`, a local folder"
    else:
        base = f"[{config.name}](https://huggingface.co/{config.name})"
        base += f" (revision `{in_code(config.revision)}`)" if model.source == "hub" else ""
    base = f"the first {config.num_hidden_layers} layers of {base}" if config.num_hidden_layers else base
    base = f"one vector per token, begun from the input embeddings of {base}" if config.kind == "static" else base
    if config.normalize is None:
        return base
    return base + (" with embeddings of length 1" if config.normalize else " without its normalization to length 1")


def rows_in_words(data: KnownData) -> str:
    """Describe the number of training rows, their columns and their source."""
    rows = f"{data.manifest.rows:,} rows ({', '.join(map(in_markdown, data.manifest.columns))})"
    return rows + data.source.describe(data.manifest)


def _loading(method: MethodConfig) -> str:
    """Return an example of loading the model that needs only Sentence Transformers."""
    saved = [precision for precision in method.saved_ranges if precision in INTEGERS]
    precision = saved[0] if saved else "int8"
    ranges = ', ranges=np.stack([saved["low"], saved["high"]])' if saved else ""
    lines = [
        *(["import numpy as np"] if saved else []),
        "from sentence_transformers import SentenceTransformer",
        "from sentence_transformers.util import quantize_embeddings",
        "",
        'folder = "."  # this folder',
        "model = SentenceTransformer(folder)",
        'documents = model.encode_document(["…", "…"])',
        'query = model.encode_query("…")',
        "print(model.similarity(query, documents))",
        "",
        *([f'saved = np.load(f"{{folder}}/{RANGES}/{precision}.npz")  # the ranges of training'] if saved else []),
        f'codes = quantize_embeddings(documents, "{precision}"{ranges})  # one byte per dimension',
        'bits = quantize_embeddings(documents, "ubinary")  # one bit per dimension',
    ]
    files = f"`{RANGES}/` holds the ranges of training: " + ", ".join(f"`{name}.npz`" for name in method.saved_ranges)
    arrays = "arrays `low` and `high`"
    if set(method.saved_ranges) & set(QUANTILE):
        arrays += f", and of {' and '.join(QUANTILE)} the `quantiles` at `fractions`"
    after = (
        f"\n\n{files} ({arrays}); quantize queries and documents with the same ranges."
        if method.saved_ranges
        else "\n\nWithout given ranges, int8 uses the minimum and maximum of the embeddings in the call: pass all documents at once, or "
        "ranges fitted on many."
    )
    return "```python\n" + "\n".join(lines) + "\n```" + after


def settings(trainer: TrainerConfig, method: MethodConfig, seed: int, drawn: str) -> str:
    """Return a Markdown table of the trainer's settings.

    Args:
        trainer: the trainer's configuration.
        method: the method, which may override the learning rate and add steps.
        seed: the random seed.
        drawn: text that describes how examples were drawn into batches, such as "in random order".
    """
    accumulated = trainer.gradient_accumulation_steps
    warmup = f"{100 * trainer.warmup_ratio:g} % of steps"
    cycles = f", {trainer.lr_scheduler_kwargs.num_cycles:g} cycles" if trainer.lr_scheduler_kwargs else ""
    spread = trainer.distributed
    nodes = f" on each of {spread.nodes} nodes" if spread.nodes > 1 else ""
    shared = {"processes that share a batch": f"{spread.processes}{nodes}"} if spread.in_all > 1 else {}
    extra = {"extra steps": f"{100 * method.extra_steps:g} % of the trainer's"} if method.extra_steps else {}
    rows = {
        **_budget(trainer),
        **extra,
        "batch size": f"{trainer.batch_size}" + (f" × {accumulated} accumulated" if accumulated > 1 else ""),
        **shared,
        "batches": drawn + (", full ones only" if trainer.dataloader_drop_last else ""),
        "learning rate": f"{method.learning_rate or trainer.learning_rate:g}, {trainer.lr_scheduler_type}{cycles}",
        "warm-up": warmup if trainer.warmup_steps is None else f"{trainer.warmup_steps:,} steps",
        "weight decay": f"{trainer.weight_decay:g}",
        "AdamW epsilon": f"{trainer.adam_epsilon:g}",
        "gradient norm at most": f"{trainer.max_grad_norm:g}",
        "precision": {"auto": "bf16 autocast where the machine has it"}.get(trainer.precision, trainer.precision),
        **{
            f"before {in_markdown(column)}": f"`{in_code(prompt)}`"
            for column, prompt in (trainer.prompts or {}).items()
        },
        "seed": f"{seed}",
    }
    return "| setting | value |\n|---|---|\n" + "\n".join(f"| {name} | {value} |" for name, value in rows.items())


def _causal_card(config: CausalTrainingConfig, model: KnownModel, data: KnownData, cost: TrainingCost) -> str:
    """Return the card of a causal language model: its base model and data, how it was trained and quantized, and how to load it."""
    method, translates = config.method, len(data.manifest.columns) > 1
    aware = " with its weights quantized in training" if method.weights else ""
    sections = [
        f"# {in_markdown(base_name(model))}, trained by `{method.name}`",
        f"A causal language model: {_causal_base(model)}, trained{aware} on {rows_in_words(data)}, in "
        + (
            f"pairs of at most {config.max_seq_length} tokens."
            if translates
            else f"blocks of {config.max_seq_length} tokens."
        ),
        "## Load it",
        _causal_loading(config.prompt, translates),
        "## How it was trained",
        causal_method_in_words(method),
        settings(config.trainer, method, config.seed, "in random order"),
        _cost_in_words(cost),
    ]
    return with_front_matter(_causal_metadata(method, model, data, translates), "\n\n".join(sections))


def _causal_base(model: KnownModel) -> str:
    if model.source != "made":
        return base_in_words(model)
    shape = model.config.decoder
    assert shape is not None
    return f"{shape.num_hidden_layers} layers of {shape.hidden_size} with random weights and one token per byte"


def _causal_metadata(method: MethodConfig, model: KnownModel, data: KnownData, translates: bool) -> ModelCardData:
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


def _causal_loading(prompt: str, translates: bool) -> str:
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
