"""Deployment as an ONNX file that ONNX Runtime runs, in float32 or quantized."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from qatlab.config.weights import ONNX_INT8, WeightsConfig
from qatlab.deployments.deployment import DEPLOYMENTS, Deployment, Encoder
from qatlab.registry import Strict

if TYPE_CHECKING:
    from qatlab.config.weights import Coverage

CalibrationTexts = Annotated[
    int, Field(gt=0, description="Number of training texts to calibrate on, queries and documents in equal parts.")
]
Exporter = Annotated[
    Literal["torch", "optimum"],
    Field(
        description="Exporter of the float file: 'torch' is PyTorch's own exporter; 'optimum' is optimum-onnx, which needs "
        "`pip install qatlab[optimum]` and transformers below 5."
    ),
]
Opset = Annotated[
    int,
    Field(
        ge=14,
        le=21,
        description="ONNX operator set. The exporter torch requires at least 18; from 20 on, GELU is a single operator and faster.",
    ),
]
PerChannel = Annotated[
    bool, Field(description="Whether each output channel of a weight has its own scale, instead of one per tensor.")
]
ReduceRange = Annotated[
    bool, Field(description="Whether weights have 7 bits, so that sums do not saturate on x86 CPUs without VNNI.")
]
WeightType = Annotated[
    Literal["QInt8", "QUInt8"], Field(description="Integer type of weights, with or without a sign.")
]
NodeNames = Annotated[list[str], Field(description="Names of nodes of the float file that stay in float.")]
ONNX_FILE = "onnx/model.onnx"  # in the folder of a deployment
OUTPUT = "sentence_embedding"  # output of the graph
USUAL = "onnx_int8"  # name of the deployment that equals Sentence Transformers' own quantization
BUDGET_FILE = "budget.json"  # file beside the model of a quantized ONNX deployment that has a budget


class DynamicQuantization(Strict):
    """Dynamic quantization by ONNX Runtime with integer operators; fields are named as in `onnxruntime.quantization`."""

    mode: Annotated[
        Literal["IntegerOps"], Field(description="Integer operators; ranges of activations are found at run time.")
    ] = "IntegerOps"
    per_channel: PerChannel = True
    reduce_range: ReduceRange = False
    weight_type: WeightType = "QInt8"
    activation_type: Annotated[
        Literal["QUInt8"], Field(description="Integer operators compute ranges of activations at run time, as QUInt8.")
    ] = "QUInt8"
    enable_subgraph: Annotated[
        bool, Field(description="Whether nodes in subgraphs, such as those of loops, are quantized too.")
    ] = True
    matmul_const_b_only: Annotated[
        bool, Field(description="Whether only matrix products with a constant second factor, a weight, are quantized.")
    ] = True
    nodes_to_exclude: NodeNames = []


class StaticQuantization(Strict):
    """Static quantization by ONNX Runtime (QuantizeLinear, DequantizeLinear), whose activation ranges are calibrated on training texts."""

    mode: Annotated[
        Literal["QDQ"], Field(description="Pairs of QuantizeLinear and DequantizeLinear, with calibrated ranges.")
    ]
    per_channel: PerChannel = True
    reduce_range: ReduceRange = False
    weight_type: WeightType = "QInt8"
    activation_type: Annotated[
        Literal["QUInt8", "QInt8"], Field(description="Integer type of activations, without or with a sign.")
    ] = "QUInt8"
    op_types: Annotated[list[str], Field(min_length=1, description="Types of the operators to quantize.")] = [
        "MatMul",
        "Gather",
    ]
    calibration: Annotated[
        Literal["minmax", "percentile", "entropy"],
        Field(description="Method that computes ranges from the observed activations."),
    ] = "minmax"
    percentile: Annotated[float, Field(gt=50, le=100, description="Percentile of calibration method 'percentile'.")] = (
        99.999
    )
    calibration_texts: CalibrationTexts = 128
    nodes_to_exclude: NodeNames = []


class DriftBudget(Strict):
    """Limit of a quantized file's drift. If it is exceeded, the matrix products that contribute most to the drift are searched for."""

    mean_distance: Annotated[
        float, Field(gt=0, description="Largest mean cosine distance to the embeddings of the float file.")
    ]
    texts: Annotated[int, Field(gt=0, description="Number of training texts on which drift is measured.")] = 64
    max_nodes: Annotated[int, Field(gt=0, description="Largest number of nodes to search for.")] = 4
    leave_out: Annotated[bool, Field(description="Whether to keep these nodes in float.")] = False


class ExportedDeployment(Deployment):
    """Base class of deployments that are built from an ONNX export of the model, in float32 or with integer weights."""

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
        """Return whether the weights are integers."""
        return self.quantization is not None

    @property
    def integer_arithmetic(self) -> bool:
        """Return whether the CPU computes matrix products on integers."""
        return self.quantization is not None

    def check(self, inputs: dict[str, Path], folder: Path, threads: int | None, label: str) -> None:
        """Compare a float deployment with Sentence Transformers, and a quantized one with its float ONNX file.

        Args:
            inputs: artifacts by role, as in `build`.
            folder: the folder that `build` wrote.
            threads: number of CPU threads; None for all.
            label: name of the deployment, for messages.

        Raises:
            UserError: if they compute different embeddings.
        """
        from qatlab.deployments.backends.agreement import check_files

        check_files(self, inputs, folder, threads, label)


@DEPLOYMENTS.register("onnx")
class OnnxDeployment(ExportedDeployment):
    """ONNX file that ONNX Runtime runs, in float32 or quantized."""

    backend: Literal["onnx"]
    quantization: Annotated[
        Annotated[DynamicQuantization | StaticQuantization, Field(discriminator="mode")] | None,
        Field(description="Quantization of the file; null keeps float32."),
    ] = None
    budget: Annotated[
        DriftBudget | None, Field(description="Limit of the drift from the float file; null does not measure it.")
    ] = None
    exact_products: Annotated[
        bool,
        Field(
            description="Whether to prevent the saturation of integer sums that is the default on x86 CPUs without VNNI "
            "(ONNX Runtime's session.x64quantprecision; slower). It has no effect on other CPUs."
        ),
    ] = False
    output: Annotated[
        Literal["float32", "int8", "binary"],
        Field(
            description="With int8 or binary, the file also outputs the codes that an index stores, `sentence_embedding_int8` or "
            "`sentence_embedding_binary`, which equal those of quantize_embeddings. The ranges of int8 are those of training if it "
            "saved any, else those of training documents."
        ),
    ] = "float32"
    range_texts: Annotated[
        int,
        Field(
            gt=0,
            description="Number of training documents on which the ranges of output int8 are fitted if training saved none.",
        ),
    ] = 1000

    @model_validator(mode="after")
    def _a_float_file_has_no_budget(self) -> "OnnxDeployment":
        if self.budget is not None and self.quantization is None:
            raise ValueError("budget is for quantized files; add quantization or remove it")
        return self

    @property
    def needs_texts(self) -> bool:
        """Return whether training texts are needed to build the deployment."""
        return isinstance(self.quantization, StaticQuantization) or self.budget is not None or self.output == "int8"

    @property
    def has_budget(self) -> bool:
        """Return whether the drift of the file is compared with a budget."""
        return self.budget is not None

    @property
    def sums_are_exact(self) -> bool:
        """Return whether sums of integer products never saturate, even on CPUs where they do by default."""
        return self.exact_products

    @property
    def reduce_range(self) -> bool | None:
        """Return whether integer weights have 7 bits, so that CPUs without VNNI do not saturate; None for float files."""
        return self.quantization.reduce_range if self.quantization else None

    def made_from(self) -> "OnnxDeployment | None":
        """Return the float deployment with the same exporter and operator set; None for that deployment itself."""
        plain = OnnxDeployment(backend="onnx", exporter=self.exporter, opset=self.opset)
        return None if self == plain else plain

    def needed_packages(self) -> dict[str, tuple[str, ...]]:
        """Return the packages that ONNX Runtime and the exporter need, by the extra that installs them."""
        return packages_of(self.exporter)

    def build(self, inputs: dict[str, Path], target: Path, threads: int | None, label: str) -> "Coverage | None":
        """Export the model, or quantize its float file, and append the codes of `output` to the graph.

        Args:
            inputs: artifacts by role, as in `Deployment.build`.
            target: the folder to write.
            threads: number of CPU threads; None for all.
            label: name of the deployment, for messages.

        Returns:
            The number of quantized weights among all of them; None for a float file.
        """
        counts: Coverage | None = None
        if self.quantization is not None:
            from qatlab.deployments.backends.onnx_quantized import deploy

            counts = deploy(inputs["float"] / "model", target, self, inputs.get("data"), threads, label)
        elif self.made_from() is not None:
            shutil.copytree(inputs["float"] / "model", target, ignore=shutil.ignore_patterns(".snakemake_timestamp"))
        else:
            from qatlab.deployments.backends.onnx_export import export

            export(inputs["model"] / "model", target, self)
        if self.output != "float32":
            from qatlab.deployments.backends.onnx_quantized import finish_with_codes

            finish_with_codes(target, self.output, inputs.get("data"), self.range_texts, threads)
        return counts

    def encoder(self, folder: Path, threads: int | None) -> Encoder:
        """Return an encoder that runs ONNX Runtime."""
        from qatlab.deployments.backends.onnx_runtime import OnnxEncoder

        return OnnxEncoder(folder, threads, self.exact_products)

    def shared_file(self, name: str, others: Mapping[str, tuple[Deployment, str]]) -> str:
        """Return the name of the file in the naming scheme of Sentence Transformers' exports.

        The float file is `onnx/model.onnx`. Names of quantized files contain the type of their weights, as in
        `onnx/model_qint8_quantized.onnx`, and the variant, as in `onnx/model_qint8_static.onnx`.

        Args:
            name: name of the deployment in the study.
            others: deployments that already have a file, with the names of these files.
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
        """Return the scheme by which training simulates ONNX Runtime's default grid if the file uses this grid, else None."""
        return ONNX_INT8 if self.ships(ONNX_INT8) else None

    def ships(self, scheme: WeightsConfig) -> bool:
        """Return whether the file uses the grid of a scheme: onnx_int8 is the grid of the default parameters."""
        all_quantized = self.budget is None or not self.budget.leave_out
        return scheme.grid == "onnx_int8" and self.quantization == DynamicQuantization() and all_quantized


def packages_of(exporter: str) -> dict[str, tuple[str, ...]]:
    """Return the packages that are needed to build and run an ONNX file, by the extra of qatlab that installs them."""
    if exporter == "optimum":
        return {"onnx": ("onnx", "onnxruntime"), "optimum": ("optimum-onnx",)}
    return {"onnx": ("onnx", "onnxruntime", "onnxscript")}
