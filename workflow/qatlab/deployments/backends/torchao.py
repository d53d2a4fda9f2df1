"""A model whose weights torchao has quantized, in safetensors: `torchao.safetensors` beside what stays float."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from torch import nn
from torchao.prototype.safetensors.safetensors_support import flatten_tensor_state_dict, unflatten_tensor_state_dict
from torchao.quantization import quantize_
from transformers.utils import logging

from qatlab.config.weights import Coverage, WeightsConfig
from qatlab.errors import UserError
from qatlab.models.embedding import load_model
from qatlab.weights.prepare import clipped, embedding_config, linear_config
from qatlab.weights.select import coverage, selected


def convert(model: nn.Module, config: WeightsConfig) -> tuple[list[str], Coverage]:
    """Quantize the layers that a scheme selects in place, for inference.

    Args:
        model: A model without fake quantizers.
        config: The scheme.

    Returns:
        The names of the quantized layers, and the numbers of their weights and of all weights of linear layers.

    Raises:
        ValueError: If the scheme selects no layer, if the group size does not divide the inputs of a layer, or for the grid of ONNX
            Runtime, which torchao does not have.
    """
    if config.grid == "onnx_int8":
        raise ValueError(f"weight scheme '{config.name}' is ONNX Runtime's grid, not torchao's; deploy it as onnx_int8")
    chosen = selected(model, config)
    counts = coverage(model, chosen.values())
    for module in chosen.values():
        if config.clip is not None:
            with torch.no_grad():
                module.weight.copy_(clipped(module.weight, config.clip, config.bits, config.group_size))
        base = linear_config(config) if isinstance(module, nn.Linear) else embedding_config(config)
        quantize_(module, base, filter_fn=lambda inner, _, module=module: inner is module)
    return list(chosen), counts


Load = Callable[[Path, WeightsConfig], Any]
TORCHAO_FILE = "torchao.safetensors"  # file of the quantized weights


def deploy(source: Path, target: Path, config: WeightsConfig, load: Load | None = None) -> Coverage:
    """Copy a model's folder and quantize the layers of a scheme; `load_quantized` loads the result.

    Of torchao's tensors, Transformers 4.57 itself stores only float8 in safetensors and would pickle the others.

    Args:
        source: folder of the trained model.
        target: the folder to write.
        config: the scheme.
        load: loads the float model of a folder; Sentence Transformers by default.

    Returns:
        The number of quantized weights of linear layers among all of them.

    Raises:
        UserError: if the scheme does not fit the model.
    """
    model = (load or _load)(source, config)
    try:
        layers, counts = convert(model, config)
    except ValueError as error:
        raise UserError(str(error)) from None
    state = model.state_dict()
    quantized = {f"{layer}.weight": state[f"{layer}.weight"] for layer in layers}
    shutil.copytree(source, target, ignore=shutil.ignore_patterns(".snakemake_timestamp"))
    tensors, metadata = flatten_tensor_state_dict(quantized)
    save_file(tensors, target / TORCHAO_FILE, metadata)
    bare = {name.partition(".model.")[2] or name for name in quantized}  # names in the file of a Transformer module
    for file in target.rglob("model.safetensors"):
        kept = {name: _stored(tensor, config) for name, tensor in load_file(file).items() if name not in bare}
        save_file(kept, file, {"format": "pt"})
    return counts


def load_quantized(folder: Path, config: WeightsConfig, load: Load | None = None) -> Any:
    """Load the model of a folder that `deploy` wrote, for inference.

    Args:
        folder: the folder.
        config: the scheme.
        load: loads the float model of a folder; Sentence Transformers by default.

    Raises:
        ValueError: if the file of the quantized weights is incomplete.
    """
    level = logging.get_verbosity()
    logging.set_verbosity_error()  # Transformers would warn of missing weights, which are loaded below.
    model = (load or _load)(folder, config)
    logging.set_verbosity(level)
    with safe_open(folder / TORCHAO_FILE, framework="pt") as file:
        metadata = file.metadata()
    tensors = load_file(folder / TORCHAO_FILE, device=str(model.device))
    state, remaining = unflatten_tensor_state_dict(tensors, metadata)
    missing = set(json.loads(metadata["tensor_names"])) - set(state)
    if remaining or missing:
        raise ValueError(f"{folder / TORCHAO_FILE} is incomplete; deploy the model again")
    for name, tensor in state.items():
        layer, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(layer), leaf, torch.nn.Parameter(tensor, requires_grad=False))
    return model.eval()


def _load(folder: Path, config: WeightsConfig) -> SentenceTransformer:
    """Load a model in float32 on the CPU; for schemes of GPU kernels, in bfloat16 on the GPU."""
    return load_model(folder, *(("cuda", "bfloat16") if config.on_gpu else ("cpu", "float32")))


def _stored(tensor: torch.Tensor, config: WeightsConfig) -> torch.Tensor:
    return tensor.bfloat16() if config.on_gpu and tensor.is_floating_point() else tensor
