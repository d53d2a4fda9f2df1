"""Schemes of weight quantization: one is the same in training, after training and in what is deployed."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from qatlab.errors import unknown
from qatlab.registry import Strict


def _is_an_expression(modules: str) -> str:
    try:
        re.compile(modules)
    except re.error as error:
        raise ValueError(f"invalid regular expression: {error}") from None
    return modules


Expression = Annotated[str, AfterValidator(_is_an_expression)]


class ClipConfig(Strict):
    """Clipping of weights before quantization: smaller steps for all weights in exchange for errors in the few largest."""

    kind: Annotated[
        Literal["percentile", "mse"],
        Field(
            description="percentile clips each row at a percentile of its magnitudes; mse clips where the mean squared error is "
            "smallest."
        ),
    ]
    share: Annotated[
        float, Field(gt=0.5, le=1, description="percentile: share of a row's magnitudes that are not clipped.")
    ] = 0.9999984


# Properties of the grids of GPU kernels: bits of a weight, group sizes, and the activations that the kernels require.
KERNEL_GRIDS: dict[str, tuple[int, tuple[int | None, ...], str]] = {
    "float8": (8, (None,), "float8"),
    "float8_int4": (4, (128,), "float8"),
    "int4_kernel": (4, (128, 64, 32), "float"),
    "nvfp4": (4, (16,), "nvfp4"),
    "mxfp8": (8, (32,), "mxfp8"),
    "mxfp4": (4, (32,), "mxfp4"),
}


class NamedScheme(NamedTuple):
    """A scheme that configurations select by name: a one-line description, and the fields that differ from the defaults."""

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
    """A scheme: the grid of the weights, the grid of the activations, and the modules that it applies to.

    Fields that are left out have the values of the named scheme: `{name: int4, group_size: 64}` is `int4` with other groups.
    """

    name: Annotated[
        str,
        Field(
            pattern=r"^[a-z0-9][a-z0-9_]*$",
            description="Name of a known scheme, or a new name for a scheme of your own; tables show it.",
        ),
    ]
    grid: Annotated[
        Literal["torchao", "onnx_int8", "float8", "float8_int4", "int4_kernel", "nvfp4", "mxfp8", "mxfp4"],
        Field(
            description="torchao: symmetric integer weights, and activations quantized per token. onnx_int8: the grid of ONNX "
            "Runtime's dynamic quantization, with symmetric int8 weights per output channel, and activations and embedding tables "
            "in uint8 per tensor. The others are torchao's grids for GPU kernels, and require a GPU with these kernels."
        ),
    ] = "torchao"
    bits: Annotated[int, Field(ge=2, le=8, description="Number of bits per weight.")] = 8
    group_size: Annotated[
        int | None,
        Field(ge=8, description="Number of inputs that share a scale; null is one scale per output channel."),
    ] = None
    activations: Annotated[
        Literal["float", "int8", "float8", "nvfp4", "mxfp8", "mxfp4"],
        Field(
            description="Number format of each linear layer's input, with ranges found at run time. All but float and int8 belong "
            "to the grid of the same kernels."
        ),
    ] = "float"
    embeddings: Annotated[bool, Field(description="Whether embedding tables are quantized too.")] = False
    modules: Annotated[
        Expression,
        Field(
            description="Regular expression that the whole name of a module must match, as in peft's target_modules."
        ),
    ] = ".*"
    clip: Annotated[
        ClipConfig | None, Field(description="Clipping of weights before quantization; null clips nothing.")
    ] = None

    @model_validator(mode="before")
    @classmethod
    def _like_the_named_scheme(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        name = values.get("name")
        if isinstance(name, str) and name in SCHEMES:
            return {**SCHEMES[name].fields, **values}
        if set(values) == {"name"}:
            raise ValueError(
                f"{unknown('scheme', name, SCHEMES)}; a scheme of your own needs further fields, such as bits"
            )
        return values

    @model_validator(mode="after")
    def _grid_is_one(self) -> "WeightsConfig":
        if self.grid == "onnx_int8" and (
            self.bits != 8 or self.group_size or self.activations != "int8" or not self.embeddings or self.clip
        ):
            raise ValueError(
                "grid onnx_int8 supports what ONNX Runtime does: bits 8, no group_size, activations int8, embeddings true, no clip"
            )
        if self.grid == "torchao" and self.activations not in ("float", "int8"):
            raise ValueError(
                f"grid torchao does not support activations {self.activations}; set the grid of these activations, or set "
                "activations to float or int8"
            )
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
                f"grid {self.grid} supports what its kernels do: bits {bits}, group_size {sizes}, activations {activations}, "
                "embeddings false, no clip"
            )
        return self

    @property
    def activated(self) -> bool:
        """Return whether activations are quantized."""
        return self.activations != "float"

    @property
    def in_blocks(self) -> bool:
        """Return whether torchao's layer fuses quantization and multiplication, so that neither is available separately."""
        return self.grid in ("nvfp4", "mxfp8", "mxfp4")

    @property
    def on_gpu(self) -> bool:
        """Return whether the quantized model runs on GPUs only, in bfloat16."""
        return self.grid in KERNEL_GRIDS


def _by_name(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


Scheme = Annotated[WeightsConfig, BeforeValidator(_by_name, json_schema_input_type=str | WeightsConfig)]
ONNX_INT8 = WeightsConfig(name="onnx_int8")  # the scheme of ONNX Runtime's dynamic quantization with default parameters


# Minimum share of the weights of linear layers. With a smaller one, a table's row would claim more than is quantized.
LEAST_SHARE = 0.5


class Coverage(NamedTuple):
    """The number of quantized weights in a model's linear layers, and the number of all weights in them."""

    quantized_weights: int
    linear_weights: int

    @property
    def share(self) -> float:
        """Return the quantized share of the weights, from 0 to 1; 1 for a model without linear layers."""
        return self.quantized_weights / self.linear_weights if self.linear_weights else 1.0


class StartConfig(Strict):
    """Start of fake quantization; until then, fake quantizers pass values through unchanged (late QAT)."""

    steps: Annotated[int | None, Field(ge=0, description="Optimizer step at which fake quantization begins.")] = None
    fraction: Annotated[
        float | None, Field(ge=0, lt=1, description="Start of fake quantization as a fraction of training.")
    ] = None

    @model_validator(mode="after")
    def _one_unit(self) -> "StartConfig":
        if self.steps is not None and self.fraction is not None:
            raise ValueError("give steps or fraction, not both")
        return self


class WeightStartConfig(Strict):
    """Starts of the fake quantization of weights and, separately, of activations."""

    weights: Annotated[StartConfig, Field(description="Start of the fake quantization of weights.")] = StartConfig()
    activations: Annotated[StartConfig, Field(description="Start of the fake quantization of activations.")] = (
        StartConfig()
    )
