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


# Grids that GPU kernels compute on: bits of a weight, sizes of a group, and what the kernels want of activations.
KERNEL_GRIDS: dict[str, tuple[int, tuple[int | None, ...], str]] = {
    "float8": (8, (None,), "float8"),
    "float8_int4": (4, (128,), "float8"),
    "int4_kernel": (4, (128, 64, 32), "float"),
    "nvfp4": (4, (16,), "nvfp4"),
    "mxfp8": (8, (32,), "mxfp8"),
    "mxfp4": (4, (32,), "mxfp4"),
}


class WeightsConfig(Strict):
    """A scheme: the grid of the weights, that of the activations, and the modules that it is for."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]*$", description="As the file is called; stands in tables")]
    grid: Annotated[
        Literal["torchao", "onnx_int8", "float8", "float8_int4", "int4_kernel", "nvfp4", "mxfp8", "mxfp4"],
        Field(
            description="torchao: symmetric integer weights, activations by token; onnx_int8: that of ONNX Runtime's dynamic "
            "quantization: symmetric int8 by output channel, activations and embedding tables in uint8 by tensor; the others "
            "are torchao's for GPU kernels, and need a GPU that has them"
        ),
    ] = "torchao"
    bits: Annotated[int, Field(ge=2, le=8, description="Of weights")] = 8
    group_size: Annotated[
        int | None, Field(ge=8, description="Inputs that share a scale; null for one scale an output channel")
    ] = None
    activations: Annotated[
        Literal["float", "int8", "float8", "nvfp4", "mxfp8", "mxfp4"],
        Field(description="Of each linear layer's input, ranges found at run time; all but int8 go with the grid"),
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
        if self.grid == "torchao" and self.activations not in ("float", "int8"):
            raise ValueError(f"activations {self.activations} go with a grid of their name; set grid, or float or int8")
        return self

    @model_validator(mode="after")
    def _kernels_have_it(self) -> "WeightsConfig":
        if self.grid not in KERNEL_GRIDS:
            return self
        bits, groups, activations = KERNEL_GRIDS[self.grid]
        given = (self.bits, self.activations, self.embeddings, self.clip)
        if given != (bits, activations, False, None) or self.group_size not in groups:
            sizes = " or ".join(str(size or "null") for size in groups)
            raise ValueError(
                f"grid {self.grid} is what its kernels do: bits {bits}, group_size {sizes}, activations {activations}, "
                "embeddings false, no clip"
            )
        return self

    @property
    def activated(self) -> bool:
        """Whether activations are quantized."""
        return self.activations != "float"

    @property
    def in_blocks(self) -> bool:
        """Whether torchao's layer quantizes and multiplies in one, so that its parts cannot be had apart."""
        return self.grid in ("nvfp4", "mxfp8", "mxfp4")

    @property
    def on_gpu(self) -> bool:
        """Whether the quantized model runs on a GPU alone, in bfloat16."""
        return self.grid in KERNEL_GRIDS


# What ONNX Runtime's dynamic quantization with default parameters does (conf/weights/onnx_int8.yaml).
ONNX_INT8 = WeightsConfig(name="onnx_int8", grid="onnx_int8", bits=8, activations="int8", embeddings=True)
