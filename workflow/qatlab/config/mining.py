"""Hard negatives for evaluation records that have none."""

from typing import Annotated

from pydantic import Field

from qatlab.base import Strict
from qatlab.config.model import ModelConfig


class MiningConfig(Strict):
    """Hard negatives for records that have none: what a search finds for the query besides its positive."""

    bm25: Annotated[int, Field(ge=0, description="The best by BM25")] = 0
    model: Annotated[int, Field(ge=0, description="Besides these, the best by a model's cosine similarity")] = 0
    searcher: Annotated[ModelConfig, Field(description="This model: the same for all that a study compares")] = (
        ModelConfig(name="sentence-transformers/all-MiniLM-L6-v2")
    )

    @property
    def mines(self) -> bool:
        """Whether negatives are mined at all."""
        return self.bm25 + self.model > 0
