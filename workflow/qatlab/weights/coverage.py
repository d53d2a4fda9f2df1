"""How much of a model a weight scheme quantizes."""

from typing import NamedTuple

LEAST_SHARE = 0.5  # of the weights of linear layers: below, a table's row would claim more than was quantized


class Coverage(NamedTuple):
    """How many weights of a model's linear layers are quantized, and how many there are."""

    quantized_weights: int
    linear_weights: int

    @property
    def share(self) -> float:
        """The quantized part, between 0 and 1; 1 where there are no linear layers."""
        return self.quantized_weights / self.linear_weights if self.linear_weights else 1.0
