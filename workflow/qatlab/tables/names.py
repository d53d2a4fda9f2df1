"""The files of a study's tables/ folder, what metrics are called in them, and what a run's model is called beside them."""

import hashlib
import re

from qatlab.metrics import METRICS

# cost.csv and search.csv hold timings. Every other table is the same bytes from run to run on one machine.
LONG = ("scores.csv", "drift.csv", "cost.csv", "search.csv")
SIMULATION = "simulated:"
MEASURED = "medians; memory is peak resident, or allocated on a GPU"  # what columns of costs are
TEXT = "text"  # the output of a causal language model, which has no precisions of its own
LONGEST_FOLDER = 200  # bytes
LOWER_IS_BETTER = ("bits_per_byte",)
# The first and the last row of a decomposition; between them are its components.
FROM_FLOAT, TOTAL = "float", "total"
FORMS = ("csv", "md", "tex")
# A file of results/published: besides these, keys of the study's matrix. Which long table a figure is one of; what it is of.
PUBLISHED_COLUMNS = ("table", "method", "deploy", "task", "precision", "metric", "value", "source")
PUBLISHED_TABLES = ("scores", "ranks", "drift", "cost", "training")
METRIC_NAMES = {  # of metrics that are not of a ranking
    "spearman": "Spearman's ρ",
    "pearson": "Pearson's r",
    "positive_similarity": "positive similarity",
    "chrf": "chrF",
    "bleu": "BLEU",
    "bits_per_byte": "bits per byte",
}


def metric_label(metric: str) -> str:
    """'ndcg@10' → 'nDCG@10', 'spearman' → "Spearman's ρ"."""
    name, at, cutoff = metric.partition("@")
    if at and name in METRICS.names():
        return METRICS.get(name).label + at + cutoff
    return METRIC_NAMES.get(metric, metric)


def simulation(scheme: str, activations: bool = True) -> str:
    """What the forward pass of training, with a scheme's fake quantizers, is called where deployments are named.

    Without `activations`: the same with weights alone quantized, which nothing is trained in.
    """
    return SIMULATION + scheme + ("" if activations else ":weights")


def is_simulation(deployment: str) -> bool:
    """Whether a name is that of a forward pass of training."""
    return deployment.startswith(SIMULATION)


def model_folder(run: str) -> str:
    """The folder of a run in a study's models/, in letters and of a length that all file systems and shells take.

    The run of METHOD:SCHEME has METHOD+SCHEME, which no other method can be called.
    """
    folder = re.sub(r"[^\w.=+-]+", "-", run.replace(":", "+"))
    if folder == run.replace("/", "-").replace(":", "+") and len(folder.encode()) <= LONGEST_FOLDER:
        return folder
    return f"{folder[: LONGEST_FOLDER // 4].rstrip('-.')}-{hashlib.sha256(run.encode()).hexdigest()[:12]}"
