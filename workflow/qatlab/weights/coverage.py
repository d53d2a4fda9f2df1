"""Coverage of a weight scheme, the share of a model's weights that it quantizes."""

from typing import NamedTuple

# Minimum share of the weights of linear layers. With a smaller one, a table's row would claim more than is quantized.
LEAST_SHARE = 0.5


class Coverage(NamedTuple):
    """The number of quantized weights in a model's linear layers, and the number of all weights in them."""

    quantized_weights: int
    linear_weights: int

    @property
    def share(self) -> float:
        """Return the quantized share of the weights, from 0 to 1; 1 for a model without linear layers."""
        return self.quantized_weights / self.linear_weights if self.linear_weights else 1.0
