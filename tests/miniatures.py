"""Tiny models with random weights, which have the architectures and files of the base models of published studies."""

import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

SPECIAL = ["<pad>", "<eos>", "<bos>", "<unk>"]
GEMMA = {
    "hidden_size": 128, "intermediate_size": 256, "num_attention_heads": 2, "num_key_value_heads": 1,
    "num_hidden_layers": 2, "layer_types": ["sliding_attention", "full_attention"],  # one layer of each type
    "head_dim": 64, "query_pre_attn_scalar": 64, "sliding_window": 32, "max_position_embeddings": 256,
}  # fmt: skip


def _gemma_tokenizer(end: bool, segments: bool = False) -> PreTrainedTokenizerFast:
    """Return a tokenizer with one token per character after <bos>, like Gemma's.

    Args:
        end: whether texts end with <eos>, like EmbeddingGemma's.
        segments: whether `token_type_ids` distinguish the texts of a pair, like BERT's and DeBERTa's.
    """
    vocabulary = {token: at for at, token in enumerate([*SPECIAL, "▁", *string.printable.strip(), "é", "à"])}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    single = "<bos> $A <eos>" if end else "<bos> $A"
    tokenizer.post_processor = TemplateProcessing(single=single, special_tokens=[("<bos>", 2), ("<eos>", 1)])
    names = {"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>"}
    inputs = ["input_ids", *(["token_type_ids"] if segments else []), "attention_mask"]
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_input_names=inputs, **names)


def mpnet(folder: Path, words: list[str]) -> Path:
    """Write a model like microsoft/mpnet-base: a masked language model without files of Sentence Transformers."""
    from transformers import MPNetConfig, MPNetForMaskedLM, MPNetTokenizerFast

    folder.mkdir(parents=True)
    vocabulary = ["<s>", "<pad>", "</s>", "<unk>", "[UNK]", *string.ascii_lowercase]
    vocabulary += [*(f"##{letter}" for letter in string.ascii_lowercase), *words, "<mask>"]
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    sizes |= {"max_position_embeddings": 514}  # two of them are reserved for padding
    MPNetForMaskedLM(MPNetConfig(vocab_size=len(vocabulary), **sizes)).save_pretrained(folder)
    MPNetTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


def embedding_gemma(folder: Path) -> Path:
    """Write a model like EmbeddingGemma: bidirectional Gemma 3, mean pooling, two linear layers, normalization, and prompts."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, Transformer
    from transformers import Gemma3TextConfig, Gemma3TextModel

    tokenizer = _gemma_tokenizer(end=True)
    torch.manual_seed(0)
    config = Gemma3TextConfig(vocab_size=len(tokenizer), use_bidirectional_attention=True, **GEMMA)
    plain = folder.with_name(f"{folder.name}_plain")
    Gemma3TextModel(config).save_pretrained(plain)
    tokenizer.save_pretrained(plain)
    size, linear = config.hidden_size, {"bias": False, "activation_function": torch.nn.Identity()}
    modules = [
        Transformer(str(plain), max_seq_length=256),
        Pooling(size, pooling_mode="mean"),
        Dense(size, 4 * size, **linear),
        Dense(4 * size, size, **linear),
        Normalize(),
    ]
    prompts = {"query": "task: search result | query: ", "document": "title: none | text: "}
    SentenceTransformer(modules=modules, device="cpu", prompts=prompts).save_pretrained(
        str(folder), create_model_card=False
    )
    return folder


def gemma3(folder: Path) -> Path:
    """Write a model like Gemma 3 270M, which has no vision tower."""
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    tokenizer = _gemma_tokenizer(end=False)
    torch.manual_seed(0)
    Gemma3ForCausalLM(Gemma3TextConfig(vocab_size=len(tokenizer), **GEMMA)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def gemma3_with_images(folder: Path) -> Path:
    """Write a model like Gemma 3 4B, which has a vision tower beside the text model."""
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    tokenizer = _gemma_tokenizer(end=False)
    torch.manual_seed(1)
    images = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    images |= {"image_size": 28, "patch_size": 14}
    config = Gemma3Config(
        text_config={"vocab_size": len(tokenizer), **GEMMA}, vision_config=images, mm_tokens_per_image=4
    )
    Gemma3ForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
LONGEST = 64  # maximum number of tokens per text of a small encoder


def _small_encoders() -> dict[str, Callable[[int], Any]]:
    """Return functions that create an encoder for a given vocabulary size, keyed by the name of the architecture."""
    import transformers as t

    names = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2}
    table, grouped = {"max_position_embeddings": LONGEST}, {"num_key_value_heads": 2, "head_dim": 8}
    offset = {
        "max_position_embeddings": LONGEST + 1
    }  # counting begins behind the padding token's number, which is 0 here,
    after_one = {"max_position_embeddings": LONGEST + 2}  # and 1 in every MPNet
    deberta = {"relative_attention": True, "position_buckets": 16, "pos_att_type": ["p2c", "c2p"], **table}
    local = {"local_attention": 16, "cls_token_id": 2, "sep_token_id": 1, **table}
    both = {"use_bidirectional_attention": True, "sliding_window": 16, **grouped}
    distil = {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64, **table}
    t5 = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
    return {
        "bert": lambda size: t.BertModel(t.BertConfig(vocab_size=size, **SMALL, **table)),
        "mpnet": lambda size: t.MPNetModel(t.MPNetConfig(vocab_size=size, **SMALL, **after_one, **names)),
        "roberta": lambda size: t.RobertaModel(t.RobertaConfig(vocab_size=size, **SMALL, **offset, **names)),
        "xlm-roberta": lambda size: t.XLMRobertaModel(t.XLMRobertaConfig(vocab_size=size, **SMALL, **offset, **names)),
        "distilbert": lambda size: t.DistilBertModel(t.DistilBertConfig(vocab_size=size, **distil)),
        "deberta-v2": lambda size: t.DebertaV2Model(t.DebertaV2Config(vocab_size=size, **SMALL, **deberta)),
        "modernbert": lambda size: t.ModernBertModel(t.ModernBertConfig(vocab_size=size, **SMALL, **local, **names)),
        "t5": lambda size: t.T5EncoderModel(t.T5Config(vocab_size=size, **t5, **names)),
        "gemma3": lambda size: t.Gemma3TextModel(
            t.Gemma3TextConfig(vocab_size=size, **SMALL, **both, **table, **names)
        ),
        "qwen3": lambda size: t.Qwen3Model(t.Qwen3Config(vocab_size=size, **SMALL, **grouped, **table, **names)),
    }


ENCODERS = (
    "bert", "mpnet", "roberta", "xlm-roberta", "distilbert", "deberta-v2", "modernbert", "t5", "gemma3", "qwen3",
)  # fmt: skip


def encoder(folder: Path, architecture: str, max_tokens: int = LONGEST, pooling: str = "mean") -> Path:
    """Write a Sentence Transformers folder with a small encoder of one of ENCODERS, with random weights and one token per character.

    The tokenizer of Qwen3 pads on the left, like that of Qwen3-Embedding.
    """
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    tokenizer = _gemma_tokenizer(end=True, segments=architecture in ("bert", "deberta-v2"))
    tokenizer.padding_side = "left" if architecture == "qwen3" else "right"
    torch.manual_seed(0)
    plain = folder.with_name(f"{folder.name}_plain")
    _small_encoders()[architecture](len(tokenizer)).save_pretrained(plain)
    tokenizer.save_pretrained(plain)
    modules = [Transformer(str(plain), max_seq_length=max_tokens), Pooling(32, pooling_mode=pooling), Normalize()]
    SentenceTransformer(modules=modules, device="cpu").save_pretrained(str(folder), create_model_card=False)
    return folder


def decoder_encoder(folder: Path, pad: str | None, **tokenizer: Any) -> Path:
    """Write a Sentence Transformers folder with a decoder as encoder: last-token pooling, one token per character.

    Args:
        folder: to be written.
        pad: the padding token; None for a tokenizer without one.
        tokenizer: additional entries of tokenizer_config.json, such as add_eos_token.
    """
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
    from transformers import LlamaTokenizerFast, MistralConfig, MistralModel

    backend = _gemma_tokenizer(end=False).backend_tokenizer
    names = {"eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>", "padding_side": "left"}
    fast_tokenizer = LlamaTokenizerFast(tokenizer_object=backend, add_bos_token=True, **names, **tokenizer)
    if pad is not None:
        fast_tokenizer.pad_token = pad
    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=len(fast_tokenizer), num_key_value_heads=2, head_dim=8, sliding_window=None, **SMALL
    )
    plain = folder.with_name(f"{folder.name}_plain")
    MistralModel(config).save_pretrained(plain)
    fast_tokenizer.save_pretrained(plain)
    modules = [Transformer(str(plain), max_seq_length=64), Pooling(32, pooling_mode="lasttoken"), Normalize()]
    SentenceTransformer(modules=modules, device="cpu").save_pretrained(str(folder), create_model_card=False)
    return folder
