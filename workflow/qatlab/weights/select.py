"""Which modules of a model a scheme quantizes."""

import re

from torch import nn

from qatlab.config.weights import WeightsConfig


def selected(model: nn.Module, config: WeightsConfig) -> dict[str, nn.Linear | nn.Embedding]:
    """Linear layers, and embedding tables if the scheme has them, whose whole name matches `config.modules`.

    Raises ValueError if there are none, or if the group size does not divide one's inputs.
    """
    kinds = (nn.Linear, nn.Embedding) if config.embeddings else (nn.Linear,)
    offered = {name: module for name, module in model.named_modules() if isinstance(module, kinds)}
    chosen = {name: module for name, module in offered.items() if re.fullmatch(config.modules, name)}
    if not chosen:
        names = ", ".join(list(offered)[:3])
        there = f"it has {len(offered)}, such as {names}" if offered else "it has no such layer at all"
        raise ValueError(
            f"weight scheme '{config.name}' quantizes nothing: modules '{config.modules}' matches no layer of the model ({there})"
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
