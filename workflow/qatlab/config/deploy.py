"""What is shipped (conf/deploy): one entry per deployment, keyed by its name."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from qatlab.config.base import Strict
from qatlab.config.precision import FittedRotationConfig
from qatlab.config.weights import WeightsConfig

TORCHAO_FILE = "torchao.safetensors"  # the quantized weights of a torch deployment, where it has any


class DynamicQuantization(Strict):
    """ONNX Runtime dynamic quantization with integer operators, named as in `onnxruntime.quantization`."""

    per_channel: bool = True
    reduce_range: bool = False
    weight_type: Literal["QInt8", "QUInt8"] = "QInt8"
    activation_type: Annotated[
        Literal["QUInt8"], Field(description="Integer operators compute activation ranges as QUInt8 at run time")
    ] = "QUInt8"
    mode: Literal["IntegerOps"] = "IntegerOps"
    enable_subgraph: bool = True
    matmul_const_b_only: bool = True


class TorchDeployment(Strict):
    """The trained model as it is, loaded by Sentence Transformers; with a rotation appended; or with quantized weights."""

    backend: Literal["torch"]
    rotation: FittedRotationConfig | None = None
    weights: Annotated[
        WeightsConfig | None, Field(description="A scheme of conf/weights, by torchao, whether trained for it or not")
    ] = None

    @model_validator(mode="after")
    def _torchao_has_it(self) -> "TorchDeployment":
        if self.weights is not None and self.weights.grid != "torchao":
            raise ValueError(
                f"weights '{self.weights.name}' is ONNX Runtime's grid; ship it by the deployment onnx_int8"
            )
        if self.weights is not None and self.rotation is not None and self.rotation.kind != "none":
            raise ValueError("a rotation and quantized weights are two deployments; leave one out")
        return self

    def ships(self, scheme: WeightsConfig) -> bool:
        """Whether its weights are quantized by that very scheme."""
        return self.weights == scheme


class OnnxDeployment(Strict):
    """An ONNX file run by ONNX Runtime, in float32 or quantized."""

    backend: Literal["onnx"]
    opset: Annotated[int, Field(ge=14, le=21)] = 18
    quantization: DynamicQuantization | None = None

    def ships(self, scheme: WeightsConfig) -> bool:
        """Whether it is on the grid of a scheme: onnx_int8 is that of the default parameters."""
        return scheme.grid == "onnx_int8" and self.quantization == DynamicQuantization()


DeployConfig = Annotated[TorchDeployment | OnnxDeployment, Field(discriminator="backend")]
