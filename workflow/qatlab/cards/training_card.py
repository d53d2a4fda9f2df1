"""Card of a trained model: its base model and data, how it was trained and quantized, and how to load it."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from huggingface_hub import ModelCardData

from qatlab.artifact import read_json
from qatlab.config.embedding_quantization import (
    EmbeddingQuantizationConfig,
    EstimatorConfig,
    RangesConfig,
    WeightScheduleConfig,
)
from qatlab.config.method import (
    Fitted,
    HeadConfig,
    LoraConfig,
    MethodConfig,
    MethodRotationConfig,
    StartConfig,
    TrainingConfig,
)
from qatlab.config.model import DecoderConfig, ModelConfig
from qatlab.config.trainer import TrainerConfig
from qatlab.config.weights import WeightsConfig
from qatlab.quantization.precisions import GRADIENT_COSINE, GRADIENT_RATIO, QUANTILE, UNIFORM, sides
from qatlab.quantization.ranges import RANGES
from qatlab.sources.source import SOURCES, DataManifest, Source
from qatlab.tables.labels import in_code, in_markdown, precision_label
from qatlab.training.training import TrainingCost

QUANTIZED_LOSS = "QuantizationAwareLoss"
RANGES_IN_WORDS = {
    "batch": "the extremes of each batch",
    "running": "a moving average of the batches' extremes (momentum {momentum:g})",
    "learned": "steps that were trained with the model",
    "fixed": "±{limit:g}",
    "tanh": "the fixed grid of its activation",
    "minmax": "the extremes of the model's embeddings of training documents before training",
    "percentile": "percentiles of the model's embeddings of training documents before training",
    "symmetric": "± the largest magnitudes of the model's embeddings of training documents before training",
}
QUANTILES = {
    "batch": "of each batch",
    "running": "that are a moving average of the batches' (momentum {momentum:g})",
    "quantile": "of the model's embeddings of training documents before training",
}
ESTIMATORS = {
    "identity": "straight through",
    "clipped": "straight through within the range (of binary: within ±{limit:g}), 0 outside",
    "tanh": "as those of an annealed tanh (gamma {gamma:g}, scale {scale})",
    "lsq": "as those of a learned step size",
}
CENTRES = {
    "batch": "the mean of each batch; the model's last linear module subtracts its moving average (momentum {momentum:g})",
    "running": "a moving average of the batches' means (momentum {momentum:g}), which the model's last linear module subtracts",
    "learned": "a bias per dimension that was trained, which the model's last linear module subtracts",
}
REGULARIZATIONS = {
    "spread_out": "the Global Orthogonal Regularization of float embeddings",
    "balance": "the squared means of bits",
    "decorrelation": "the squared correlations of different bits",
}
VARIANTS = {
    "pr3655": "Rounding and gradients are those of sentence-transformers' pull request 3655.",
    "pr3655_cache_fixed": "Rounding and gradients are those of sentence-transformers' pull request 3655, every precision reading floats.",
}
FITTED: dict[Fitted, str] = {
    "pairs": "the training pairs",
    "corpus": "the documents of the study's tasks, without queries and labels",
    "both": "the training pairs and the documents of the study's tasks, without queries and labels of the latter",
}
GRIDS = {
    "torchao": "torchao's symmetric integers",
    "onnx_int8": "the grid of ONNX Runtime's dynamic quantization",
}


def loss_class(method: MethodConfig) -> str:
    """Return the name of the outermost loss's class."""
    return QUANTIZED_LOSS if method.embedding_quantization else method.loss.class_name()


def method_in_words(method: MethodConfig) -> str:
    """Return a Markdown list of the loss, and of whatever was quantized, rotated or left frozen."""
    return "\n".join([*_of_embeddings(method), *_of_weights(method)])


def causal_method_in_words(method: MethodConfig) -> str:
    """Return a Markdown list of the loss and of quantized or frozen weights, for a causal language model."""
    return "\n".join(["* Loss: cross-entropy of the next token.", *_of_weights(method)])


def _of_embeddings(method: MethodConfig) -> Iterator[str]:
    if method.head is not None:
        yield from _head(method.head)
        return
    yield f"* Loss: {method.loss.in_words()}."
    if method.rotation is not None:
        yield f"* Rotation: {_rotation(method.rotation)}."
    if method.embedding_quantization is not None:
        yield from _embeddings(method.embedding_quantization, method.loss.scale)
    else:
        yield "* Embeddings were not quantized in training."


def _of_weights(method: MethodConfig) -> Iterator[str]:
    if method.weights is not None:
        yield f"* Weights: fake-quantized in training ({_scheme(method.weights)}), saved in float."
        yield from _starts(method)
    else:
        yield "* Weights were not quantized in training."
    if method.lora is not None:
        yield f"* LoRA: {_lora(method.lora, method.weights is not None)}."


def _rotation(config: MethodRotationConfig) -> str:
    after = "then trained with the model" if config.trainable else "kept as it is"
    fitted = f"fitted on {config.fit_rows:,} training documents before training"
    return f"{config.label}, the model's last module, {fitted}, {after}"


def _head_settings(config: HeadConfig, seed: int) -> str:
    return (
        f"Adam, at most {config.steps:,} steps with a learning rate of {config.learning_rate:g} that falls along a cosine, seed {seed}; "
        f"training stops after {config.patience} measurements, every {config.evaluate_every} steps, without better bits."
    )


def _head(config: HeadConfig) -> Iterator[str]:
    first, last = config.sharpness
    terms = {
        f"the KL divergence from float similarities (× {config.temperature:g}) to those of codes": config.distillation,
        "the cross-entropy of each query's own document": config.contrastive,
        "the mean squared product of two bits": config.decorrelation,
        "the mean squared mean of a bit": config.balance,
    }
    loss = " + ".join(f"{weight:g} × {term}" for term, weight in terms.items() if weight)
    yield f"* Head: a linear map with orthonormal rows, the model's last module, fitted on cached embeddings of {FITTED[config.fitted_on]}."
    yield "* The weights of the model itself were not changed."
    yield f"* Loss: {loss}."
    random = (
        ""
        if config.fitted_on == "pairs"
        else f" (random ones at a cosine of {config.query_cosine:g} where a document has none)"
    )
    yield (
        f"* Batches: {config.anchors} queries{random} with their documents and the {config.neighbours} nearest of each. Codes are "
        f"tanh(β·√bits·x) with β from {first:g} to {last:g}, and signs in the last {_percent(config.hard_fraction)} of the steps."
    )
    yield (
        f"* It started from the axes '{config.start.label}'. The head with the best bits of held-out texts ({_percent(config.held_out)}) "
        "was kept."
    )


def _embeddings(config: EmbeddingQuantizationConfig, own_scale: float) -> Iterator[str]:
    yield "* Output precisions, the loss being the weighted sum of what it is at each (queries × documents where they differ):"
    for name, schedule in config.precisions.items():
        queries, documents = sides(name)
        precision = queries if queries == documents else f"{queries} × {documents}"
        own = config.scale_of(name, own_scale)
        scale = f"; similarities × {own:.4g}" if own != own_scale or name in config.scales else ""
        learned = "; its scale was trained" if name in config.learned_scales else ""
        yield f"  * {precision}: {schedule_in_words(schedule)}{scale}{learned}"
    used = {side for name in config.precisions for side in sides(name)}
    if used & set(UNIFORM):
        yield f"  * the range of integers is given by {_ranges(config.ranges)}"
    if between := [precision for precision in QUANTILE if precision in used]:
        quantiles = QUANTILES[config.ranges.kind].format(momentum=config.ranges.momentum)
        yield f"  * the cells of {' and '.join(between)} lie between quantiles {quantiles}"
    if config.activation is not None:
        yield "  * embeddings x of d dimensions are tanh(√d · x / ‖x‖), scaled to length 1, by the model's last modules"
    if not config.variant:
        yield f"  * gradients pass the rounding {_estimator(config.estimator)}"
    if config.centring is not None:
        yield f"  * embeddings are centred by {CENTRES[config.centring.kind].format(momentum=config.centring.momentum)}"
    yield from _added_terms(config)
    if config.variant:
        yield f"* {VARIANTS[config.variant]}"


def _added_terms(config: EmbeddingQuantizationConfig) -> Iterator[str]:
    if config.distillation:
        yield f"  * besides, {config.distillation:g} × the KL divergence from float to quantized similarities"
    for name, weight in config.regularization.model_dump().items():
        if weight:
            yield f"  * besides, {weight:g} × {REGULARIZATIONS[name]}"
    if config.margin_ranking is not None:
        weight, margin = config.margin_ranking.weight, config.margin_ranking.margin
        yield f"  * besides, {weight:g} × the margin ranking of binary codes (margin {margin:g}) at the scale of the loss"


def schedule_in_words(config: WeightScheduleConfig) -> str:
    """Describe a weight: 'weight 1'; 'weight 0 until step 200, then rising to 0.5 over 10 % of training'."""
    if config.weight == 0:
        return "weight 0, watched only"
    start = _when(config.start_steps, config.start_fraction)
    over = _how_long(config.warmup_steps, config.warmup_fraction)
    begins = f"weight 0 until {start}, then " if start else "weight "
    if not over:
        return f"{begins}{config.weight:g}"
    return f"{begins}rising {'along a cosine ' if config.shape == 'cosine' else ''}to {config.weight:g} over {over}"


def _ranges(config: RangesConfig) -> str:
    return RANGES_IN_WORDS[config.kind].format(momentum=config.momentum, limit=config.limit)


def _estimator(config: EstimatorConfig) -> str:
    scale = "√d / ‖x‖" if config.scale is None else f"{config.scale:g}"
    return ESTIMATORS[config.name].format(limit=config.limit, gamma=config.gamma, scale=scale)


def _scheme(config: WeightsConfig) -> str:
    shared = f"groups of {config.group_size}" if config.group_size else "one scale per output channel"
    layers = "linear layers" + (" and embedding tables" if config.embeddings else "")
    where = layers if config.modules == ".*" else f"{layers} named `{in_code(config.modules)}`"
    activations = "in float" if config.activations == "float" else config.activations
    clip = ""
    if config.clip is not None:
        kept_share = f"{100 * config.clip.share:g} % of magnitudes kept"
        clip = f", clipped ({kept_share if config.clip.kind == 'percentile' else 'least squared error'})"
    grid = GRIDS.get(config.grid, f"torchao's {config.grid} for GPU kernels")
    return f"`{config.name}`: {config.bits} bits, {shared}{clip}, of {where}; activations {activations}; {grid}"


def _starts(method: MethodConfig) -> Iterator[str]:
    start = method.weights_start
    if start is None:
        return
    for kind, config in (("weights", start.weights), ("activations", start.activations)):
        when = _start(config)
        if when:
            yield f"  * fake quantizers of {kind} begin at {when}"


def _start(config: StartConfig) -> str:
    return _when(config.steps, config.fraction)


def _lora(config: LoraConfig, quantized: bool) -> str:
    layers = (
        "linear layers" if config.target_modules == ".*" else f"linear layers named `{in_code(config.target_modules)}`"
    )
    dropout = f", dropout {config.lora_dropout:g}" if config.lora_dropout else ""
    text = f"adapters of rank {config.r} (alpha {config.lora_alpha:g}{dropout}) beside frozen {layers}, merged after training"
    if not quantized:
        return text
    quantized_part = {"base": "the frozen weight alone", "merged": "the sum of weight and adapter"}[config.quantized]
    return f"{text}; what was fake-quantized is {quantized_part}"


def _when(steps: int | None, fraction: float | None) -> str:
    return f"{_percent(fraction)} of training" if fraction else f"step {steps:,}" if steps else ""


def _how_long(steps: int | None, fraction: float | None) -> str:
    return f"{_percent(fraction)} of training" if fraction else f"{steps:,} steps" if steps else ""


def _percent(fraction: float) -> str:
    return f"{100 * fraction:g} %"


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
        _head_settings(method.head, config.seed)
        if method.head is not None
        else settings(config.trainer, method, config.seed, "without duplicates"),
        f"{cost.steps:,} steps in {cost.seconds:,.0f} seconds, on {cost.device}.",
        *_gradients_in_words(gradients or {}),
    ]
    return with_front_matter(_metadata(method, model, data), "\n\n".join(sections))


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
