"""PyTorch: the trained model as it is, rotated, or with weights that torchao quantizes."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from qatlab.config.precision import FittedRotationConfig
from qatlab.config.weights import Scheme, WeightsConfig
from qatlab.deployments.deployment import DEPLOYMENTS, Deployment, Encoder

if TYPE_CHECKING:
    from qatlab.weights.coverage import Coverage


@DEPLOYMENTS.register("torch")
class TorchDeployment(Deployment):
    """The trained model as it is, loaded by Sentence Transformers; with a rotation appended; or with quantized weights."""

    backend: Literal["torch"]
    dtype: Annotated[Literal["float32", "bfloat16"], Field(description="Of the weights and of what is computed")] = (
        "float32"
    )
    rotation: FittedRotationConfig | None = None
    weights: Annotated[
        Scheme | None,
        Field(description="The scheme that torchao quantizes weights to, whether the model was trained for it or not"),
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
    def quantized(self) -> bool:
        """Whether weights are shipped quantized."""
        return self.weights is not None and not self.simulated

    @property
    def plain(self) -> bool:
        """Whether embeddings are those of the trained model: float32, on its own axes."""
        return self.weights is None and not self.rotated and self.dtype == "float32"

    @property
    def exported(self) -> bool:
        """Whether it is made by exporting a graph: the model itself is loaded."""
        return False

    @property
    def serves_causal_lm(self) -> bool:
        """Whether it serves causal language models too: all but rotations of embeddings."""
        return not self.rotated

    @property
    def runs_on_gpu(self) -> bool:
        """Whether it runs on a GPU where there is one: torchao's integer weights run on the CPU."""
        return self.weights is None or self.simulated or self.weights.on_gpu

    @property
    def made_on_gpu(self) -> bool:
        """Whether a GPU makes it where there is one: a rotation is fitted on embeddings, kernels pack their own weights."""
        return not self.simulated and (self.rotated or (self.weights is not None and self.weights.on_gpu))

    def scheme_of_layers(self) -> WeightsConfig | None:
        """Return the scheme of its weights."""
        return self.weights

    def simulated_by(self) -> WeightsConfig | None:
        """Return the scheme of its weights."""
        return self.weights

    def gives_the_models_bits(self) -> bool:
        """Return whether it is the model as training wrote it."""
        return self == TorchDeployment(backend="torch")

    def build(self, inputs: dict[str, Path], target: Path, threads: int | None, label: str) -> "Coverage | None":
        """Write the model as it is, rotated, or with weights that torchao quantizes."""
        source = inputs["model"] / "model"
        if self.weights is not None and not self.simulated:
            from qatlab.deployments.builders import torchao

            return torchao.deploy(source, target, self.weights)
        from qatlab.deployments.builders.torch import deploy

        deploy(source, target, self, inputs.get("data"), threads)
        return None

    def encoder(self, folder: Path, threads: int | None) -> Encoder:
        """Return what encodes with Sentence Transformers."""
        from qatlab.deployments.encoders.torch import TorchEncoder

        return TorchEncoder(folder, threads, self)

    def check_encoder(self, encoder: Encoder, folder: Path, label: str) -> None:
        """Compare with Sentence Transformers' `encode_query` and `encode_document`; a simulation has no counterpart there."""
        if not self.simulated:
            from qatlab.deployments.builders.agreement import check_agreement

            check_agreement(encoder, encoder.model, folder, label)  # type: ignore[attr-defined]

    def ships(self, scheme: WeightsConfig) -> bool:
        """Return whether its weights are quantized by that very scheme."""
        return self.weights == scheme and not self.simulated
