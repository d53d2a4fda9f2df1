"""Which model a study starts from (conf/model)."""

from typing import Annotated

from pydantic import Field

from qatlab.config.base import Strict


class ModelConfig(Strict):
    """A base model by Hugging Face hub id, by local folder, or from an installed package that carries it."""

    name: Annotated[str, Field(min_length=1, description="Hub id (owner/name) or path of a local folder")]
    revision: Annotated[str, Field(description="Hub branch, tag or commit; ignored for local folders")] = "main"
    max_seq_length: Annotated[int, Field(gt=0, description="Tokens kept of each text")] = 128
    num_hidden_layers: Annotated[
        int | None, Field(gt=0, description="Keep this many of its layers, the first ones; null keeps all")
    ] = None
