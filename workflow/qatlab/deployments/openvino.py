"""Deployment with OpenVINO on the CPU, in float32 or int8."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from qatlab.deployments.deployment import DEPLOYMENTS, Encoder
from qatlab.deployments.onnx import CalibrationTexts, ExportedDeployment, Exporter, OnnxDeployment, Opset, packages_of
from qatlab.registry import Strict


class OpenvinoQuantization(Strict):
    """Post-training quantization to int8 by NNCF with calibration on training texts; fields are named as in `nncf.quantize`."""

    preset: Annotated[
        Literal["mixed", "performance"],
        Field(
            description="With 'mixed', activations are asymmetric and weights symmetric; with 'performance', both are symmetric."
        ),
    ] = "mixed"
    fast_bias_correction: bool = True
    calibration_texts: CalibrationTexts = 128


@DEPLOYMENTS.register("openvino")
class OpenvinoDeployment(ExportedDeployment):
    """OpenVINO model on the CPU, in float32 or int8; it needs `pip install qatlab[openvino]`."""

    backend: Literal["openvino"]
    exporter: Annotated[
        Exporter, Field(description="Exporter of the ONNX file that is converted; see the backend onnx.")
    ] = "torch"
    opset: Annotated[Opset, Field(description="ONNX operator set of the file that is converted.")] = 20
    quantization: OpenvinoQuantization | None = None

    @property
    def needs_texts(self) -> bool:
        """Return whether training texts are needed to build the deployment."""
        return self.quantization is not None

    def made_from(self) -> OnnxDeployment:
        """Return the float ONNX deployment whose file is converted."""
        return OnnxDeployment(backend="onnx", exporter=self.exporter, opset=self.opset)

    def needed_packages(self) -> dict[str, tuple[str, ...]]:
        """Return the packages that OpenVINO, NNCF and the ONNX file need, by the extra that installs them."""
        return {**packages_of(self.exporter), "openvino": ("openvino", "nncf")}

    def build(self, inputs: dict[str, Path], target: Path, threads: int | None, label: str) -> None:
        """Convert the float ONNX file, and quantize it if a quantization is configured.

        Args:
            inputs: artifacts by role, as in `Deployment.build`.
            target: the folder to write.
            threads: unused; OpenVINO chooses.
            label: unused.
        """
        from qatlab.deployments.builders.calibration import calibration_texts
        from qatlab.deployments.builders.openvino import deploy

        source, texts = inputs["float"] / "model", []
        if self.quantization is not None:
            texts = calibration_texts(source, inputs["data"], self.quantization.calibration_texts)
        deploy(source, target, self.quantization, texts)

    def encoder(self, folder: Path, threads: int | None) -> Encoder:
        """Return an encoder that runs OpenVINO."""
        from qatlab.deployments.encoders.openvino import OpenvinoEncoder

        return OpenvinoEncoder(folder, threads)
