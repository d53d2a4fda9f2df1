"""The recipe of a training in words, for model cards: its loss, and what was quantized, rotated, adapted or left frozen."""

from collections.abc import Iterator

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
)
from qatlab.config.weights import WeightsConfig
from qatlab.quantization.precisions import QUANTILE, UNIFORM, sides
from qatlab.tables.labels import in_code

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
    "decorrelation": "the squared mean products of different bits",
}
VARIANTS = {
    "pr3655": "Rounding and gradients are those of sentence-transformers' pull request 3655.",
    "pr3655_cache_fixed": "Rounding and gradients are those of sentence-transformers' pull request 3655, every precision reading floats.",
}
FITTED: dict[Fitted, str] = {
    "pairs": "the training pairs",
    "corpus": "the documents of all tasks of the study together, without queries and labels",
    "both": "the training pairs and the documents of all tasks of the study together, without queries and labels of the latter",
}
GRIDS = {
    "torchao": "torchao's symmetric integers",
    "onnx_int8": "the grid of ONNX Runtime's dynamic quantization",
}


def method_in_words(method: MethodConfig) -> str:
    """Return a Markdown list of the loss, and of whatever was quantized, rotated or left frozen."""
    return "\n".join([*_start_of(method), *_of_embeddings(method), *_of_weights(method)])


def causal_method_in_words(method: MethodConfig) -> str:
    """Return a Markdown list of the loss and of quantized or frozen weights, for a causal language model."""
    return "\n".join([*_start_of(method), "* Loss: cross-entropy of the next token.", *_of_weights(method)])


def _start_of(method: MethodConfig) -> Iterator[str]:
    """Describe the first of two trainings, and the learning rates of the parts of the model."""
    if method.start_from is not None:
        rows = "other rows" if method.start_from.rows else "the same rows"
        yield f"* Start: the model that the method `{in_code(method.start_from.method)}` trained on {rows}."
    if method.float_teacher is not None:
        yield (
            f"* Float teacher: besides, {method.float_teacher:g} × the KL divergence from the similarities of the model that the training "
            "started from"
        )
    if method.learning_rates is not None:
        rates = method.learning_rates.model_dump(exclude_none=True)
        yield f"* Learning rates: {', '.join(f'{rate:g} for the {part}' for part, rate in rates.items())}."


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


def head_settings(config: HeadConfig, seed: int) -> str:
    """Describe the optimizer of a head, its steps, its random seed, and when training stops."""
    return (
        f"Adam, at most {config.steps:,} steps with a learning rate of {config.learning_rate:g} that falls along a cosine, seed {seed}; "
        f"training stops after {config.patience} measurements, every {config.evaluate_every} steps, without better bits."
    )


def _head(config: HeadConfig) -> Iterator[str]:
    first, last = config.sharpness
    terms = {
        f"the KL divergence from float similarities (× {config.temperature:g}) to those of codes": config.distillation,
        "the cross-entropy of each query's own document": config.contrastive,
        "the squared mean products of different bits": config.decorrelation,
        "the squared means of bits": config.balance,
    }
    loss = " + ".join(f"{weight:g} × {term}" for term, weight in terms.items() if weight)
    yield f"* Head: a linear map with orthonormal rows, the model's last module, fitted on cached embeddings of {FITTED[config.fitted_on]}."
    yield "* The weights of the model itself were not changed by this training."
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
