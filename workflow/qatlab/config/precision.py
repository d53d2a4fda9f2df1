"""Names of precisions, ranges and rotations in configuration, shared by training, deployment and evaluation."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from qatlab.config.base import Strict
from qatlab.quantization.precisions import sides


def _known(name: str) -> str:
    query, document = sides(name)
    if "_x_" in name and query == document:
        raise ValueError(f"'{name}' is the same on both sides; write '{query}'")
    return name


PrecisionName = Annotated[
    str,
    AfterValidator(_known),
    Field(
        description="float32, float16, bfloat16, float8_e4m3, int8, uint8, int4, int2, int2_quantile, ternary, binary, ubinary; "
        "or queries and documents apart: float32_x_binary"
    ),
]


class RotationConfig(Strict):
    """Which axes a grid is laid along; fitted without labels."""

    kind: Literal["none", "random", "pca", "itq", "overcomplete"] = "none"
    bits: Annotated[int | None, Field(gt=0, description="overcomplete: dimensions put out, more than go in")] = None
    center: Annotated[bool, Field(description="Subtract the mean first")] = False
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0

    @model_validator(mode="after")
    def _bits_for_overcomplete(self) -> "RotationConfig":
        if (self.kind == "overcomplete") != (self.bits is not None):
            raise ValueError("kind overcomplete needs bits (dimensions put out), other kinds have none")
        if self.kind == "none" and self.center:
            raise ValueError("kind none cannot be centred; choose random, pca, itq or overcomplete")
        return self

    @property
    def label(self) -> str:
        """What tables call it: 'itq', 'overcomplete_1024', 'pca_centred'."""
        size = f"_{self.bits}" if self.bits else ""
        return f"{self.kind}{size}{'_centred' if self.center else ''}"


class FittedRotationConfig(RotationConfig):
    """A rotation fitted on embeddings of the first training documents."""

    fit_rows: Annotated[int, Field(gt=0, description="Training documents it is fitted on")] = 2048
