"""Names of precisions and axes in configuration, shared by training, deployment and evaluation."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from qatlab.quantization.precisions import pair_name, sides
from qatlab.registry import Strict


def _known(name: str) -> str:
    short = pair_name(*sides(name))
    if name != short:
        raise ValueError(f"'{name}' has the same precision for queries and documents; write '{short}'")
    return name


PrecisionName = Annotated[
    str,
    AfterValidator(_known),
    Field(
        description="Precision of embeddings: float32, float16, bfloat16, float8_e4m3, int8, uint8, int4, int2, int2_quantile, "
        "ternary, binary or ubinary; or one for queries and one for documents, as in float32_x_binary."
    ),
]


Center = Literal[False, "mean", "median"]
# Short names of axes, in addition to the names of the kinds.
SHORT_NAMES: dict[str, dict[str, str]] = {
    "centred": {"kind": "none", "center": "mean"},
    "median": {"kind": "none", "center": "median"},
}
CENTRED = {"mean": "centred", "median": "median"}  # the names of centers in labels of tables


def axes_by_name(value: Any) -> Any:
    """Expand the short form of axes: `itq` is `{kind: itq}`, `centred` is `{kind: none, center: mean}`."""
    return SHORT_NAMES.get(value, {"kind": value}) if isinstance(value, str) else value


def _center(value: Any) -> Any:
    """Read `true` as 'mean', its meaning before `center` had a choice of median."""
    return "mean" if value is True else value


class AxesConfig(Strict):
    """Axes and origin of the grid that embeddings are quantized on; both are fitted without labels."""

    kind: Annotated[
        Literal["none", "random", "pca", "itq", "overcomplete"],
        Field(description="Rotation of the embeddings; none keeps the model's own axes."),
    ] = "none"
    bits: Annotated[
        int | None,
        Field(
            gt=0,
            description="overcomplete: number of output dimensions, which is larger than that of input dimensions.",
        ),
    ] = None
    factor: Annotated[
        float | None,
        Field(
            gt=1, description="overcomplete: number of output dimensions as a multiple of the input's, instead of bits."
        ),
    ] = None
    center: Annotated[
        Center,
        BeforeValidator(_center, json_schema_input_type=bool | Literal["mean", "median"]),
        Field(
            description="Vector that is subtracted before rotation: mean or median of each dimension; true means mean."
        ),
    ] = False
    seed: Annotated[
        int, Field(ge=0, lt=2**32, description="Random seed of the kinds random, itq and overcomplete.")
    ] = 0

    @model_validator(mode="after")
    def _size_of_overcomplete(self) -> "AxesConfig":
        sizes = (self.bits is not None) + (self.factor is not None)
        if sizes != (self.kind == "overcomplete"):
            raise ValueError(
                "kind overcomplete requires either bits (number of output dimensions) or factor (a multiple of the input "
                "dimensions); other kinds accept neither"
            )
        return self

    @property
    def plain(self) -> bool:
        """Return whether these are the model's own axes, neither rotated nor centred."""
        return self.kind == "none" and not self.center

    @property
    def fitted(self) -> bool:
        """Return whether the axes depend on embeddings, and not only on the number of dimensions."""
        return bool(self.center) or self.kind in ("pca", "itq")

    @property
    def label(self) -> str:
        """Return the name in tables: 'itq', 'overcomplete_1024', 'overcomplete_2x', 'pca_centred', 'itq_median', 'centred'."""
        size = f"_{self.bits}" if self.bits else f"_{self.factor:g}x" if self.factor else ""
        parts = [f"{self.kind}{size}"] if self.kind != "none" else []
        parts += [CENTRED[self.center]] if self.center else []
        return "_".join(parts) or "none"

    @property
    def in_words(self) -> str:
        """Return the name in captions: 'signs at 0', 'centred', 'median', 'ITQ, centred', 'random, 2× dimensions'."""
        size = f"{self.bits:,} dimensions" if self.bits else f"{self.factor:g}× dimensions" if self.factor else ""
        kinds = {"random": "random", "pca": "PCA", "itq": "ITQ", "overcomplete": f"random, {size}"}
        parts = [kinds[self.kind]] if self.kind != "none" else []
        parts += [CENTRED[self.center]] if self.center else []
        return ", ".join(parts) or "signs at 0"

    def dimensions_out(self, dim: int) -> int | None:
        """Return the number of output dimensions of embeddings with `dim` dimensions; None where it is `dim`."""
        return self.bits if self.factor is None else round(self.factor * dim)


class RotationConfig(AxesConfig):
    """Axes on which an encoding is scored, fitted on the searched documents or on training documents."""

    fitted_on: Annotated[
        Literal["corpus", "training"],
        Field(
            description="Documents from whose embeddings the mean, the median or the principal axes are computed: corpus is the "
            "documents that are searched, training is the first evaluate.range_rows training documents."
        ),
    ] = "corpus"

    @model_validator(mode="after")
    def _fitted_on_something(self) -> "RotationConfig":
        if self.fitted_on == "training" and not self.fitted:
            raise ValueError(
                f"axes of kind {self.kind} without center are not fitted; leave fitted_on out, or set center"
            )
        return self

    @property
    def label(self) -> str:
        """Return the name in tables, with '_training' at the end of axes fitted on training documents: 'median_training'."""
        return super().label + ("_training" if self.fitted_on == "training" else "")


class FittedRotationConfig(AxesConfig):
    """Axes that become a module of the model, fitted on its embeddings of the first training documents."""

    fit_rows: Annotated[
        int, Field(gt=0, description="Number of training documents, from the first, that the axes are fitted on.")
    ] = 2048
