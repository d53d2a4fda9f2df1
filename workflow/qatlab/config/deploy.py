"""What is shipped (conf/deploy): one entry per deployment, keyed by its name."""

from typing import Annotated, Literal

from pydantic import Field

from qatlab.config.base import Strict
from qatlab.config.precision import FittedRotationConfig


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
    """The trained model as it is, loaded by Sentence Transformers; or with a rotation of its embeddings appended."""

    backend: Literal["torch"]
    rotation: FittedRotationConfig | None = None


class OnnxDeployment(Strict):
    """An ONNX file run by ONNX Runtime, in float32 or quantized."""

    backend: Literal["onnx"]
    opset: Annotated[int, Field(ge=14, le=21)] = 18
    quantization: DynamicQuantization | None = None


DeployConfig = Annotated[TorchDeployment | OnnxDeployment, Field(discriminator="backend")]
