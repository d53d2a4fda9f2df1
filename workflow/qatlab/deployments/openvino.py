"""OpenVINO on the CPU, in float32 or int8: made from the ONNX file; int8 by NNCF, with ranges of activations fitted on training texts."""

import platform
import sys
from pathlib import Path
from types import ModuleType
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from qatlab.deployments.deployment import DEPLOYMENTS, Encoder
from qatlab.deployments.onnx import (
    ONNX_FILE,
    OUTPUT,
    CalibrationTexts,
    ExportedDeployment,
    Exporter,
    OnnxDeployment,
    Opset,
    packages_of,
)
from qatlab.registry import Strict


class OpenvinoQuantization(Strict):
    """Post-training quantization to int8 by NNCF with calibration on training texts; fields are named as in `nncf.quantize`."""

    preset: Annotated[
        Literal["mixed", "performance"],
        Field(
            description="With 'mixed', activations are asymmetric and weights symmetric; with 'performance', both are symmetric."
        ),
    ] = "mixed"
    fast_bias_correction: Annotated[
        bool, Field(description="Whether NNCF corrects biases by its fast method; false is more accurate, and slower.")
    ] = True
    calibration_texts: CalibrationTexts = 128


@DEPLOYMENTS.register("openvino")
class OpenvinoDeployment(ExportedDeployment):
    """OpenVINO model on the CPU, in float32 or int8; it needs `pip install qatlab[openvino]`."""

    backend: Literal["openvino"]
    exporter: Annotated[
        Exporter, Field(description="Exporter of the ONNX file that is converted; see the backend onnx.")
    ] = "torch"
    opset: Annotated[Opset, Field(description="ONNX operator set of the file that is converted.")] = 20
    quantization: Annotated[
        OpenvinoQuantization | None, Field(description="Quantization to int8 by NNCF; null keeps float32.")
    ] = None

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
        from qatlab.deployments.backends.onnx_quantized import calibration_texts

        source, texts = inputs["float"] / "model", []
        if self.quantization is not None:
            texts = calibration_texts(source, inputs["data"], self.quantization.calibration_texts)
        deploy(source, target, self.quantization, texts)

    def encoder(self, folder: Path, threads: int | None) -> Encoder:
        """Return an encoder that runs OpenVINO."""
        return OpenvinoEncoder(folder, threads)


OPENVINO_FILE = "openvino/openvino_model.xml"  # name of the file in Optimum and Sentence Transformers


def import_openvino() -> ModuleType:
    """Import the package without its telemetry."""
    # None makes the import of the telemetry package fail, which openvino and nncf tolerate; no other switch disables it for both.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    module: ModuleType = openvino
    return module


def deploy(source: Path, target: Path, config: OpenvinoQuantization | None, texts: list[str]) -> None:
    """Copy the folder of a float ONNX deployment, with an OpenVINO model instead of the ONNX file.

    Args:
        source: folder of the float ONNX deployment.
        target: the folder to write.
        config: the quantization; None keeps float32.
        texts: the calibration set; unused without quantization.

    Reference: https://docs.openvino.ai, nncf.quantize
    """
    from qatlab.deployments.backends.onnx_export import copy_without_weights
    from qatlab.deployments.backends.onnx_quantized import feeds

    openvino = import_openvino()
    model = openvino.convert_model(source / ONNX_FILE)
    if config is not None:
        import nncf

        names = {name for entry in model.inputs for name in entry.names}
        batches = list(feeds(source, texts, names))
        model = nncf.quantize(
            model,
            nncf.Dataset(batches),
            preset=nncf.QuantizationPreset(config.preset),
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(batches),
            fast_bias_correction=config.fast_bias_correction,
        )
    copy_without_weights(source, target)
    (target / OPENVINO_FILE).parent.mkdir()
    openvino.save_model(model, target / OPENVINO_FILE, compress_to_fp16=False)


class OpenvinoEncoder:
    """Model in OpenVINO's own format on the CPU; activations are computed in float32 unless the file quantizes them.

    Args:
        folder: a folder with an OpenVINO file and a tokenizer.
        threads: number of CPU threads; None for all.
    """

    def __init__(self, folder: Path, threads: int | None) -> None:
        from qatlab.deployments.backends.onnx_runtime import TokenBatches

        core = import_openvino().Core()
        self.tokens = TokenBatches(folder)
        settings = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
        if threads is not None:
            settings["INFERENCE_NUM_THREADS"] = str(threads)
        self.model = core.compile_model(str(folder / OPENVINO_FILE), "CPU", settings)
        self.input_names = {name for entry in self.model.inputs for name in entry.names}
        self.device = f"cpu ({platform.machine()}, {threads or 'all'} threads)"

    def encode(self, texts: list[str], batch_size: int, prompt: str = "") -> np.ndarray:
        """Encode texts in batches of similar length, longest first.

        Args:
            texts: the texts.
            batch_size: number of texts per batch.
            prompt: text that is put before each of the texts.

        Returns:
            Embeddings, (n, dim) float32, in the order of the texts.
        """
        from qatlab.deployments.backends.onnx_runtime import encode_by_length

        return encode_by_length([prompt + text for text in texts], batch_size, self._embed)

    def _embed(self, texts: list[str]) -> np.ndarray:
        vectors: np.ndarray = self.model(self.tokens.feed(texts, self.input_names))[OUTPUT]
        return vectors
