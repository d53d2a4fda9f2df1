"""Search for the matrix products that cause most of a quantized ONNX file's drift, by bisection.

A node's contribution cannot be derived from its own error, because errors add up and cancel on the way to the embedding. So it is
measured: the file is quantized again with part of the nodes left in float, and the part that reduces drift most is bisected again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from qatlab.deployments.onnx import DriftBudget


@dataclass
class SearchResult:
    """Result of the search for a drift budget.

    Attributes:
        drift: mean cosine distance between the float file and the file in which all nodes are quantized.
        nodes: the nodes that contribute most, the largest contribution first, each with the drift of a file that leaves it and
            the nodes before it in float.
    """

    drift: float
    nodes: list[tuple[str, float]] = field(default_factory=list)

    @property
    def remaining(self) -> float:
        """Return the drift of a file that leaves all nodes of the result in float."""
        return self.nodes[-1][1] if self.nodes else self.drift


def search(nodes: Sequence[str], drift_without: Callable[[list[str]], float], budget: DriftBudget) -> SearchResult:
    """Search for the nodes to leave in float so that drift is within the budget; none if it already is.

    Args:
        nodes: names of the candidates, in the order of the graph.
        drift_without: returns the drift of a file that leaves the given nodes in float; it is called about 2 log2(nodes) times
            for each node of the result.
        budget: the largest drift, and the largest number of nodes.
    """
    result = SearchResult(drift_without([]))
    while result.remaining > budget.mean_distance and len(result.nodes) < min(budget.max_nodes, len(nodes)):
        chosen = [name for name, _ in result.nodes]
        candidates, drift = [name for name in nodes if name not in chosen], 0.0
        while True:
            middle = (len(candidates) + 1) // 2
            halves = [half for half in (candidates[:middle], candidates[middle:]) if half]
            drifts = [drift_without([*chosen, *half]) for half in halves]
            drift = min(drifts)
            candidates = halves[drifts.index(drift)]
            if len(candidates) == 1:
                break
        result.nodes.append((candidates[0], drift))
    return result
