"""What one pass of a deployed model over texts took."""

from typing import NamedTuple


class Pass(NamedTuple):
    """The cost of a pass.

    Attributes:
        texts: how many there were.
        seconds: of computing, without loading the model.
        device: what computed, in words.
    """

    texts: int
    seconds: float
    device: str
