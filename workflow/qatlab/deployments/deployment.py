"""What every deployment backend supplies, and the registry of them."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from qatlab.base import Strict
from qatlab.config.weights import WeightsConfig
from qatlab.registry import Registry

if TYPE_CHECKING:
    import numpy as np

    from qatlab.weights.coverage import Coverage


class Encoder(Protocol):
    """What runs a deployment."""

    device: str

    def encode(self, texts: list[str], batch_size: int, prompt: str = "") -> "np.ndarray":
        """Return (n, dim) float32 embeddings in the order of the texts, each behind the prompt."""


class Deployment(Strict, ABC):
    """The form in which a model is served, as a configuration chooses it by `deploy.NAME.backend`.

    A subclass adds its fields and the methods below. Modules of deployments import what runs models inside of these methods: the
    plan and other stages look at the fields alone.
    """

    backend: str

    @abstractmethod
    def build(self, inputs: dict[str, Path], target: Path, threads: int | None, label: str) -> "Coverage | None":
        """Write a folder that the backend's runtime and Sentence Transformers load.

        Args:
            inputs: artifacts by role: `model`, the trained model; `float`, the deployment by `made_from`; `data`, training rows.
            target: the folder, which does not exist yet.
            label: what messages call the deployment.

        Returns:
            How many weights of linear layers are quantized; None where none are.
        """

    @abstractmethod
    def encoder(self, folder: Path, threads: int | None) -> Encoder:
        """Return what runs a folder that `build` wrote."""

    def check(self, inputs: dict[str, Path], folder: Path, threads: int | None, label: str) -> None:
        """Compare a folder that `build` wrote with what it was made from, before anything is measured with it.

        Raises:
            UserError: where its embeddings differ from those of Sentence Transformers.
        """

    def check_encoder(self, encoder: Encoder, folder: Path, label: str) -> None:
        """Compare an encoder with Sentence Transformers when it begins to encode, where `check` could not."""

    def made_from(self) -> "Deployment | None":
        """Return the float deployment whose files this one is made from; None where it is made from the model itself."""
        return None

    def needed_packages(self) -> dict[str, tuple[str, ...]]:
        """Return the packages that must be installed, by the extra of qatlab that brings them."""
        return {}

    def ships(self, scheme: WeightsConfig) -> bool:
        """Return whether weights are quantized by that very scheme."""
        return False

    def scheme_of_layers(self) -> WeightsConfig | None:
        """Return the scheme whose filter selects layers of the PyTorch model; None where none does."""
        return None

    def simulated_by(self) -> WeightsConfig | None:
        """Return the scheme that simulates the grid of the weights; None where none does."""
        return None

    def gives_the_models_bits(self) -> bool:
        """Return whether embeddings are those of the trained model in PyTorch, float32, on its own axes."""
        return False

    @property
    def rotated(self) -> bool:
        """Whether embeddings are on other axes than the model's own."""
        return False

    @property
    def plain(self) -> bool:
        """Whether embeddings are those of the trained model, but for rounding: float32, on its own axes."""
        return not self.quantized and not self.rotated

    @property
    def quantized(self) -> bool:
        """Whether weights are shipped quantized: a simulation ships nothing."""
        return False

    @property
    def needs_texts(self) -> bool:
        """Whether training texts are needed to make it."""
        return False

    @property
    def exported(self) -> bool:
        """Whether it is made by exporting a graph, which not every model can be."""
        return True

    @property
    def serves_causal_lm(self) -> bool:
        """Whether it serves causal language models too."""
        return False

    @property
    def runs_on_gpu(self) -> bool:
        """Whether it runs on a GPU where there is one."""
        return False

    @property
    def made_on_gpu(self) -> bool:
        """Whether a GPU makes it where there is one."""
        return False

    @property
    def integer_arithmetic(self) -> bool:
        """Whether the CPU multiplies integers."""
        return False

    @property
    def sums_are_exact(self) -> bool:
        """Whether sums of integer products never saturate, on CPUs where they do by default."""
        return False

    @property
    def has_budget(self) -> bool:
        """Whether the drift of its file is held against a budget."""
        return False

    @property
    def reduce_range(self) -> bool | None:
        """Whether integer weights have 7 bits, so that CPUs without VNNI do not saturate; None for other backends."""
        return None

    def shared_file(self, name: str, others: Mapping[str, tuple["Deployment", str]]) -> str | None:
        """Return the name of its file in a Sentence Transformers folder that has those of all deployments; None for no such file.

        Args:
            name: what the study calls the deployment.
            others: deployments that have their names already, and these names.
        """
        return None


DEPLOYMENTS: Registry[type[Deployment]] = Registry("deployment backend", "qatlab.deployments", key="backend")
