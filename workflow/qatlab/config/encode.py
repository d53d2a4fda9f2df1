"""Configuration of encoding, which computes the embeddings of texts (conf/encode)."""

from typing import Annotated

from pydantic import Field

from qatlab.registry import Strict


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
