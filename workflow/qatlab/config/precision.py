"""Names of precisions, ranges and rotations in configuration, shared by training, deployment and evaluation."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from qatlab.base import Strict
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


Center = Literal[False, "mean", "median"]
# Short names of axes, besides those of kinds.
SHORT_NAMES: dict[str, dict[str, Any]] = {
    "centred": {"kind": "none", "center": "mean"},
    "median": {"kind": "none", "center": "median"},
}
CENTRED = {"mean": "centred", "median": "median"}  # in labels


def axes_by_name(value: Any) -> Any:
    """Expand the short form of axes: `itq` is `{kind: itq}`, `centred` is `{kind: none, center: mean}`."""
    return SHORT_NAMES.get(value, {"kind": value}) if isinstance(value, str) else value


def _center(value: Any) -> Any:
    """Read `true` as mean, which it meant when there was no median."""
    return "mean" if value is True else value


class AxesConfig(Strict):
    """The axes that a grid is laid along, and the point that is their origin; fitted without labels."""

    kind: Annotated[
        Literal["none", "random", "pca", "itq", "overcomplete"],
        Field(description="How embeddings are rotated; none keeps the model's own axes"),
    ] = "none"
    bits: Annotated[
        int | None, Field(gt=0, description="overcomplete: the number of dimensions put out, more than go in")
    ] = None
    factor: Annotated[
        float | None,
        Field(gt=1, description="overcomplete: the same as a multiple of the embedding's dimensions, instead of bits"),
    ] = None
    center: Annotated[
        Center,
        BeforeValidator(_center, json_schema_input_type=bool | Literal["mean", "median"]),
        Field(description="What is subtracted first: the mean or the median of each dimension; true means mean"),
    ] = False
    seed: Annotated[int, Field(ge=0, lt=2**32, description="Of what is random")] = 0

    @model_validator(mode="after")
    def _size_of_overcomplete(self) -> "AxesConfig":
        sizes = (self.bits is not None) + (self.factor is not None)
        if sizes != (self.kind == "overcomplete"):
            raise ValueError(
                "kind overcomplete needs bits (dimensions put out) or factor (a multiple of those that go in), one of them; "
                "other kinds have neither"
            )
        return self

    @property
    def plain(self) -> bool:
        """Whether these are the model's own axes, neither rotated nor centred."""
        return self.kind == "none" and not self.center

    @property
    def fitted(self) -> bool:
        """Whether they follow from embeddings, and not from the number of dimensions alone."""
        return bool(self.center) or self.kind in ("pca", "itq")

    @property
    def label(self) -> str:
        """The name in tables: 'itq', 'overcomplete_1024', 'overcomplete_2x', 'pca_centred', 'itq_median', 'centred'."""
        size = f"_{self.bits}" if self.bits else f"_{self.factor:g}x" if self.factor else ""
        parts = [f"{self.kind}{size}"] if self.kind != "none" else []
        parts += [CENTRED[self.center]] if self.center else []
        return "_".join(parts) or "none"

    @property
    def in_words(self) -> str:
        """The name for people: 'signs at 0', 'centred', 'median', 'ITQ, centred', 'random, 2× dimensions'."""
        size = f"{self.bits:,} dimensions" if self.bits else f"{self.factor:g}× dimensions" if self.factor else ""
        kinds = {"random": "random", "pca": "PCA", "itq": "ITQ", "overcomplete": f"random, {size}"}
        parts = [kinds[self.kind]] if self.kind != "none" else []
        parts += [CENTRED[self.center]] if self.center else []
        return ", ".join(parts) or "signs at 0"

    def dimensions_out(self, dim: int) -> int | None:
        """The `bits` that a fit receives for embeddings of `dim` dimensions; None where as many come out as go in."""
        return self.bits if self.factor is None else round(self.factor * dim)


class RotationConfig(AxesConfig):
    """Axes that an encoding is scored on, fitted on the searched documents or on training documents."""

    fitted_on: Annotated[
        Literal["corpus", "training"],
        Field(
            description="The embeddings that the mean, the median or the principal axes are computed from: those of the documents "
            "that are searched, or those of the first evaluate.range_rows training documents"
        ),
    ] = "corpus"

    @model_validator(mode="after")
    def _fitted_on_something(self) -> "RotationConfig":
        if self.fitted_on == "training" and not self.fitted:
            raise ValueError(
                f"axes of kind {self.kind} without center are fitted on nothing; leave fitted_on out, or set center"
            )
        return self

    @property
    def label(self) -> str:
        """The name in tables, with what the axes are fitted on where that is not the corpus: 'median_training'."""
        return super().label + ("_training" if self.fitted_on == "training" else "")


class FittedRotationConfig(AxesConfig):
    """Axes that become a module of the model, fitted on its embeddings of the first training documents."""

    fit_rows: Annotated[int, Field(gt=0, description="Training documents they are fitted on")] = 2048
