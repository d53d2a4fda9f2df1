"""A small causal language model made on the spot: Llama's architecture, random weights, and a tokenizer whose tokens are bytes."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from qatlab.config.model import DecoderConfig

PAD, END = "<|pad|>", "<|end|>"  # the end of one text is the beginning of the next


def make(config: DecoderConfig, max_seq_length: int, folder: Path) -> None:
    """Writes the model in safetensors and its tokenizer, as Transformers loads them; the same bytes for the same configuration."""
    torch.manual_seed(config.seed)
    LlamaForCausalLM(llama_config(config, max_seq_length)).save_pretrained(str(folder), safe_serialization=True)
    byte_tokenizer().save_pretrained(str(folder))


def llama_config(config: DecoderConfig, max_seq_length: int) -> LlamaConfig:
    """The architecture; the output layer's weight is the embedding table, as in most small models."""
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
    """256 tokens for bytes, one for padding, one for the end of a text. Decoding gives back what was encoded."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(BPE(vocab={letter: at for at, letter in enumerate(letters)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, eos_token=END, clean_up_tokenization_spaces=False
    )
