"""ONNX files run by ONNX Runtime, in float32 or quantized."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from qatlab.base import Strict
from qatlab.config.weights import ONNX_INT8, WeightsConfig
from qatlab.deployments.deployment import DEPLOYMENTS, Deployment, Encoder

if TYPE_CHECKING:
    from qatlab.weights.coverage import Coverage

CalibrationTexts = Annotated[int, Field(gt=0, description="Training texts, queries and documents in equal parts")]
Exporter = Annotated[
    Literal["torch", "optimum"],
    Field(
        description="What writes the float file: torch, PyTorch's own exporter; optimum, optimum-onnx, which needs "
        "`pip install qatlab[optimum]` and transformers below 5"
    ),
]
Opset = Annotated[
    int,
    Field(
        ge=14,
        le=21,
        description="ONNX operator set; exporter torch has none below 18; from 20 on GELU is one operator, and faster",
    ),
]
NodeNames = Annotated[list[str], Field(description="Nodes of the float file, by name, that stay float")]
ONNX_FILE = "onnx/model.onnx"  # in the folder of a deployment
OUTPUT = "sentence_embedding"  # of the graph
USUAL = "onnx_int8"  # the deployment that Sentence Transformers' own quantization makes
BUDGET_FILE = "budget.json"  # beside a quantized ONNX deployment's model, where it has a budget


class DynamicQuantization(Strict):
    """ONNX Runtime dynamic quantization with integer operators, named as in `onnxruntime.quantization`."""

    mode: Literal["IntegerOps"] = "IntegerOps"
    per_channel: bool = True
    reduce_range: bool = False
    weight_type: Literal["QInt8", "QUInt8"] = "QInt8"
    activation_type: Annotated[
        Literal["QUInt8"], Field(description="Integer operators compute activation ranges as QUInt8 at run time")
    ] = "QUInt8"
    enable_subgraph: bool = True
    matmul_const_b_only: bool = True
    nodes_to_exclude: NodeNames = []


class StaticQuantization(Strict):
    """ONNX Runtime quantization with ranges of activations that are fitted on training texts (QuantizeLinear, DequantizeLinear)."""

    mode: Literal["QDQ"]
    per_channel: bool = True
    reduce_range: bool = False
    weight_type: Literal["QInt8", "QUInt8"] = "QInt8"
    activation_type: Literal["QUInt8", "QInt8"] = "QUInt8"
    op_types: Annotated[list[str], Field(min_length=1, description="Operators that are quantized")] = [
        "MatMul",
        "Gather",
    ]
    calibration: Annotated[
        Literal["minmax", "percentile", "entropy"], Field(description="How ranges follow from what is seen")
    ] = "minmax"
    percentile: Annotated[float, Field(gt=50, le=100, description="Of calibration percentile")] = 99.999
    calibration_texts: CalibrationTexts = 128
    nodes_to_exclude: NodeNames = []


class DriftBudget(Strict):
    """How far a quantized file may move embeddings; beyond it, the matrix products that move them most are searched for."""

    mean_distance: Annotated[float, Field(gt=0, description="Mean cosine distance to the float file's embeddings")]
    texts: Annotated[int, Field(gt=0, description="Training texts it is measured on")] = 64
    max_nodes: Annotated[int, Field(gt=0, description="So many of the worst are named at most")] = 4
    leave_out: Annotated[bool, Field(description="Keep those that are named in float")] = False


class ExportedDeployment(Deployment):
    """A deployment whose files begin with an ONNX export of the model, in float32 or with integer weights."""

    exporter: Exporter = "torch"
    opset: Opset = 20
    quantization: Strict | None = None

    @model_validator(mode="after")
    def _the_exporter_has_the_opset(self) -> Self:
        if self.exporter == "torch" and self.opset < 18:
            raise ValueError(
                f"exporter torch writes opset 18 or newer, not {self.opset}; set opset: 18, or exporter: optimum"
            )
        return self

    @property
    def quantized(self) -> bool:
        """Whether weights are integers."""
        return self.quantization is not None

    @property
    def integer_arithmetic(self) -> bool:
        """Whether the CPU multiplies integers."""
        return self.quantization is not None

    def check(self, inputs: dict[str, Path], folder: Path, threads: int | None, label: str) -> None:
        """Compare a float deployment with Sentence Transformers, and a quantized one with its float ONNX file."""
        from qatlab.deployments.builders.agreement import check_files

        check_files(self, inputs, folder, threads, label)


@DEPLOYMENTS.register("onnx")
class OnnxDeployment(ExportedDeployment):
    """An ONNX file run by ONNX Runtime, in float32 or quantized."""

    backend: Literal["onnx"]
    quantization: Annotated[DynamicQuantization | StaticQuantization, Field(discriminator="mode")] | None = None
    budget: DriftBudget | None = None
    exact_products: Annotated[
        bool,
        Field(
            description="On x86 without VNNI: multiply bytes so that sums never saturate, as they do by default there "
            "(ONNX Runtime's session.x64quantprecision; slower). Elsewhere it changes nothing"
        ),
    ] = False
    output: Annotated[
        Literal["float32", "int8", "binary"],
        Field(
            description="int8 or binary: the file also outputs the codes that an index stores, `sentence_embedding_int8` or "
            "`sentence_embedding_binary`, those of quantize_embeddings; int8 over training's ranges, or those of training documents"
        ),
    ] = "float32"
    range_texts: Annotated[
        int,
        Field(
            gt=0,
            description="Training documents that the ranges of output int8 are fitted on, where training left none",
        ),
    ] = 1000

    @model_validator(mode="after")
    def _a_float_file_has_no_budget(self) -> "OnnxDeployment":
        if self.budget is not None and self.quantization is None:
            raise ValueError("budget is for quantized files; add quantization or remove it")
        return self

    @property
    def needs_texts(self) -> bool:
        """Whether training texts are needed to make it."""
        return isinstance(self.quantization, StaticQuantization) or self.budget is not None or self.output == "int8"

    @property
    def has_budget(self) -> bool:
        """Whether the drift of its file is held against a budget."""
        return self.budget is not None

    @property
    def sums_are_exact(self) -> bool:
        """Whether sums of integer products never saturate, on CPUs where they do by default."""
        return self.exact_products

    @property
    def reduce_range(self) -> bool | None:
        """Whether integer weights have 7 bits, so that CPUs without VNNI do not saturate; None for float files."""
        return self.quantization.reduce_range if self.quantization else None

    def made_from(self) -> "OnnxDeployment | None":
        """Return the float file of the same exporter and operator set; None for that file itself."""
        plain = OnnxDeployment(backend="onnx", exporter=self.exporter, opset=self.opset)
        return None if self == plain else plain

    def needed_packages(self) -> dict[str, tuple[str, ...]]:
        """Return ONNX Runtime and what the exporter needs."""
        return packages_of(self.exporter)

    def build(self, inputs: dict[str, Path], target: Path, threads: int | None, label: str) -> "Coverage | None":
        """Export the model, or quantize its float file; codes are appended to either."""
        counts: Coverage | None = None
        if self.quantization is not None:
            from qatlab.deployments.builders.onnx_quantized import deploy

            counts = deploy(inputs["float"] / "model", target, self, inputs.get("data"), threads, label)
        elif self.made_from() is not None:
            shutil.copytree(inputs["float"] / "model", target, ignore=shutil.ignore_patterns(".snakemake_timestamp"))
        else:
            from qatlab.deployments.builders.onnx_export import export

            export(inputs["model"] / "model", target, self)
        if self.output != "float32":
            from qatlab.deployments.builders.onnx_codes import finish_with_codes

            finish_with_codes(target, self.output, inputs.get("data"), self.range_texts, threads)
        return counts

    def encoder(self, folder: Path, threads: int | None) -> Encoder:
        """Return what encodes with ONNX Runtime."""
        from qatlab.deployments.encoders.onnx import OnnxEncoder

        return OnnxEncoder(folder, threads, self.exact_products)

    def shared_file(self, name: str, others: Mapping[str, tuple[Deployment, str]]) -> str:
        """Return its name as Sentence Transformers names its exports.

        Float is `onnx/model.onnx`; quantized ones carry the type of their weights: `onnx/model_qint8_quantized.onnx`, and with
        what tells them apart: `onnx/model_qint8_static.onnx`.
        """
        if self.quantization is None:
            files = [other for other, _ in others.values() if isinstance(other, OnnxDeployment)]
            first = next((other for other in files if other.quantization is None), self)
            exporter = "" if self.exporter == first.exporter else f"_{self.exporter}"
            opset = "" if self.opset == first.opset else f"_opset{self.opset}"
            return f"onnx/model{exporter}{opset}.onnx"
        weights = self.quantization.weight_type.lower()
        variant = "quantized" if name == USUAL else name.removeprefix(f"{USUAL}_")
        file = f"onnx/model_{weights}_{variant}.onnx"
        taken = file in (other for _, other in others.values())
        return f"onnx/model_{weights}_{name}.onnx" if taken else file

    def simulated_by(self) -> WeightsConfig | None:
        """Return the scheme that training simulates ONNX Runtime's default grid by, where the file is on it."""
        return ONNX_INT8 if self.ships(ONNX_INT8) else None

    def ships(self, scheme: WeightsConfig) -> bool:
        """Return whether it is on the grid of a scheme: onnx_int8 is that of the default parameters."""
        whole = self.budget is None or not self.budget.leave_out
        return scheme.grid == "onnx_int8" and self.quantization == DynamicQuantization() and whole


def packages_of(exporter: str) -> dict[str, tuple[str, ...]]:
    """Return the packages that making and running an ONNX file takes, by the extra of qatlab that brings them."""
    if exporter == "optimum":
        return {"onnx": ("onnx", "onnxruntime"), "optimum": ("optimum-onnx",)}
    return {"onnx": ("onnx", "onnxruntime", "onnxscript")}
