"""Embedding models in PyTorch: loading, whether a graph can compute them, and a rotation of embeddings as an additional module."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from sentence_transformers import SentenceTransformer
from torch import nn

from qatlab.config.precision import FittedRotationConfig
from qatlab.errors import UserError
from qatlab.models.folders import check_folder, code_refused
from qatlab.models.settings import export_hindrance, prompt_for
from qatlab.quantization.rotations import Rotation, fit_rotation


def load_model(
    folder: Path, device: str = "cpu", dtype: str | None = None, config: dict[str, object] | None = None
) -> SentenceTransformer:
    """Load a model from safetensors only, without running code of the folder.

    Args:
        folder: a Sentence Transformers folder, or the folder of a plain encoder, which gets mean pooling.
        device: cpu or cuda.
        dtype: data type of the weights, such as float32; None keeps that of the files.
        config: values that replace those of the model's config.json, by key.

    Raises:
        UserError: for a folder that needs custom code, or has pickled weights.
    """
    name = folder.parent.name if folder.name == "model" else folder.name
    check_folder(folder, name)
    with code_refused(name):
        model = SentenceTransformer(
            str(folder),
            device=device,
            trust_remote_code=False,
            model_kwargs={"use_safetensors": True} | ({"dtype": dtype} if dtype else {}),
            config_kwargs=config,
        )
    tokenizer: Any = getattr(model[0], "tokenizer", None)
    if getattr(tokenizer, "pad_token", "") is None:  # Decoders that were never trained on batches have none.
        tokenizer.pad_token = tokenizer.eos_token
    return model


def static_model(folder: Path, max_seq_length: int, normalize: bool, name: str) -> SentenceTransformer:
    """Return a model that embeds a text as the mean of one vector per token, at first the input embeddings of a Transformer.

    It has the prompts and the similarity function of the Transformer's folder, and is trained and saved like any model.

    Args:
        folder: a Sentence Transformers folder that begins with a Transformer, or the folder of a plain encoder.
        max_seq_length: largest number of tokens of a text, at which the tokenizer cuts it.
        normalize: whether embeddings are scaled to length 1.
        name: name of the model, for messages.

    Raises:
        UserError: for a model without input embeddings or without a fast tokenizer.
    """
    from sentence_transformers.sentence_transformer.modules import Normalize, StaticEmbedding
    from transformers import PreTrainedTokenizerFast

    model = load_model(folder)
    transformer, tokenizer = getattr(model[0], "auto_model", None), model.tokenizer
    if transformer is None or not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise UserError(
            f"model '{name}' begins with {type(model[0]).__name__}; a static model takes its vectors from a Transformer with a fast "
            "tokenizer: name one in model.name, or set model.kind=embedding to load a static model as it is"
        )
    vectors = transformer.get_input_embeddings().weight.detach().float().clone()
    static = StaticEmbedding(tokenizer, embedding_weights=vectors)
    static.tokenizer.enable_truncation(max_seq_length)
    modules: list[nn.Module] = [static, Normalize()] if normalize else [static]
    return SentenceTransformer(
        modules=modules,
        device="cpu",
        prompts=model.prompts,
        similarity_fn_name=model.similarity_fn_name,
        trust_remote_code=False,
        model_kwargs={"use_safetensors": True},
    )


BATCH_SIZE = 32


def append_rotation(
    model: SentenceTransformer, folder: Path, config: FittedRotationConfig, data: Path, trainable: bool = False
) -> Rotation:
    """Fit a rotation and append it to a model in place; the saved model can be loaded without qatlab.

    Args:
        model: the model.
        folder: folder that the model was loaded from, which holds its prompts.
        config: kind, number of dimensions, seed and number of rows of the rotation.
        data: folder of a data artifact; its second column holds the documents.
        trainable: whether the rotation is a parameter that training changes.

    Returns:
        The rotation.

    Raises:
        UserError: if there are fewer training documents than the rotation needs.
    """
    if config.fitted:
        embeddings = training_embeddings(model, folder, data, config.fit_rows)
    else:
        embeddings = np.zeros((1, model.get_embedding_dimension() or 0), dtype=np.float32)
    try:
        bits = config.dimensions_out(embeddings.shape[1])
        rotation = fit_rotation(config.kind, embeddings, bits, config.center, config.seed)
    except ValueError as error:
        raise UserError(f"rotation {config.label}: {error}") from None
    model.append(rotation.as_module(trainable).to(model.device))
    return rotation


def training_embeddings(model: SentenceTransformer, folder: Path, data: Path, rows: int) -> np.ndarray:
    """Return the model's embeddings of the first training documents, (rows, dim) float32.

    Args:
        model: the model.
        folder: folder that the model was loaded from, which holds its prompts.
        data: folder of a data artifact; its second column holds the documents.
        rows: number of documents.
    """
    table = pq.read_table(data / "train.parquet")
    texts = table.column(1).slice(0, rows).to_pylist()
    return model.encode(
        texts,
        batch_size=BATCH_SIZE,
        prompt=prompt_for(folder, "documents"),
        convert_to_numpy=True,
        show_progress_bar=False,
    ).astype(np.float32)


def check_exportable(model: SentenceTransformer, name: str) -> None:
    """Raise a UserError for a model whose embeddings a graph of token ids cannot compute, before anything is exported."""
    pooled = all(getattr(module, "include_prompt", True) for module in model)
    hindrance = export_hindrance(type(model[0]).__name__, model.prompts or {}, pooled)
    if hindrance is not None:
        raise UserError(f"{name}: {hindrance}; leave its ONNX deployments out")
    available, requested = positions(model[0].auto_model), model.max_seq_length
    if available is not None and requested is not None and requested > available:
        raise UserError(
            f"{name}: max_seq_length is {requested}, and the model has {available} positions; set model.max_seq_length={available}"
        )


def positions(transformer: nn.Module) -> int | None:
    """Return how many tokens the table of position embeddings can hold; None for a model that computes positions."""
    for name, module in transformer.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            # RoBERTa and MPNet count positions from the id of the padding token plus one.
            return module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
    return None
