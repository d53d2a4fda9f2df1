"""Schemes of weight quantization: one is the same in training, after training and in what is deployed."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from qatlab.base import Strict
from qatlab.errors import unknown


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


class NamedScheme(NamedTuple):
    """A scheme that configurations choose by its name: what it is, in one line, and the fields that differ from the defaults."""

    description: str
    fields: Mapping[str, object]


_GOLF_CLIP = {"kind": "percentile", "share": 0.9999984}
SCHEMES: Mapping[str, NamedScheme] = {
    "int8": NamedScheme("int8 weights, one scale per output channel (weight-only; unsloth's int8 scheme)", {}),
    "int8_embeddings": NamedScheme(
        "int8 weights, one scale per output channel, and int8 embedding tables, one scale per token",
        {"embeddings": True},
    ),
    "int8_int8": NamedScheme(
        "int8 weights, one scale per output channel, and int8 activations per token, with ranges found at run time",
        {"activations": "int8"},
    ),
    "int8_int8_embeddings": NamedScheme(
        "int8 weights, int8 activations per token and int8 embedding tables",
        {"activations": "int8", "embeddings": True},
    ),
    "int8_percentile": NamedScheme(
        "int8 weights, each row clipped at its exact .9999984 percentile, as in openai/parameter-golf's export and its pull "
        "request 145",
        {"clip": _GOLF_CLIP},
    ),
    "int6": NamedScheme("6-bit weights, one scale per output channel", {"bits": 6}),
    "int6_embeddings": NamedScheme(
        "6-bit weights, one scale per output channel, and 6-bit embedding tables, one scale per token",
        {"bits": 6, "embeddings": True},
    ),
    "int6_percentile": NamedScheme(
        "6-bit weights, each row clipped at its exact .9999984 percentile, as in openai/parameter-golf's pull request 128",
        {"bits": 6, "clip": _GOLF_CLIP},
    ),
    "int4": NamedScheme("int4 weights in groups of 32 inputs (weight-only)", {"bits": 4, "group_size": 32}),
    "int4_embeddings": NamedScheme(
        "int4 weights and embedding tables, both in groups of 32", {"bits": 4, "group_size": 32, "embeddings": True}
    ),
    "int4_g128": NamedScheme("int4 weights in groups of 128 inputs (weight-only)", {"bits": 4, "group_size": 128}),
    "int4_g128_embeddings": NamedScheme(
        "int4 weights and embedding tables, both in groups of 128", {"bits": 4, "group_size": 128, "embeddings": True}
    ),
    "int4_mse": NamedScheme(
        "int4 weights in groups of 32, each clipped where its squared error is smallest",
        {"bits": 4, "group_size": 32, "clip": {"kind": "mse"}},
    ),
    "int8_int4": NamedScheme(
        "int8 activations per token, with ranges found at run time, and int4 weights in groups of 32",
        {"bits": 4, "group_size": 32, "activations": "int8"},
    ),
    "int8_int4_embeddings": NamedScheme(
        "int8 activations per token, int4 weights and int4 embedding tables in groups of 32",
        {"bits": 4, "group_size": 32, "activations": "int8", "embeddings": True},
    ),
    "int3": NamedScheme("3-bit weights in groups of 32 inputs", {"bits": 3, "group_size": 32}),
    "int3_embeddings": NamedScheme(
        "3-bit weights and embedding tables, both in groups of 32", {"bits": 3, "group_size": 32, "embeddings": True}
    ),
    "int2": NamedScheme("2-bit weights in groups of 32 inputs", {"bits": 2, "group_size": 32}),
    "int2_embeddings": NamedScheme(
        "2-bit weights and embedding tables, both in groups of 32", {"bits": 2, "group_size": 32, "embeddings": True}
    ),
    "onnx_int8": NamedScheme(
        "the grid of the deployment onnx_int8 (ONNX Runtime's dynamic quantization): train for the file that ships",
        {"grid": "onnx_int8", "activations": "int8", "embeddings": True},
    ),
    "float8": NamedScheme(
        "float8 (e4m3) weights, one scale per output channel, and float8 activations per token: unsloth's fp8-fp8; compute "
        "capability 8.9",
        {"grid": "float8", "activations": "float8"},
    ),
    "float8_int4": NamedScheme(
        "int4 weights in groups of 128 and float8 activations per token: unsloth's fp8-int4; compute capability 9.0, package mslk",
        {"grid": "float8_int4", "bits": 4, "group_size": 128, "activations": "float8"},
    ),
    "int4_kernel": NamedScheme(
        "int4 weights in groups of 128 on the grid of a GPU's int4 kernels: unsloth's int4; compute capability 9.0, package mslk",
        {"grid": "int4_kernel", "bits": 4, "group_size": 128},
    ),
    "nvfp4": NamedScheme(
        "NVFP4: fp4 (e2m1) weights and activations in blocks of 16 with float8 scales; compute capability 10.0",
        {"grid": "nvfp4", "bits": 4, "group_size": 16, "activations": "nvfp4"},
    ),
    "mxfp8": NamedScheme(
        "MXFP8: float8 weights and activations in blocks of 32 with power-of-two scales (OCP microscaling); compute capability 10.0",
        {"grid": "mxfp8", "group_size": 32, "activations": "mxfp8"},
    ),
    "mxfp4": NamedScheme(
        "MXFP4: fp4 weights and activations in blocks of 32 with power-of-two scales (OCP microscaling); compute capability 10.0",
        {"grid": "mxfp4", "bits": 4, "group_size": 32, "activations": "mxfp4"},
    ),
}


class WeightsConfig(Strict):
    """A scheme: the grid of the weights, that of the activations, and the modules that it is for.

    `{name: int4, group_size: 64}` is the scheme `int4` with other groups: fields that are left out are those of the named scheme.
    """

    name: Annotated[
        str,
        Field(
            pattern=r"^[a-z0-9][a-z0-9_]*$", description="A known scheme, or a name of your own; it stands in tables"
        ),
    ]
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

    @model_validator(mode="before")
    @classmethod
    def _like_the_named_scheme(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        name = values.get("name")
        if isinstance(name, str) and name in SCHEMES:
            return {**SCHEMES[name].fields, **values}
        if set(values) == {"name"}:
            raise ValueError(f"{unknown('scheme', name, SCHEMES)}; one of your own needs more fields than a name")
        return values

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


def _by_name(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


Scheme = Annotated[WeightsConfig, BeforeValidator(_by_name, json_schema_input_type=str | WeightsConfig)]
ONNX_INT8 = WeightsConfig(name="onnx_int8")  # what ONNX Runtime's dynamic quantization with default parameters does
