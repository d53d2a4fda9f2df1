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
from torchao.prototype.safetensors.safetensors_support import flatten_tensor_state_dict, unflatten_tensor_state_dict
from transformers.utils import logging

from qatlab.config.weights import WeightsConfig
from qatlab.errors import UserError
from qatlab.models.embedding import load_model
from qatlab.weights.convert import convert
from qatlab.weights.coverage import Coverage

Load = Callable[[Path, WeightsConfig], Any]
TORCHAO_FILE = "torchao.safetensors"  # the quantized weights, beside what stays float


def deploy(source: Path, target: Path, config: WeightsConfig, load: Load | None = None) -> Coverage:
    """Write the folder `source` with the scheme's layers quantized; `load_quantized` completes the model loaded from it.

    Returns how many weights of linear layers are quantized, of how many.

    Transformers 4.57 itself stores only float8 of torchao's tensors in safetensors; the rest it would pickle.

    Args:
        load: loads the float model of a folder; Sentence Transformers by default.

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
    bare = {name.partition(".model.")[2] or name for name in quantized}  # as a Transformer module's own file names them
    for file in target.rglob("model.safetensors"):
        kept = {name: _stored(tensor, config) for name, tensor in load_file(file).items() if name not in bare}
        save_file(kept, file, {"format": "pt"})
    return counts


def load_quantized(folder: Path, config: WeightsConfig, load: Load | None = None) -> Any:
    """The model of a folder that `deploy` wrote, for inference; `load` as there."""
    level = logging.get_verbosity()
    logging.set_verbosity_error()  # it would warn of the weights that follow
    model = (load or _load)(folder, config)
    logging.set_verbosity(level)
    with safe_open(folder / TORCHAO_FILE, framework="pt") as file:
        metadata = file.metadata()
    tensors = load_file(folder / TORCHAO_FILE, device=str(model.device))
    state, left = unflatten_tensor_state_dict(tensors, metadata)
    missing = set(json.loads(metadata["tensor_names"])) - set(state)
    if left or missing:
        raise ValueError(f"{folder / TORCHAO_FILE} is not whole; deploy the model again")
    for name, tensor in state.items():
        layer, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(layer), leaf, torch.nn.Parameter(tensor, requires_grad=False))
    return model.eval()


def _load(folder: Path, config: WeightsConfig) -> SentenceTransformer:
    """In float32 on the processor; schemes for a GPU's kernels there, in what those compute with."""
    return load_model(folder, *(("cuda", "bfloat16") if config.on_gpu else ("cpu", "float32")))


def _stored(tensor: torch.Tensor, config: WeightsConfig) -> torch.Tensor:
    return tensor.bfloat16() if config.on_gpu and tensor.is_floating_point() else tensor
