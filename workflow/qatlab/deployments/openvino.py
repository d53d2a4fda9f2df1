"""OpenVINO on the CPU, in float32 or int8."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from qatlab.base import Strict
from qatlab.deployments.deployment import DEPLOYMENTS, Encoder
from qatlab.deployments.onnx import CalibrationTexts, ExportedDeployment, Exporter, OnnxDeployment, Opset, packages_of


class OpenvinoQuantization(Strict):
    """NNCF's post-training quantization to int8, by ranges that are fitted on training texts; named as in `nncf.quantize`."""

    preset: Annotated[
        Literal["mixed", "performance"],
        Field(description="Activations asymmetric, weights symmetric; or both symmetric"),
    ] = "mixed"
    fast_bias_correction: bool = True
    calibration_texts: CalibrationTexts = 128


@DEPLOYMENTS.register("openvino")
class OpenvinoDeployment(ExportedDeployment):
    """An OpenVINO model on the processor, in float32 or int8; needs `pip install qatlab[openvino]`."""

    backend: Literal["openvino"]
    exporter: Annotated[Exporter, Field(description="Of the ONNX file that it is made from, as there")] = "torch"
    opset: Annotated[Opset, Field(description="Of the ONNX file that it is made from")] = 20
    quantization: OpenvinoQuantization | None = None

    @property
    def needs_texts(self) -> bool:
        """Whether training texts are needed to make it."""
        return self.quantization is not None

    def made_from(self) -> OnnxDeployment:
        """Return the float ONNX file that is converted."""
        return OnnxDeployment(backend="onnx", exporter=self.exporter, opset=self.opset)

    def needed_packages(self) -> dict[str, tuple[str, ...]]:
        """Return OpenVINO, NNCF and what the ONNX file needs."""
        return {**packages_of(self.exporter), "openvino": ("openvino", "nncf")}

    def build(self, inputs: dict[str, Path], target: Path, threads: int | None, label: str) -> None:
        """Convert the float ONNX file, quantized where a quantization is configured."""
        from qatlab.deployments.builders.calibration import calibration_texts
        from qatlab.deployments.builders.openvino import deploy

        source, texts = inputs["float"] / "model", []
        if self.quantization is not None:
            texts = calibration_texts(source, inputs["data"], self.quantization.calibration_texts)
        deploy(source, target, self.quantization, texts)

    def encoder(self, folder: Path, threads: int | None) -> Encoder:
        """Return what encodes with OpenVINO."""
        from qatlab.deployments.encoders.openvino import OpenvinoEncoder

        return OpenvinoEncoder(folder, threads)
