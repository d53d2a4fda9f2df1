"""Causal language models and their tokenizers, as folders of Transformers."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from qatlab.config.model import DecoderConfig
from qatlab.errors import UserError
from qatlab.models.safe_folder import check_folder, code_refused

IGNORED = -100  # labels that the loss of Transformers leaves out
# What weights for text are called beside those for images, and alone.
TEXT_PART = {r"^(model\.)?language_model\.(model\.)?": "model."}


def load_model(folder: Path, device: str = "cpu", dtype: str = "float32", whole: bool = True) -> PreTrainedModel:
    """In evaluation mode; safetensors only, no code of the folder's own. Of a model for images too, the part for text.

    Args:
        whole: all weights must be there: raises UserError for a folder that lacks some, which would else begin at random.
    """
    name = folder.parent.name if folder.name == "model" else folder.name
    check_folder(folder, name)
    with code_refused(name):
        model, loaded = AutoModelForCausalLM.from_pretrained(
            str(folder),
            config=_text_config(folder),
            trust_remote_code=False,
            use_safetensors=True,
            dtype=getattr(torch, dtype),
            key_mapping=TEXT_PART if _for_images_too(folder) else None,
            output_loading_info=True,
        )
    if hasattr(model, "_weight_conversions"):
        del model._weight_conversions  # or it would be saved under the names that it has beside the part for images
    missing = sorted(loaded["missing_keys"])
    if whole and missing:
        raise UserError(
            f"the weights of '{folder.parent.name}' lack {len(missing)} of {type(model).__name__}, such as {missing[0]}; "
            "it is not a causal language model, or its files are of another architecture"
        )
    found: PreTrainedModel = model.to(device).eval()
    return found


def _for_images_too(folder: Path) -> bool:
    return hasattr(AutoConfig.from_pretrained(str(folder), trust_remote_code=False), "vision_config")


def _text_config(folder: Path) -> Any:
    return AutoConfig.from_pretrained(str(folder), trust_remote_code=False).get_text_config(decoder=True)


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """With something to pad with: the end of text, where it has no token for it."""
    with code_refused(folder.parent.name):
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def beginning(tokenizer: PreTrainedTokenizerBase) -> int:
    """The token that stands before a text: the one for its beginning, or, where there is none, for the end of the one before."""
    found: int = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    return found


def tokens_of(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[list[int]]:
    """Of each text, without anything before or behind it."""
    if not texts:
        return []
    found: list[list[int]] = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
    return found


def filled(prompt: str, source: str) -> str:
    """The prompt for one text; other braces in it, and in the text, stay as they are."""
    before, _, behind = prompt.partition("{source}")
    return before + source + behind


def output_head_is_tied(model: PreTrainedModel) -> bool:
    """Whether the last layer's weight is the embedding table itself."""
    head, table = model.get_output_embeddings(), model.get_input_embeddings()
    return head is not None and head.weight is table.weight


def without_weights(folder: Path | None, decoder: DecoderConfig | None) -> Any:
    """The modules of a folder's model, or of a decoder that is to be made, with shapes only; None for an unknown architecture."""
    try:
        with torch.device("meta"):
            if decoder is not None:
                from transformers import LlamaForCausalLM

                from qatlab.models.byte_decoder import llama_config

                return LlamaForCausalLM(llama_config(decoder, max_seq_length=1))
            assert folder is not None
            return AutoModelForCausalLM.from_config(_text_config(folder), trust_remote_code=False)
    except (OSError, ValueError, KeyError, ImportError):
        return None
