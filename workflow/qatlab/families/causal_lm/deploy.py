"""Deployments of a causal language model: in float32, in bfloat16, or with weights that torchao quantizes."""

from pathlib import Path
from typing import TYPE_CHECKING

from qatlab.artifact import link_or_copy_tree
from qatlab.config.weights import Coverage, WeightsConfig
from qatlab.deployments.deployment import Deployment
from qatlab.deployments.torch import TorchDeployment

if TYPE_CHECKING:  # copying a float model is fast, and importing Transformers takes seconds
    from transformers import PreTrainedModel


def build(
    config: Deployment, inputs: dict[str, Path], target: Path, threads: int | None, label: str
) -> Coverage | None:
    """Write a folder that `load_deployed` loads; Transformers loads it too, unless torchao has quantized its weights.

    Args:
        config: the deployment, which must be a `TorchDeployment`.
        inputs: artifacts of the job by role; `model` is the trained model.
        target: folder to write.
        threads: not used, because nothing is computed in parallel here.
        label: not used.

    Returns:
        The number of quantized weights of linear layers, and of all; None for a float model.

    Raises:
        UserError: for a scheme that does not fit the model.
    """
    assert isinstance(config, TorchDeployment)  # no other deployment serves causal language models
    source = inputs["model"] / "model"
    if config.weights is not None:
        from qatlab.deployments.backends import torchao

        return torchao.deploy(source, target, config.weights, _load)
    if config.dtype == "float32":
        link_or_copy_tree(source, target)
    else:
        from qatlab.models.causal_lm import load_model, load_tokenizer

        load_model(source, dtype=config.dtype).save_pretrained(str(target), safe_serialization=True)
        load_tokenizer(source).save_pretrained(str(target))
    return None


def load_deployed(folder: Path, config: TorchDeployment, device: str) -> "PreTrainedModel":
    """Load the model in evaluation mode.

    Quantized weights stay on the device for whose kernels they were quantized, a GPU or the CPU; others are loaded to `device`.
    """
    from qatlab.models.causal_lm import load_model

    if config.weights is None:
        return load_model(folder, device, config.dtype)
    from qatlab.deployments.backends.torchao import load_quantized

    model: PreTrainedModel = load_quantized(folder, config.weights, _load_around)
    return model


def _load(folder: Path, config: WeightsConfig, complete: bool = True) -> "PreTrainedModel":
    from qatlab.models.causal_lm import load_model

    device, dtype = ("cuda", "bfloat16") if config.on_gpu else ("cpu", "float32")
    return load_model(folder, device, dtype, complete)


def _load_around(folder: Path, config: WeightsConfig) -> "PreTrainedModel":
    """Load a model without requiring all of its weights, because the quantized ones are loaded afterwards."""
    return _load(folder, config, complete=False)
