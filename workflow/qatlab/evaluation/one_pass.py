"""Cost of one pass of a deployed model over texts."""

from typing import NamedTuple


class Pass(NamedTuple):
    """The cost of one pass over texts.

    Attributes:
        texts: Number of texts.
        seconds: Computing time, without loading the model.
        device: Description of the device, such as the name of a GPU.
    """

    texts: int
    seconds: float
    device: str
