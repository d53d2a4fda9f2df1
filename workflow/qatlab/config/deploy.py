"""What is shipped (conf/deploy): one entry per deployment, keyed by its name."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from qatlab.config.base import Strict
from qatlab.config.precision import FittedRotationConfig
from qatlab.config.weights import WeightsConfig

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


class TorchDeployment(Strict):
    """The trained model as it is, loaded by Sentence Transformers; with a rotation appended; or with quantized weights."""

    backend: Literal["torch"]
    dtype: Annotated[Literal["float32", "bfloat16"], Field(description="Of the weights and of what is computed")] = (
        "float32"
    )
    rotation: FittedRotationConfig | None = None
    weights: Annotated[
        WeightsConfig | None, Field(description="A scheme of conf/weights, by torchao, whether trained for it or not")
    ] = None
    simulated: Annotated[
        bool, Field(description="Weights stay float and are fake-quantized as in training, instead of being converted")
    ] = False
    activations: Annotated[
        bool, Field(description="False: of a simulated scheme, weights alone are fake-quantized")
    ] = True

    @model_validator(mode="after")
    def _activations_can_be_left_out(self) -> "TorchDeployment":
        if self.activations:
            return self
        if not self.simulated or self.weights is None:
            raise ValueError("activations: false is for a simulated scheme; set simulated and weights, or leave it out")
        if not self.weights.activated:
            raise ValueError(f"scheme '{self.weights.name}' leaves activations in float anyway; leave activations out")
        if self.weights.in_blocks:
            raise ValueError(
                f"scheme '{self.weights.name}' quantizes weights and activations in one; leave activations out"
            )
        return self

    @model_validator(mode="after")
    def _torchao_has_it(self) -> "TorchDeployment":
        if self.simulated and self.weights is None:
            raise ValueError("simulated needs weights: the scheme to simulate")
        if self.weights is not None and self.weights.grid == "onnx_int8" and not self.simulated:
            raise ValueError(
                f"weights '{self.weights.name}' is ONNX Runtime's grid; ship it by the deployment onnx_int8"
            )
        given = [
            name
            for name, there in (
                ("a rotation", self.rotated),
                ("quantized weights", self.weights is not None),
                (f"dtype {self.dtype}", self.dtype != "float32"),
            )
            if there
        ]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} are deployments of their own; leave one out")
        return self

    @property
    def rotated(self) -> bool:
        """Whether embeddings are on other axes than the model's own."""
        return self.rotation is not None and not self.rotation.plain

    @property
    def needs_texts(self) -> bool:
        """Whether training texts are needed to make it."""
        return self.rotated

    @property
    def on_gpu(self) -> bool:
        """Whether it runs on a GPU where there is one: torchao's integer weights run on the processor."""
        return self.weights is None or self.simulated or self.weights.on_gpu

    @property
    def integer_arithmetic(self) -> bool:
        """Whether the processor multiplies integers: torchao's kernels there compute in float."""
        return False

    def ships(self, scheme: WeightsConfig) -> bool:
        """Whether its weights are quantized by that very scheme."""
        return self.weights == scheme and not self.simulated


class OnnxDeployment(Strict):
    """An ONNX file run by ONNX Runtime, in float32 or quantized."""

    backend: Literal["onnx"]
    exporter: Exporter = "torch"
    opset: Opset = 20
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
    def _the_exporter_has_the_opset(self) -> "OnnxDeployment":
        check_opset(self.exporter, self.opset)
        return self

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
    def integer_arithmetic(self) -> bool:
        """Whether the processor multiplies integers."""
        return self.quantization is not None

    def ships(self, scheme: WeightsConfig) -> bool:
        """Whether it is on the grid of a scheme: onnx_int8 is that of the default parameters."""
        whole = self.budget is None or not self.budget.leave_out
        return scheme.grid == "onnx_int8" and self.quantization == DynamicQuantization() and whole


class OpenvinoQuantization(Strict):
    """NNCF's post-training quantization to int8, by ranges that are fitted on training texts; named as in `nncf.quantize`."""

    preset: Annotated[
        Literal["mixed", "performance"],
        Field(description="Activations asymmetric, weights symmetric; or both symmetric"),
    ] = "mixed"
    fast_bias_correction: bool = True
    calibration_texts: CalibrationTexts = 128


class OpenvinoDeployment(Strict):
    """An OpenVINO model on the processor, in float32 or int8; needs `pip install qatlab[openvino]`."""

    backend: Literal["openvino"]
    exporter: Annotated[Exporter, Field(description="Of the ONNX file that it is made from, as there")] = "torch"
    opset: Annotated[Opset, Field(description="Of the ONNX file that it is made from")] = 20
    quantization: OpenvinoQuantization | None = None

    @model_validator(mode="after")
    def _the_exporter_has_the_opset(self) -> "OpenvinoDeployment":
        check_opset(self.exporter, self.opset)
        return self

    @property
    def needs_texts(self) -> bool:
        """Whether training texts are needed to make it."""
        return self.quantization is not None

    @property
    def integer_arithmetic(self) -> bool:
        """Whether the processor multiplies integers."""
        return self.quantization is not None

    def ships(self, scheme: WeightsConfig) -> bool:
        """No scheme trains for OpenVINO's grid."""
        return False


def check_opset(exporter: str, opset: int) -> None:
    """Raises ValueError for an ONNX operator set that an exporter cannot write."""
    if exporter == "torch" and opset < 18:
        raise ValueError(f"exporter torch writes opset 18 or newer, not {opset}; set opset: 18, or exporter: optimum")


Deployment = TorchDeployment | OnnxDeployment | OpenvinoDeployment
DeployConfig = Annotated[Deployment, Field(discriminator="backend")]
