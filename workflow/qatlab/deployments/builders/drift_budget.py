"""A quantized ONNX file that moves embeddings too far: which of its matrix products do it, found by bisection.

A node's share cannot be read off its own error (errors add up and cancel on the way to the embedding), so it is measured:
the file is quantized again with part of the nodes left in float, and the part that brings drift down most is halved again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from qatlab.deployments.onnx import DriftBudget


@dataclass
class Finding:
    """What a budget's search found.

    Attributes:
        drift: mean cosine distance to the float file, of the file with everything quantized.
        nodes: the worst, first the one that matters most, and the drift with it and those before it left in float.
    """

    drift: float
    nodes: list[tuple[str, float]] = field(default_factory=list)

    @property
    def remaining(self) -> float:
        """Drift with all of the nodes found left in float."""
        return self.nodes[-1][1] if self.nodes else self.drift


def search(nodes: Sequence[str], drift_without: Callable[[list[str]], float], budget: DriftBudget) -> Finding:
    """The nodes to leave in float so that drift is within the budget, at most `max_nodes`; none where it is already.

    Args:
        nodes: candidates, in the order of the graph.
        drift_without: the drift of a file that leaves these nodes in float; called about 2 log2(nodes) times a node found.
    """
    finding = Finding(drift_without([]))
    while finding.remaining > budget.mean_distance and len(finding.nodes) < min(budget.max_nodes, len(nodes)):
        found = [name for name, _ in finding.nodes]
        candidates, drift = [name for name in nodes if name not in found], 0.0
        while True:
            middle = (len(candidates) + 1) // 2
            halves = [half for half in (candidates[:middle], candidates[middle:]) if half]
            drifts = [drift_without([*found, *half]) for half in halves]
            drift = min(drifts)
            candidates = halves[drifts.index(drift)]
            if len(candidates) == 1:
                break
        finding.nodes.append((candidates[0], drift))
    return finding
