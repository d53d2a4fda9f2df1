"""Causal language models and their tokenizers, as folders of Transformers; a small one can be made on the spot."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from qatlab.config.model import DecoderConfig
from qatlab.errors import UserError
from qatlab.models.folders import check_folder, code_refused

PAD, END = "<|pad|>", "<|end|>"  # END also marks the beginning of the next text.


def make(config: DecoderConfig, max_seq_length: int, folder: Path) -> None:
    """Write the model (safetensors) and its tokenizer as a Transformers folder.

    The same configuration yields the same bytes.

    Args:
        config: sizes of the architecture, and the random seed of the weights.
        max_seq_length: number of positions, in tokens.
        folder: where to write the files.
    """
    torch.manual_seed(config.seed)
    LlamaForCausalLM(llama_config(config, max_seq_length)).save_pretrained(str(folder), safe_serialization=True)
    byte_tokenizer().save_pretrained(str(folder))


def llama_config(config: DecoderConfig, max_seq_length: int) -> LlamaConfig:
    """Return the architecture; its output layer shares the weight of the embedding table, as in most small models."""
    tokenizer = byte_tokenizer()
    return LlamaConfig(
        **config.model_dump(exclude={"seed"}),
        vocab_size=len(tokenizer),
        max_position_embeddings=max_seq_length,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """Return a lossless tokenizer with 256 tokens for bytes, one for padding and one for the end of a text."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(BPE(vocab={letter: token for token, letter in enumerate(letters)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, eos_token=END, clean_up_tokenization_spaces=False
    )


IGNORED = -100  # Label of tokens that the loss of Transformers ignores.
# Maps the names of a text decoder's weights inside an image-text model to their names in a text-only model.
TEXT_PART = {r"^(model\.)?language_model\.(model\.)?": "model."}


def load_model(folder: Path, device: str = "cpu", dtype: str = "float32", complete: bool = True) -> PreTrainedModel:
    """Load a model in evaluation mode, from safetensors only and without running code of the folder.

    Of an image-text model, the text decoder is loaded.

    Args:
        folder: a Transformers folder.
        device: cpu or cuda.
        dtype: data type of the weights, such as float32.
        complete: whether all weights must be present; missing weights would be initialized at random.

    Raises:
        UserError: for a folder that needs custom code, has pickled weights, or lacks weights although `complete` is set.
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
            key_mapping=TEXT_PART if _has_vision(folder) else None,
            output_loading_info=True,
        )
    if hasattr(model, "_weight_conversions"):
        # With this attribute, weights would be saved under their names in the image-text model.
        del model._weight_conversions
    missing = sorted(loaded["missing_keys"])
    if complete and missing:
        raise UserError(
            f"the weights of '{folder.parent.name}' lack {len(missing)} of {type(model).__name__}, such as {missing[0]}; "
            "it is not a causal language model, or its files are of another architecture"
        )
    result: PreTrainedModel = model.to(device).eval()
    return result


def _has_vision(folder: Path) -> bool:
    return hasattr(AutoConfig.from_pretrained(str(folder), trust_remote_code=False), "vision_config")


def _text_config(folder: Path) -> Any:
    return AutoConfig.from_pretrained(str(folder), trust_remote_code=False).get_text_config(decoder=True)


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Load a tokenizer; if it has no padding token, the end-of-text token pads."""
    with code_refused(folder.parent.name):
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def beginning_token(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the id of the token that precedes a text: beginning-of-text, or end-of-text for a tokenizer without one."""
    token: int = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    return token


def tokens_of(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[list[int]]:
    """Return the token ids of each text, without special tokens."""
    if not texts:
        return []
    ids: list[list[int]] = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
    return ids


def fill_prompt(prompt: str, source: str) -> str:
    """Return the prompt with {source} replaced by a text; other braces in the prompt and the text are literal."""
    before, _, behind = prompt.partition("{source}")
    return before + source + behind


def output_head_is_tied(model: PreTrainedModel) -> bool:
    """Return whether the output layer shares the weight of the embedding table."""
    head, table = model.get_output_embeddings(), model.get_input_embeddings()
    return head is not None and head.weight is table.weight


def without_weights(folder: Path | None, decoder: DecoderConfig | None) -> Any:
    """Return a model's modules with shapes but without weights (on the meta device); None for an unknown architecture.

    Args:
        folder: a Transformers folder; used if `decoder` is None.
        decoder: configuration of a decoder that is yet to be generated.
    """
    try:
        with torch.device("meta"):
            if decoder is not None:
                from transformers import LlamaForCausalLM

                return LlamaForCausalLM(llama_config(decoder, max_seq_length=1))
            assert folder is not None
            return AutoModelForCausalLM.from_config(_text_config(folder), trust_remote_code=False)
    except (OSError, ValueError, KeyError, ImportError):
        return None
