"""How far deployment moves embeddings (conf/drift)."""

from typing import Annotated, Literal

from pydantic import Field

from qatlab.config.base import Strict


class DriftConfig(Strict):
    """Cosine similarity of each text's embedding before and after deployment."""

    reference: Annotated[str, Field(min_length=1, description="The deployment the others are compared with")] = (
        "torch_fp32"
    )
    texts: Annotated[Literal["documents", "queries", "all"], Field(description="Which of a task's texts")] = "documents"
    limit: Annotated[int | None, Field(gt=0, description="The first n texts; null takes all")] = None
