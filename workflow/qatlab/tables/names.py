"""The files of a study's tables/ folder, and what metrics are called in them."""

# cost.csv and search.csv hold timings. Every other table is the same bytes from run to run on one machine.
LONG = ("scores.csv", "drift.csv", "cost.csv", "search.csv")
WIDE = (
    "scores_by_precision",
    "all_metrics",
    "pareto",
    "against_baseline",
    "against_float",
    "qat_minus_ptq",
    "parity",
    "drift_summary",
    "drift_and_loss",
    "drift_budget",
    "cost_summary",
    "cost_of_training",
)
SIMULATION = "simulated:"
FORMS = ("csv", "md", "tex")
METRIC_NAMES = {"ndcg": "nDCG", "mrr": "MRR", "recall": "Recall", "accuracy": "Accuracy"}


def metric_label(metric: str) -> str:
    """'ndcg@10' → 'nDCG@10'."""
    name, _, cutoff = metric.partition("@")
    return f"{METRIC_NAMES.get(name, name)}@{cutoff}"


def simulation(scheme: str) -> str:
    """What the forward pass of training, with a scheme's fake quantizers, is called where deployments are named."""
    return SIMULATION + scheme


def is_simulation(deployment: str) -> bool:
    """Whether a name is that of a forward pass of training."""
    return deployment.startswith(SIMULATION)
