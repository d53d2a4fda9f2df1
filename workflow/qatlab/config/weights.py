"""Weight quantization (conf/weights): one scheme, the same for training, for its post-training twin and for deployment."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from qatlab.config.base import Strict


def _is_an_expression(modules: str) -> str:
    try:
        re.compile(modules)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from None
    return modules


Expression = Annotated[str, AfterValidator(_is_an_expression)]


class ClipConfig(Strict):
    """Where weights are clipped before the grid is laid over them; smaller steps for all, errors for the few largest."""

    kind: Literal["percentile", "mse"]
    share: Annotated[float, Field(gt=0.5, le=1, description="percentile: share of a row's magnitudes kept")] = 0.9999984


class WeightsConfig(Strict):
    """A scheme: the grid of the weights, that of the activations, and the modules that it is for."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]*$", description="As the file is called; stands in tables")]
    grid: Annotated[
        Literal["torchao", "onnx_int8"],
        Field(
            description="torchao: symmetric weights, activations by token; onnx_int8: that of ONNX Runtime's dynamic "
            "quantization: symmetric int8 by output channel, activations and embedding tables in uint8 by tensor"
        ),
    ] = "torchao"
    bits: Annotated[int, Field(ge=2, le=8, description="Of weights")] = 8
    group_size: Annotated[
        int | None, Field(ge=8, description="Inputs that share a scale; null for one scale an output channel")
    ] = None
    activations: Annotated[
        Literal["float", "int8"], Field(description="int8: of each linear layer's input, ranges found at run time")
    ] = "float"
    embeddings: Annotated[bool, Field(description="Embedding tables too")] = False
    modules: Annotated[
        Expression,
        Field(description="Regular expression that a module's whole name must match, as in peft's target_modules"),
    ] = ".*"
    clip: ClipConfig | None = None

    @model_validator(mode="after")
    def _grid_is_one(self) -> "WeightsConfig":
        if self.grid == "onnx_int8" and (
            self.bits != 8 or self.group_size or self.activations != "int8" or not self.embeddings or self.clip
        ):
            raise ValueError(
                "grid onnx_int8 is what ONNX Runtime does: bits 8, no group_size, activations int8, embeddings true, no clip"
            )
        return self

    @property
    def activated(self) -> bool:
        """Whether activations are quantized."""
        return self.activations != "float"
