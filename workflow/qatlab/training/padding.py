"""Parts of one batch, padded as the whole would be."""

from typing import Any

import torch

from qatlab.config.method import MethodConfig
from qatlab.machine.processes import largest

LENGTH_OF = "input_ids"
PADDED = (LENGTH_OF, "attention_mask", "token_type_ids", "labels")
IGNORED = -100  # in labels


def sees_padding(method: MethodConfig) -> bool:
    """Whether what stands behind a text's end counts: in a range over all activations of a batch it does."""
    scheme = method.weights
    return scheme is not None and scheme.grid == "onnx_int8"


def as_long_as_the_longest(inputs: dict[str, Any], padding: int, left: bool = False) -> dict[str, Any]:
    """A collated part, each column padded to the longest text that any process has in it.

    Args:
        inputs: tensors (texts, tokens) int64 by `<column>_input_ids` and so on; others stay as they are.
        padding: token.
        left: whether texts are padded before their beginning.
    """
    columns = [name.removesuffix(LENGTH_OF) for name in inputs if name.endswith(LENGTH_OF)]
    lengths = largest([inputs[column + LENGTH_OF].shape[1] for column in columns])
    padded = dict(inputs)
    for column, length in zip(columns, lengths, strict=True):
        for kind in PADDED:
            if (name := column + kind) in inputs:
                missing = int(length) - inputs[name].shape[1]
                value = padding if kind == LENGTH_OF else IGNORED if kind == "labels" else 0
                sides = (missing, 0) if left else (0, missing)
                padded[name] = torch.nn.functional.pad(inputs[name], sides, value=value)
    return padded
