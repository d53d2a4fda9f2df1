"""PyTorch: the trained model as it is, rotated, or with weights that torchao quantizes."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from qatlab.artifact import link_or_copy_tree
from qatlab.config.precision import FittedRotationConfig
from qatlab.config.weights import Scheme, WeightsConfig
from qatlab.deployments.deployment import DEPLOYMENTS, Deployment, Encoder
from qatlab.machine.hardware import claim_gpu, describe_device, device_name, use_threads, visible_gpus

if TYPE_CHECKING:
    from qatlab.config.weights import Coverage


@DEPLOYMENTS.register("torch")
class TorchDeployment(Deployment):
    """Trained model that Sentence Transformers loads: unchanged, with an appended rotation, or with quantized weights."""

    backend: Literal["torch"]
    dtype: Annotated[
        Literal["float32", "bfloat16"], Field(description="Data type of the weights and of the computation.")
    ] = "float32"
    rotation: Annotated[
        FittedRotationConfig | None,
        Field(description="Rotation that is appended to the model, fitted on training documents; null appends none."),
    ] = None
    weights: Annotated[
        Scheme | None,
        Field(
            description="Scheme to which torchao quantizes the weights, whether or not the model was trained for it; null keeps "
            "them in float."
        ),
    ] = None
    simulated: Annotated[
        bool,
        Field(description="Whether weights are fake-quantized as in training, instead of being converted to integers."),
    ] = False
    activations: Annotated[
        bool, Field(description="Whether a simulated scheme also fake-quantizes activations; false: only weights.")
    ] = True

    @model_validator(mode="after")
    def _activations_can_be_left_out(self) -> "TorchDeployment":
        if self.activations:
            return self
        if not self.simulated or self.weights is None:
            raise ValueError("activations: false is for a simulated scheme; set simulated and weights, or remove it")
        if not self.weights.activated:
            raise ValueError(f"scheme '{self.weights.name}' does not quantize activations; remove activations: false")
        if self.weights.in_blocks:
            raise ValueError(
                f"scheme '{self.weights.name}' quantizes weights and activations together; remove activations: false"
            )
        return self

    @model_validator(mode="after")
    def _torchao_has_it(self) -> "TorchDeployment":
        if self.simulated and self.weights is None:
            raise ValueError("simulated needs weights: the scheme to simulate")
        if self.weights is not None and self.weights.grid == "onnx_int8" and not self.simulated:
            raise ValueError(f"weights '{self.weights.name}' is ONNX Runtime's grid; use the deployment onnx_int8")
        variants = [
            name
            for name, is_set in (
                ("a rotation", self.rotated),
                ("quantized weights", self.weights is not None),
                (f"dtype {self.dtype}", self.dtype != "float32"),
            )
            if is_set
        ]
        if len(variants) > 1:
            raise ValueError(f"{' and '.join(variants)} cannot be combined in one deployment; remove one")
        return self

    @property
    def rotated(self) -> bool:
        """Return whether embeddings are rotated, so that their axes are not those of the model."""
        return self.rotation is not None and not self.rotation.plain

    @property
    def needs_texts(self) -> bool:
        """Return whether training texts are needed to build the deployment."""
        return self.rotated

    @property
    def quantized(self) -> bool:
        """Return whether the deployed files hold quantized weights."""
        return self.weights is not None and not self.simulated

    @property
    def plain(self) -> bool:
        """Return whether embeddings are those of the trained model: float32, without rotation."""
        return self.weights is None and not self.rotated and self.dtype == "float32"

    @property
    def exported(self) -> bool:
        """Return False, because the model itself is loaded instead of an exported graph."""
        return False

    @property
    def serves_causal_lm(self) -> bool:
        """Return whether the deployment also serves causal language models, which only a rotation of embeddings does not."""
        return not self.rotated

    @property
    def runs_on_gpu(self) -> bool:
        """Return whether the deployment runs on a GPU if there is one; torchao's integer weights run on the CPU."""
        return self.weights is None or self.simulated or self.weights.on_gpu

    @property
    def made_on_gpu(self) -> bool:
        """Return whether the deployment is built on a GPU if there is one, to fit a rotation or to pack weights for GPU kernels."""
        return not self.simulated and (self.rotated or (self.weights is not None and self.weights.on_gpu))

    def scheme_of_layers(self) -> WeightsConfig | None:
        """Return the scheme of its weights."""
        return self.weights

    def simulated_by(self) -> WeightsConfig | None:
        """Return the scheme of the weights."""
        return self.weights

    def build(self, inputs: dict[str, Path], target: Path, threads: int | None, label: str) -> "Coverage | None":
        """Write the unchanged model, a rotated one, or one with weights that torchao quantizes.

        Args:
            inputs: artifacts by role, as in `Deployment.build`.
            target: the folder to write.
            threads: number of CPU threads; None for all.
            label: unused.

        Returns:
            The number of quantized weights among all of them; None if no weights are quantized.
        """
        source = inputs["model"] / "model"
        if self.weights is not None and not self.simulated:
            from qatlab.deployments.backends import torchao

            return torchao.deploy(source, target, self.weights)

        deploy(source, target, self, inputs.get("data"), threads)
        return None

    def encoder(self, folder: Path, threads: int | None) -> Encoder:
        """Return an encoder that runs Sentence Transformers."""
        return TorchEncoder(folder, threads, self)

    def check_encoder(self, encoder: Encoder, folder: Path, label: str) -> None:
        """Compare an encoder with Sentence Transformers' `encode_query` and `encode_document`, unless it is a simulation.

        Args:
            encoder: the encoder of the deployment.
            folder: the folder that `build` wrote.
            label: name of the deployment, for messages.

        Raises:
            UserError: if embeddings differ.
        """
        if not self.simulated:
            from qatlab.deployments.backends.agreement import check_agreement

            check_agreement(encoder, encoder.model, folder, label)  # type: ignore[attr-defined]

    def ships(self, scheme: WeightsConfig) -> bool:
        """Return whether the deployed weights are quantized by exactly this scheme."""
        return self.weights == scheme and not self.simulated


def deploy(source: Path, target: Path, config: TorchDeployment, data: Path | None, threads: int | None) -> None:
    """Write the folder of a PyTorch deployment; an unchanged model shares its files if the file system allows hard links.

    Args:
        source: folder of the trained model.
        target: the folder to write.
        config: data type and rotation.
        data: folder of the data artifact with the training documents, for a rotation.
        threads: number of CPU threads; None for all.
    """
    if not config.rotated and config.dtype == "float32":
        link_or_copy_tree(source, target)
        return
    from qatlab.models.embedding import append_rotation, load_model

    if config.rotated:
        claim_gpu(visible_gpus())
    use_threads(threads)
    model = load_model(source, device_name() if config.rotated else "cpu", config.dtype)
    if config.rotated:
        assert config.rotation is not None
        assert data is not None
        append_rotation(model, source, config.rotation, data)
    model.save_pretrained(str(target), safe_serialization=True, create_model_card=False)


class TorchEncoder:
    """Deployed model in float32 or bfloat16, fake-quantized, or with weights that torchao has quantized.

    Args:
        folder: a Sentence Transformers folder.
        threads: number of CPU threads; None for all.
        config: the deployment.
    """

    def __init__(self, folder: Path, threads: int | None, config: TorchDeployment) -> None:
        if config.runs_on_gpu:
            claim_gpu(visible_gpus())
        use_threads(threads)
        device = device_name() if config.runs_on_gpu else "cpu"
        if config.weights is not None and not config.simulated:
            from qatlab.deployments.backends.torchao import load_quantized

            self.model = load_quantized(folder, config.weights)
        else:
            from qatlab.models.embedding import load_model

            self.model = load_model(folder, device, config.dtype)
        if config.simulated:
            from qatlab.weights.prepare import enable, prepare

            assert config.weights is not None
            prepare(self.model, config.weights)
            if not config.activations:
                enable(self.model, weights=True, activations=False)
        self.model.eval()
        self.device = describe_device(device)

    def encode(self, texts: list[str], batch_size: int, prompt: str = "") -> np.ndarray:
        """Encode texts in batches of similar length, longest first.

        Args:
            texts: the texts.
            batch_size: number of texts per batch.
            prompt: text that is put before each of the texts; a model with include_prompt: false excludes it from pooling.

        Returns:
            Embeddings, (n, dim) float32, in the order of the texts.
        """
        from qatlab.deployments.backends.onnx_runtime import encode_by_length

        def embed(batch: list[str]) -> np.ndarray:
            vectors = self.model.encode(
                batch, batch_size=len(batch), prompt=prompt, convert_to_tensor=True, show_progress_bar=False
            )
            values: np.ndarray = vectors.float().cpu().numpy()
            return values

        return encode_by_length(texts, batch_size, embed)
