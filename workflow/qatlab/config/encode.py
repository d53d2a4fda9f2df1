"""How texts are turned into embeddings (conf/encode)."""

from typing import Annotated

from pydantic import Field

from qatlab.base import Strict


class EncodeConfig(Strict):
    """One encoding serves every output precision."""

    batch_size: Annotated[int, Field(gt=0)] = 32
    threads: Annotated[
        int | None,
        Field(
            gt=0,
            description="Processor cores that an encoding computes with; null for all, beside which nothing else runs",
        ),
    ] = None


class EncodeTrainingConfig(EncodeConfig):
    """The same of training documents, on which ranges of integer grids and axes of bits are fitted."""

    rows: Annotated[int, Field(gt=0, description="The first so many")]
