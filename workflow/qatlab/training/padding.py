"""Padding of the parts of one batch in a distributed training to the length of the whole batch."""

import torch
from torch import Tensor

from qatlab.config.method import MethodConfig
from qatlab.machine.processes import largest

LENGTH_OF = "input_ids"
PADDED = (LENGTH_OF, "attention_mask", "token_type_ids", "labels")
IGNORED = -100  # label that the loss ignores


def sees_padding(method: MethodConfig) -> bool:
    """Return whether padding influences results, as it does if a range covers all activations of a batch."""
    scheme = method.weights
    return scheme is not None and scheme.grid == "onnx_int8"


def pad_to_longest(inputs: dict[str, Tensor], padding: int, left: bool = False) -> dict[str, Tensor]:
    """Pad each column of a collated part to the longest text that any process has in this column.

    Args:
        inputs: tensors, (texts, tokens) int64, by names such as `<column>_input_ids`; other entries are returned unchanged.
        padding: id of the padding token.
        left: whether texts are padded on the left.

    Returns:
        The padded part.
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
