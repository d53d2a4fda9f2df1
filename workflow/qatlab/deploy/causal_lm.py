"""A causal language model as it is shipped: in float32, in bfloat16, or with weights that torchao has quantized."""

from pathlib import Path

from transformers import PreTrainedModel

from qatlab.artifact import link_or_copy_tree
from qatlab.config.deploy import TorchDeployment
from qatlab.config.weights import WeightsConfig
from qatlab.models.causal_lm import load_model, load_tokenizer


def deploy(source: Path, target: Path, config: TorchDeployment) -> None:
    """Writes a folder that `load_deployed` reads; Transformers too, unless torchao has quantized its weights.

    Raises UserError if a scheme does not fit the model.
    """
    if config.weights is not None:
        from qatlab.deploy import torchao

        torchao.deploy(source, target, config.weights, _load)
    elif config.dtype == "float32":
        link_or_copy_tree(source, target)
    else:
        load_model(source, dtype=config.dtype).save_pretrained(str(target), safe_serialization=True)
        load_tokenizer(source).save_pretrained(str(target))


def load_deployed(folder: Path, config: TorchDeployment, device: str) -> PreTrainedModel:
    """In evaluation mode. Quantized weights stay where they were quantized for: a GPU's kernels or the processor."""
    if config.weights is None:
        return load_model(folder, device, config.dtype)
    from qatlab.deploy.torchao import load_quantized

    model: PreTrainedModel = load_quantized(folder, config.weights, _load)
    return model


def _load(folder: Path, config: WeightsConfig) -> PreTrainedModel:
    return load_model(folder, "cuda" if config.on_gpu else "cpu", "bfloat16" if config.on_gpu else "float32")
