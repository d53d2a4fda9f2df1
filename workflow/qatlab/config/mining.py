"""Configuration of hard-negative mining for evaluation records."""

from typing import Annotated

from pydantic import Field

from qatlab.config.model import ModelConfig
from qatlab.registry import Strict


class MiningConfig(Strict):
    """Settings for mining hard negatives for records without any: search results for the query other than its positive."""

    bm25: Annotated[
        int, Field(ge=0, description="Number of negatives per record, the best results of a search with BM25.")
    ] = 0
    model: Annotated[
        int,
        Field(
            ge=0,
            description="Number of further negatives per record, the best results by cosine similarity of the searcher's embeddings.",
        ),
    ] = 0
    searcher: Annotated[
        ModelConfig,
        Field(
            description="Embedding model of the search; all methods that a study compares share the negatives that it finds."
        ),
    ] = ModelConfig(name="sentence-transformers/all-MiniLM-L6-v2")

    @property
    def mines(self) -> bool:
        """Return whether any negatives are mined."""
        return self.bm25 + self.model > 0
