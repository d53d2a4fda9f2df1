"""Base class and registry of deployment backends, the cost of one pass, and the cosine similarity of two deployments' embeddings."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from qatlab.config.weights import WeightsConfig
from qatlab.registry import Registry, Strict

if TYPE_CHECKING:
    from qatlab.config.weights import Coverage


class Pass(NamedTuple):
    """The cost of one pass over texts.

    Attributes:
        texts: Number of texts.
        seconds: Computing time, without loading the model.
        device: Description of the device, such as the name of a GPU.
    """

    texts: int
    seconds: float
    device: str


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the cosine similarity of each row of `a` with the same row of `b`, (n,) float64.

    Raises:
        ValueError: For arrays of different shapes, or an all-zero row.
    """
    if a.shape != b.shape:
        raise ValueError(f"embeddings of shape {a.shape} and {b.shape} cannot be compared text by text")
    a, b = a.astype(np.float64), b.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    if not lengths.all():
        raise ValueError("a text has an all-zero embedding, which has no cosine similarity")
    return np.clip((a * b).sum(axis=1) / lengths, -1.0, 1.0)


class Encoder(Protocol):
    """Interface of an object that computes embeddings with a deployment."""

    device: str

    def encode(self, texts: list[str], batch_size: int, prompt: str = "") -> "np.ndarray":
        """Encode texts.

        Args:
            texts: the texts.
            batch_size: number of texts per batch.
            prompt: text that is put before each of the texts.

        Returns:
            Embeddings, (n, dim) float32, in the order of the texts.
        """


class Deployment(Strict, ABC):
    """Base class of the forms in which a model is served. A configuration chooses one by `deploy.NAME.backend`.

    A subclass adds its fields and the methods below. The modules of deployments import libraries that run models inside these
    methods only, because the plan and other stages need just the fields.
    """

    backend: str

    @abstractmethod
    def build(self, inputs: dict[str, Path], target: Path, threads: int | None, label: str) -> "Coverage | None":
        """Write a folder that the backend's runtime and Sentence Transformers load.

        Args:
            inputs: artifacts by role: `model`, the trained model; `float`, the deployment that `made_from` returns; `data`, the
                training rows.
            target: the folder to write, which does not exist yet.
            threads: number of CPU threads; None for all.
            label: name of the deployment, for messages.

        Returns:
            The number of quantized weights of linear layers among all of them; None if no weights are quantized.
        """

    @abstractmethod
    def encoder(self, folder: Path, threads: int | None) -> Encoder:
        """Return an encoder for a folder that `build` wrote.

        Args:
            folder: the folder.
            threads: number of CPU threads; None for all.
        """

    def check(self, inputs: dict[str, Path], folder: Path, threads: int | None, label: str) -> None:
        """Compare the embeddings of a folder that `build` wrote with those of its source, before anything is measured with it.

        Args:
            inputs: artifacts by role, as in `build`.
            folder: the folder.
            threads: number of CPU threads; None for all.
            label: name of the deployment, for messages.

        Raises:
            UserError: if its embeddings differ from those of Sentence Transformers.
        """

    def check_encoder(self, encoder: Encoder, folder: Path, label: str) -> None:
        """Compare an encoder with Sentence Transformers before it encodes, for backends where `check` cannot do so.

        Args:
            encoder: the encoder of the deployment.
            folder: the folder that `build` wrote.
            label: name of the deployment, for messages.

        Raises:
            UserError: if embeddings differ.
        """

    def made_from(self) -> "Deployment | None":
        """Return the float deployment that this one is converted from; None if it is made from the model itself."""
        return None

    def needed_packages(self) -> dict[str, tuple[str, ...]]:
        """Return the packages that must be installed, by the extra of qatlab that installs them."""
        return {}

    def ships(self, scheme: WeightsConfig) -> bool:
        """Return whether the deployed weights are quantized by exactly this scheme."""
        return False

    def scheme_of_layers(self) -> WeightsConfig | None:
        """Return the scheme whose filter selects layers of the PyTorch model; None where none does."""
        return None

    def simulated_by(self) -> WeightsConfig | None:
        """Return the scheme that simulates the quantization grid of the weights; None if there is none."""
        return None

    @property
    def rotated(self) -> bool:
        """Return whether embeddings are rotated, so that their axes are not those of the model."""
        return False

    @property
    def plain(self) -> bool:
        """Return whether embeddings equal those of the trained model up to rounding: float32, without rotation."""
        return not self.quantized and not self.rotated

    @property
    def quantized(self) -> bool:
        """Return whether the deployed files hold quantized weights; a simulation does not."""
        return False

    @property
    def needs_texts(self) -> bool:
        """Return whether training texts are needed to build the deployment."""
        return False

    @property
    def exported(self) -> bool:
        """Return whether the deployment is built by exporting a graph, which is not possible for every model."""
        return True

    @property
    def computes(self) -> bool:
        """Return whether a model computes the embeddings, rather than that they are read from files."""
        return True

    @property
    def serves_causal_lm(self) -> bool:
        """Return whether the deployment also serves causal language models."""
        return False

    @property
    def runs_on_gpu(self) -> bool:
        """Return whether the deployment runs on a GPU if there is one."""
        return False

    @property
    def made_on_gpu(self) -> bool:
        """Return whether the deployment is built on a GPU if there is one."""
        return False

    @property
    def integer_arithmetic(self) -> bool:
        """Return whether the CPU computes matrix products on integers."""
        return False

    @property
    def sums_are_exact(self) -> bool:
        """Return whether sums of integer products never saturate, even on CPUs where they do by default."""
        return False

    @property
    def has_budget(self) -> bool:
        """Return whether the drift of the deployed file is compared with a budget."""
        return False

    @property
    def reduce_range(self) -> bool | None:
        """Return whether integer weights have 7 bits, so that CPUs without VNNI do not saturate; None for other backends."""
        return None

    def shared_file(self, name: str, others: Mapping[str, tuple["Deployment", str]]) -> str | None:
        """Return the name of the file in a Sentence Transformers folder that holds all deployments; None if it has no such file.

        Args:
            name: name of the deployment in the study.
            others: deployments that already have a file, with the names of these files.
        """
        return None


DEPLOYMENTS: Registry[type[Deployment]] = Registry("deployment backend", "qatlab.deployments", key="backend")


def shared_names(deployments: Mapping[str, Deployment]) -> dict[str, str]:
    """Return the names of the files in the common folder, by deployment; deployments without such a file are left out."""
    names: dict[str, str] = {}
    for name, config in deployments.items():
        others = {other: (deployments[other], file) for other, file in names.items()}
        file = config.shared_file(name, others)
        if file is not None:
            names[name] = file
    return names
