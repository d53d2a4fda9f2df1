"""Deployments of a causal language model: in float32, in bfloat16, or with weights that torchao quantizes."""

from pathlib import Path
from typing import TYPE_CHECKING

from qatlab.artifact import link_or_copy_tree
from qatlab.config.weights import WeightsConfig
from qatlab.deployments.deployment import Deployment
from qatlab.deployments.torch import TorchDeployment
from qatlab.weights.coverage import Coverage

if TYPE_CHECKING:  # a float model is copied in no time, and Transformers takes seconds to load
    from transformers import PreTrainedModel


def build(
    config: Deployment, inputs: dict[str, Path], target: Path, threads: int | None, label: str
) -> Coverage | None:
    """Write a folder that `load_deployed` reads; Transformers too, unless torchao has quantized its weights.

    Returns:
        How many weights of linear layers are quantized; None where none are.

    Raises:
        UserError: for a scheme that does not fit the model.
    """
    assert isinstance(config, TorchDeployment)  # no other deployment serves causal language models
    source = inputs["model"] / "model"
    if config.weights is not None:
        from qatlab.deployments.builders import torchao

        return torchao.deploy(source, target, config.weights, _load)
    if config.dtype == "float32":
        link_or_copy_tree(source, target)
    else:
        from qatlab.models.causal_lm import load_model, load_tokenizer

        load_model(source, dtype=config.dtype).save_pretrained(str(target), safe_serialization=True)
        load_tokenizer(source).save_pretrained(str(target))
    return None


def load_deployed(folder: Path, config: TorchDeployment, device: str) -> "PreTrainedModel":
    """In evaluation mode. Quantized weights stay where they were quantized for: a GPU's kernels or the processor."""
    from qatlab.models.causal_lm import load_model

    if config.weights is None:
        return load_model(folder, device, config.dtype)
    from qatlab.deployments.builders.torchao import load_quantized

    model: PreTrainedModel = load_quantized(folder, config.weights, _load_around)
    return model


def _load(folder: Path, config: WeightsConfig, whole: bool = True) -> "PreTrainedModel":
    from qatlab.models.causal_lm import load_model

    device, dtype = ("cuda", "bfloat16") if config.on_gpu else ("cpu", "float32")
    return load_model(folder, device, dtype, whole)


def _load_around(folder: Path, config: WeightsConfig) -> "PreTrainedModel":
    """Quantized weights are put in afterwards."""
    return _load(folder, config, whole=False)
