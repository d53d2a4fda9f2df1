"""A base model (conf/model), and how it reads texts: the sections `encode` and `predict` of a configuration."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from qatlab.registry import LONGEST_TEXT, Line, LocalPath, Strict

PROMPT = "{source}\n"


class DecoderConfig(Strict):
    """A decoder of Llama's architecture with random weights and one token per byte; its keys are those of LlamaConfig."""

    hidden_size: Annotated[int, Field(ge=8, description="Number of dimensions of the hidden states.")] = 512
    intermediate_size: Annotated[
        int, Field(ge=8, description="Number of dimensions of the hidden layer of each feed-forward network.")
    ] = 1024
    num_hidden_layers: Annotated[int, Field(gt=0, description="Number of layers.")] = 9
    num_attention_heads: Annotated[
        int, Field(gt=0, description="Number of attention heads per layer, a divisor of hidden_size.")
    ] = 8
    num_key_value_heads: Annotated[
        int, Field(gt=0, description="Number of key-value heads per layer, a divisor of num_attention_heads.")
    ] = 4
    seed: Annotated[int, Field(ge=0, lt=2**32, description="Random seed of the weights.")] = 0

    @model_validator(mode="after")
    def _heads_divide(self) -> "DecoderConfig":
        if self.hidden_size % self.num_attention_heads or self.num_attention_heads % self.num_key_value_heads:
            raise ValueError(
                f"num_attention_heads {self.num_attention_heads} must divide hidden_size {self.hidden_size}, and be a multiple of "
                f"num_key_value_heads {self.num_key_value_heads}"
            )
        return self


class ModelConfig(Strict):
    """A base model from the Hugging Face hub, a local folder or an installed package, or a decoder with random weights."""

    name: Annotated[
        LocalPath,
        Field(
            description="Hub id (OWNER/NAME) or path of a local folder; for a decoder, the name that it has in tables."
        ),
    ]
    kind: Annotated[
        Literal["embedding", "static", "causal_lm", "vectors"],
        Field(
            description="embedding is a Sentence Transformers model; static is a model that embeds a text as the mean of one vector per "
            "token, which are at first the input embeddings of the Transformer `name`; causal_lm predicts the next token; vectors is "
            "a folder of stored embeddings, corpus and queries as .npy or .parquet, in place of a model."
        ),
    ] = "embedding"
    revision: Annotated[
        Line, Field(description="Branch, tag or commit of the hub repository; ignored for local folders.")
    ] = "main"
    max_seq_length: Annotated[
        int, Field(gt=0, description="Maximum number of tokens per text; longer texts are truncated.")
    ] = 128
    num_hidden_layers: Annotated[
        int | None, Field(gt=0, description="Number of leading layers of the model that are kept; null keeps all.")
    ] = None
    normalize: Annotated[
        bool | None,
        Field(
            description="embedding: whether the model's last module scales embeddings to length 1. false removes a final Normalize, so "
            "that embeddings keep the length that pooling gives; true appends one if the model has none; null changes nothing. static: "
            "null is true."
        ),
    ] = None
    decoder: Annotated[
        DecoderConfig | None,
        Field(
            description="causal_lm: architecture of a decoder that is created with random weights; null loads `name`."
        ),
    ] = None
    prompt: Annotated[
        str,
        Field(
            max_length=LONGEST_TEXT,
            description="causal_lm: prompt of a translation; {source} is replaced by the text to be translated.",
        ),
    ] = PROMPT

    @property
    def embeds(self) -> bool:
        """Return whether the model embeds texts."""
        return self.kind in ("embedding", "static")

    @model_validator(mode="after")
    def _decoders_are_causal(self) -> "ModelConfig":
        if self.embeds and (self.decoder is not None or self.prompt != PROMPT):
            raise ValueError("decoder and prompt are for causal language models; set kind: causal_lm")
        if self.kind == "causal_lm" and self.normalize is not None:
            raise ValueError(
                "normalize is for embedding models; a causal language model has no embeddings, so leave it out"
            )
        if self.kind == "static" and self.num_hidden_layers is not None:
            raise ValueError(
                "num_hidden_layers keeps layers of a Transformer; a static model has none, so leave it out"
            )
        if self.decoder is not None and self.num_hidden_layers is not None:
            raise ValueError(
                "num_hidden_layers removes layers of an existing model; for a decoder, set decoder.num_hidden_layers instead"
            )
        if self.prompt.count("{source}") != 1:
            raise ValueError(
                f"prompt must contain {{source}} exactly once, in place of the text to be translated; it is {self.prompt!r}"
            )
        return self


class EncodeConfig(Strict):
    """Settings for encoding texts; one encoding serves every output precision."""

    batch_size: Annotated[int, Field(gt=0, description="Number of texts that a model encodes at once.")] = 32
    threads: Annotated[
        int | None,
        Field(
            gt=0,
            description="Number of CPU cores that an encoding uses; null uses all of them, and no other job runs at the same time.",
        ),
    ] = None


class EncodeTrainingConfig(EncodeConfig):
    """Settings for encoding training documents, on which ranges of integer grids and axes of bits are fitted."""

    rows: Annotated[int, Field(gt=0, description="Number of training documents, from the first, that are encoded.")]


class PredictConfig(Strict):
    """Settings with which a causal language model translates the texts of a task or computes their probabilities."""

    batch_size: Annotated[
        int, Field(gt=0, description="Number of texts, or of windows of a text, that form one batch.")
    ] = 32
    max_new_tokens: Annotated[int, Field(gt=0, description="Maximum number of tokens in a translation.")] = 128
    num_beams: Annotated[
        int, Field(gt=0, description="Number of beams of the beam search; 1 takes the most likely token at each step.")
    ] = 1


class PredictionConfig(Strict):
    """Configuration of one pass of a causal language model over a task, including the prompt of the model."""

    predict: PredictConfig
    max_seq_length: Annotated[int, Field(gt=0, description="Number of tokens in a window of text.")]
    prompt: Annotated[str, Field(description="Prompt of a translation, in which {source} stands for the text.")]
