"""Names of the files in a study's tables/ folder, labels of metrics and simulations, and names of model folders."""

import hashlib
import re

# cost.csv and search.csv hold timings. Every other table is byte-identical between runs on one machine.
LONG = ("scores.csv", "drift.csv", "cost.csv", "search.csv")
SIMULATION = "simulated:"
MEASURED = "medians; memory is peak resident, or allocated on a GPU"  # how the columns of cost tables were measured
TEXT = "text"  # label of the output of a causal language model, which has no precisions
LONGEST_FOLDER = 200  # bytes
LOWER_IS_BETTER = ("bits_per_byte",)
# The first and the last row of a decomposition; between them are its components.
FROM_FLOAT, TOTAL = "float", "total"
FORMS = ("csv", "md", "tex")  # file formats of a wide table
# Wide tables to which the page of all studies links; a study has some of them.
LINKED = ("published", "scores_by_precision", "against_baseline", "qat_minus_ptq", "cost_of_training")
# Columns of a file in results/published besides keys of the study's matrix; `table` names the long table that has such values.
PUBLISHED_COLUMNS = ("table", "method", "deploy", "task", "precision", "metric", "value", "source")
PUBLISHED_TABLES = ("scores", "ranks", "drift", "cost", "training")
METRIC_NAMES = {  # labels of all other metrics than those of a ranking
    "overlap@10": "top-10 overlap with float search",
    "kendall@100": "Kendall's τ of float search's top 100",
    "spearman": "Spearman's ρ",
    "pearson": "Pearson's r",
    "positive_similarity": "positive similarity",
    "chrf": "chrF",
    "bleu": "BLEU",
    "bits_per_byte": "bits per byte",
}


def metric_label(metric: str) -> str:
    """Return the label of a metric: 'ndcg@10' → 'nDCG@10', 'spearman' → "Spearman's ρ"."""
    from qatlab.config.evaluate import (
        METRICS,  # which imports pydantic; the rules of the workflow need only the constants above
    )

    name, at, cutoff = metric.partition("@")
    if name in METRICS:  # reranking has mrr without a cutoff
        return METRICS.get(name).label + at + cutoff
    return METRIC_NAMES.get(metric, metric)


def simulation(scheme: str, activations: bool = True) -> str:
    """Return the deployment name of the forward pass of training with a scheme's fake quantizers.

    Without `activations`, only weights are quantized in this forward pass; no model is trained in it.
    """
    return SIMULATION + scheme + ("" if activations else ":weights")


def is_simulation(deployment: str) -> bool:
    """Return whether a deployment's name is that of a forward pass of training."""
    return deployment.startswith(SIMULATION)


def model_folder(run: str) -> str:
    """Return the name of a run's folder in a study's models/, in characters and of a length that all file systems and shells accept.

    The folder of METHOD:SCHEME is METHOD+SCHEME, which cannot be the name of another method.
    """
    folder = re.sub(r"[^\w.=+-]+", "-", run.replace(":", "+"))
    if folder == run.replace("/", "-").replace(":", "+") and len(folder.encode()) <= LONGEST_FOLDER:
        return folder
    return f"{folder[: LONGEST_FOLDER // 4].rstrip('-.')}-{hashlib.sha256(run.encode()).hexdigest()[:12]}"
