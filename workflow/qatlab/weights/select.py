"""Which modules of a model a scheme quantizes, and which ones adapters are put on."""

import re
from collections.abc import Iterable

from torch import nn

from qatlab.config.method import LoraConfig
from qatlab.config.weights import WeightsConfig
from qatlab.weights.coverage import LEAST_SHARE, Coverage

ALL = WeightsConfig.model_fields["modules"].default


def coverage(model: nn.Module, chosen: Iterable[nn.Module]) -> Coverage:
    """Count the weights of linear layers, whatever class these are of, and those of the chosen ones.

    They are all parameters of two dimensions or more that are no embedding table, nor an output head that shares one.
    """
    tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    linear = {
        id(weight): weight.numel() for weight in model.parameters() if weight.dim() > 1 and id(weight) not in tables
    }
    weights = {id(module.weight) for module in chosen}
    return Coverage(sum(count for key, count in linear.items() if key in weights), sum(linear.values()))


def _check_share(model: nn.Module, config: WeightsConfig, chosen: dict[str, nn.Linear | nn.Embedding]) -> None:
    """Raises ValueError where a scheme for all layers knows few of a model's."""
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
        f"model's linear layers: it cannot quantize layers of the class {kind}, such as {example}; to quantize the others alone, "
        "name them by modules (a regular expression)"
    )


def selected(model: nn.Module, config: WeightsConfig) -> dict[str, nn.Linear | nn.Embedding]:
    """Linear layers, and embedding tables if the scheme has them, whose whole name matches `config.modules`.

    Raises ValueError if there are none, if the group size does not divide one's inputs, and where `config.modules` is the
    default and the layers have less than half of the weights that linear layers have.
    """
    kinds = (nn.Linear, nn.Embedding) if config.embeddings else (nn.Linear,)
    offered = {name: module for name, module in model.named_modules() if isinstance(module, kinds)}
    chosen = {name: module for name, module in offered.items() if re.fullmatch(config.modules, name)}
    if not chosen:
        raise ValueError(
            f"weight scheme '{config.name}' quantizes nothing: modules '{config.modules}' matches no layer of the model "
            f"({_there(offered)})"
        )
    for name, module in chosen.items():
        inputs = module.weight.shape[1]
        if config.group_size is not None and inputs % config.group_size:
            sizes = ", ".join(str(size) for size in (256, 128, 64, 32, 16, 8) if inputs % size == 0) or "none"
            raise ValueError(
                f"weight scheme '{config.name}': group_size {config.group_size} does not divide the {inputs} inputs of {name}; "
                f"these do: {sizes}; or leave group_size out, or the layer (modules)"
            )
    _check_share(model, config, chosen)
    return chosen


def adapted(model: nn.Module, config: LoraConfig) -> list[str]:
    """The linear layers whose whole name matches `target_modules`. Raises ValueError if there are none.

    An output head whose weight is the embedding table's is none of them, as it is not in peft's "all-linear": merged into one, its
    adapter would change both.
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
            f"lora.target_modules '{config.target_modules}' matches no linear layer of the model ({_there(linear)})"
        )
    return chosen


def _there(names: Iterable[str]) -> str:
    offered = list(names)
    return f"it has {len(offered)}, such as {', '.join(offered[:3])}" if offered else "it has no such layer at all"
