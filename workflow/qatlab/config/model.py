"""Which model a study starts from (conf/model)."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from qatlab.base import LONGEST_TEXT, Line, LocalPath, Strict

PROMPT = "{source}\n"


class DecoderConfig(Strict):
    """A decoder made on the spot: Llama's architecture with random weights, a token a byte. Keys are those of LlamaConfig."""

    hidden_size: Annotated[int, Field(ge=8)] = 512
    intermediate_size: Annotated[int, Field(ge=8)] = 1024
    num_hidden_layers: Annotated[int, Field(gt=0)] = 9
    num_attention_heads: Annotated[int, Field(gt=0)] = 8
    num_key_value_heads: Annotated[int, Field(gt=0)] = 4
    seed: Annotated[int, Field(ge=0, lt=2**32, description="Of the weights")] = 0

    @model_validator(mode="after")
    def _heads_divide(self) -> "DecoderConfig":
        if self.hidden_size % self.num_attention_heads or self.num_attention_heads % self.num_key_value_heads:
            raise ValueError(
                f"{self.num_attention_heads} heads must divide hidden_size {self.hidden_size}, and be a multiple of "
                f"{self.num_key_value_heads} key-value heads"
            )
        return self


class ModelConfig(Strict):
    """A base model by Hugging Face hub id, by local folder, from an installed package that carries it, or made on the spot."""

    name: Annotated[
        LocalPath, Field(description="Hub id (owner/name), path of a local folder, or what a decoder is called")
    ]
    kind: Annotated[
        Literal["embedding", "causal_lm"], Field(description="What it is for: Sentence Transformers, or next tokens")
    ] = "embedding"
    revision: Annotated[Line, Field(description="Hub branch, tag or commit; ignored for local folders")] = "main"
    max_seq_length: Annotated[int, Field(gt=0, description="Tokens kept of each text")] = 128
    num_hidden_layers: Annotated[
        int | None, Field(gt=0, description="Keep this many of its layers, the first ones; null keeps all")
    ] = None
    normalize: Annotated[
        bool | None,
        Field(
            description="embedding: whether the model's last module scales embeddings to length 1. false removes a final Normalize, so "
            "that embeddings keep the length that pooling gives; true appends one where there is none; null keeps the model as it is"
        ),
    ] = None
    decoder: Annotated[
        DecoderConfig | None, Field(description="causal_lm: made on the spot, with this architecture")
    ] = None
    prompt: Annotated[
        str,
        Field(
            max_length=LONGEST_TEXT,
            description="causal_lm: what stands before a translation; {source} is the text to be translated",
        ),
    ] = PROMPT

    @model_validator(mode="after")
    def _decoders_are_causal(self) -> "ModelConfig":
        if self.kind == "embedding" and (self.decoder is not None or self.prompt != PROMPT):
            raise ValueError("decoder and prompt are for causal language models; set kind: causal_lm")
        if self.kind == "causal_lm" and self.normalize is not None:
            raise ValueError(
                "normalize is for embedding models; a causal language model has no embeddings, so leave it out"
            )
        if self.decoder is not None and self.num_hidden_layers is not None:
            raise ValueError(
                "num_hidden_layers cuts a model that is there; a decoder has its own decoder.num_hidden_layers"
            )
        if self.prompt.count("{source}") != 1:
            raise ValueError(
                f"prompt must have {{source}} once, where the text stands that is translated; it is {self.prompt!r}"
            )
        return self
