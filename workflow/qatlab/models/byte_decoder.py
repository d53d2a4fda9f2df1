"""Generator of a small causal language model: Llama's architecture, random weights, and a tokenizer whose tokens are bytes."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from qatlab.config.model import DecoderConfig

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
