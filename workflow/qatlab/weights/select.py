"""Which modules of a model a scheme quantizes, and which ones adapters are put on."""

import re
from collections.abc import Iterable

from torch import nn

from qatlab.config.method import LoraConfig
from qatlab.config.weights import WeightsConfig


def selected(model: nn.Module, config: WeightsConfig) -> dict[str, nn.Linear | nn.Embedding]:
    """Linear layers, and embedding tables if the scheme has them, whose whole name matches `config.modules`.

    Raises ValueError if there are none, or if the group size does not divide one's inputs.
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
