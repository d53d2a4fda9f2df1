"""Miniatures of models that published studies start from: their architectures and files, with random weights, made on the spot."""

import string
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

SPECIAL = ["<pad>", "<eos>", "<bos>", "<unk>"]
GEMMA = {
    "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 6, "num_attention_heads": 2, "num_key_value_heads": 1,
    "head_dim": 64, "query_pre_attn_scalar": 64, "sliding_window": 32, "max_position_embeddings": 256,
}  # fmt: skip


def _gemma_tokenizer(end: bool) -> PreTrainedTokenizerFast:
    """A token a character, behind <bos>, as Gemma's; EmbeddingGemma's ends with <eos>."""
    vocabulary = {token: at for at, token in enumerate([*SPECIAL, "▁", *string.printable.strip(), "é", "à"])}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    single = "<bos> $A <eos>" if end else "<bos> $A"
    tokenizer.post_processor = TemplateProcessing(single=single, special_tokens=[("<bos>", 2), ("<eos>", 1)])
    names = {"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


def mpnet(folder: Path, words: list[str]) -> Path:
    """microsoft/mpnet-base: weights of masked words alone, and nothing of Sentence Transformers."""
    from transformers import MPNetConfig, MPNetForMaskedLM, MPNetTokenizerFast

    folder.mkdir(parents=True)
    vocabulary = ["<s>", "<pad>", "</s>", "<unk>", "[UNK]", *string.ascii_lowercase]
    vocabulary += [*(f"##{letter}" for letter in string.ascii_lowercase), *words, "<mask>"]
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    MPNetForMaskedLM(MPNetConfig(vocab_size=len(vocabulary), **sizes)).save_pretrained(folder)
    MPNetTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


def embedding_gemma(folder: Path) -> Path:
    """EmbeddingGemma: Gemma 3 that looks both ways, mean pooling, two linear layers, unit length, and prompts."""
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
    """Gemma 3 of 270M: text alone."""
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    tokenizer = _gemma_tokenizer(end=False)
    torch.manual_seed(0)
    Gemma3ForCausalLM(Gemma3TextConfig(vocab_size=len(tokenizer), **GEMMA)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def gemma3_with_images(folder: Path) -> Path:
    """Gemma 3 of 4B, whose weights for text lie beside those for images."""
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
