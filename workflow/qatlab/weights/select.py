"""Selection of the modules that a scheme quantizes, and of the modules that get adapters."""

import re
from collections.abc import Iterable

from torch import nn

from qatlab.config.method import LoraConfig
from qatlab.config.weights import LEAST_SHARE, Coverage, WeightsConfig

ALL = WeightsConfig.model_fields["modules"].default


def coverage(model: nn.Module, chosen: Iterable[nn.Module]) -> Coverage:
    """Count the weights of a model's linear layers, of any class, and those of the chosen modules among them.

    The weights of linear layers are all parameters of two or more dimensions, except embedding tables and output heads that share
    one.

    Args:
        model: The model.
        chosen: The modules that are quantized.
    """
    tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    linear = {
        id(weight): weight.numel() for weight in model.parameters() if weight.dim() > 1 and id(weight) not in tables
    }
    weights = {id(module.weight) for module in chosen}
    return Coverage(sum(count for key, count in linear.items() if key in weights), sum(linear.values()))


def _check_share(model: nn.Module, config: WeightsConfig, chosen: dict[str, nn.Linear | nn.Embedding]) -> None:
    """Raise ValueError if a scheme for all layers covers less than LEAST_SHARE of the weights of linear layers."""
    counts = coverage(model, chosen.values())
    if config.modules != ALL or counts.share >= LEAST_SHARE:
        return
    weights = {id(module.weight) for module in chosen.values()}
    others = {
        type(module).__name__: name
        for name, module in model.named_modules()
        if not isinstance(module, nn.Embedding)
        for weight in module.parameters(recurse=False)
        if weight.dim() > 1 and id(weight) not in weights
    }
    kind, example = next(iter(others.items()))
    raise ValueError(
        f"weight scheme '{config.name}' quantizes {counts.quantized_weights:,} of the {counts.linear_weights:,} weights of the "
        f"model's linear layers: it cannot quantize layers of the class {kind}, such as {example}; to quantize only the others, "
        "set modules to a regular expression that matches their names"
    )


def selected(model: nn.Module, config: WeightsConfig) -> dict[str, nn.Linear | nn.Embedding]:
    """Return the linear layers, and embedding tables if the scheme has them, whose whole name matches `config.modules`.

    Args:
        model: The model.
        config: The scheme.

    Returns:
        The modules by name.

    Raises:
        ValueError: If no layer matches, if the group size does not divide the inputs of a layer, or if `config.modules` is the
            default and the layers have less than half of the weights of linear layers.
    """
    kinds = (nn.Linear, nn.Embedding) if config.embeddings else (nn.Linear,)
    offered = {name: module for name, module in model.named_modules() if isinstance(module, kinds)}
    chosen = {name: module for name, module in offered.items() if re.fullmatch(config.modules, name)}
    if not chosen:
        raise ValueError(
            f"weight scheme '{config.name}' quantizes nothing: modules '{config.modules}' matches no layer of the model "
            f"({_listed(offered)})"
        )
    for name, module in chosen.items():
        inputs = module.weight.shape[1]
        if config.group_size is not None and inputs % config.group_size:
            sizes = ", ".join(str(size) for size in (256, 128, 64, 32, 16, 8) if inputs % size == 0) or "none"
            raise ValueError(
                f"weight scheme '{config.name}': group_size {config.group_size} does not divide the {inputs} inputs of {name}; "
                f"these do: {sizes}; set one of them, leave group_size out, or exclude the layer by modules"
            )
    _check_share(model, config, chosen)
    return chosen


def adapted(model: nn.Module, config: LoraConfig) -> list[str]:
    """Return the names of the linear layers that get adapters: those whose whole name matches `target_modules`.

    An output head that shares the embedding table is excluded, as in peft's "all-linear", because merging its adapter would change
    both.

    Args:
        model: The model.
        config: The settings of the adapters.

    Raises:
        ValueError: If no layer matches.
    """
    tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    linear = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and id(module.weight) not in tables
    ]
    chosen = [name for name in linear if re.fullmatch(config.target_modules, name)]
    if not chosen:
        raise ValueError(
            f"lora.target_modules '{config.target_modules}' matches no linear layer of the model ({_listed(linear)})"
        )
    return chosen


def _listed(names: Iterable[str]) -> str:
    offered = list(names)
    return f"it has {len(offered)}, such as {', '.join(offered[:3])}" if offered else "it has no such layer"
