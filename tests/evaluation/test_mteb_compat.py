"""Scores, compared with mteb's own unchanged evaluation of the same embeddings."""

import numpy as np
import pytest
from datasets import Dataset
from mteb.abstasks import AbsTaskRetrieval, AbsTaskSTS
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.models import CompressionWrapper, ModelMeta
from mteb.similarity_functions import cos_sim
from mteb.types import OutputDType
from scipy.stats import rankdata

from qatlab.config.evaluate import COMPAT
from qatlab.evaluation import compatibility
from qatlab.evaluation.task_metrics import by_pair
from stored_task import stored_task

DTYPES = {precision: precision for precision in COMPAT["mteb_compat"]} | {"float8_e4m3": "float8_e4m3fn"}
METRICS = ["ndcg@10", "mrr@10", "recall@5", "accuracy@1"]
NAMES = {
    "ndcg@10": "ndcg_at_10",
    "mrr@10": "mrr_at_10",
    "recall@5": "recall_at_5",
    "accuracy@1": "hit_rate_at_1",
}
TREC = {"ndcg@10": "ndcg_cut_10", "recall@5": "recall_5", "accuracy@1": "success_1"}


def about(name, kind, main_score):
    return TaskMetadata(
        name=name, description="made up", type=kind, main_score=main_score, eval_langs=["eng-Latn"], category="t2t",
        dataset={"path": "made/up", "revision": "1"}, eval_splits=["test"], modalities=["text"],
    )  # fmt: skip


class MadeUpRetrieval(AbsTaskRetrieval):
    metadata = about("MadeUpRetrieval", "Retrieval", "ndcg_at_10")

    def task_specific_scores(self, scores, *_, **__):
        self.of_queries = scores  # not rounded, as the means are
        return {}


class MadeUpSTS(AbsTaskSTS):
    metadata = about("MadeUpSTS", "STS", "cosine_spearman")


class Encoder:
    def __init__(self, embeddings):
        self.embeddings = embeddings
        self.mteb_model_meta = ModelMeta.create_empty({"name": "made/up", "revision": "1"})

    def encode(self, inputs, **_):
        return np.stack([self.embeddings[text] for batch in inputs for text in batch["text"]])

    def similarity(self, first, second):
        return cos_sim(first, second)

    def similarity_pairwise(self, first, second):
        return cos_sim(first, second).diagonal()


def evaluated(task, embeddings, precision):
    encoder = Encoder(embeddings)
    if precision != "float32":
        encoder = CompressionWrapper(encoder, OutputDType(DTYPES[precision]))
    return task.evaluate(encoder, "test", encode_kwargs={"show_progress_bar": False})["default"]


@pytest.mark.parametrize("precision", DTYPES)
@pytest.mark.parametrize("same_names", [False, True])
def test_retrieval_metrics_are_those_of_mteb(precision, same_names):
    queries, documents, ours = stored_task(ignore_identical_ids=same_names)
    if same_names:  # queries are documents too
        renamed = dict(zip(ours.query_ids, ours.document_ids, strict=False))
        ours = type(ours)(
            ours.kind,
            [renamed[query] for query in ours.query_ids],
            ours.document_ids,
            {renamed[query]: {"d1": 1, **judged} for query, judged in ours.judgements.items()},
            ignore_identical_ids=True,
        )
    task = MadeUpRetrieval()
    task.ignore_identical_ids = same_names
    task.data_loaded = True
    query_embeddings = {f"asked {name}": row for name, row in zip(ours.query_ids, queries, strict=True)}
    stored = {f"stored {name}": row for name, row in zip(ours.document_ids, documents, strict=True)}
    task.dataset = {
        "default": {
            "test": {
                "queries": Dataset.from_dict({"id": ours.query_ids, "text": list(query_embeddings)}),
                "corpus": Dataset.from_dict({"id": ours.document_ids, "text": list(stored)}),
                "relevant_docs": {query: dict(judged) for query, judged in ours.judgements.items()},
                "top_ranked": None,
            }
        }
    }
    theirs = evaluated(task, query_embeddings | stored, precision)
    figures = compatibility.mteb_retrieval(queries, documents, ours, precision, "cosine", METRICS)
    for metric, values in figures.items():
        assert values.mean() == pytest.approx(theirs[NAMES[metric]], abs=6e-6), metric  # rounded to five digits there
        if metric in TREC:
            expected = [task.of_queries[query][TREC[metric]] for query in ours.query_ids]
            assert values == pytest.approx(expected, abs=1e-6), metric


@pytest.mark.parametrize("precision", DTYPES)
def test_correlations_are_those_of_mteb(precision):
    generator = np.random.default_rng(0)
    first = generator.normal(size=(80, 16)).astype(np.float32)
    second = first + generator.normal(size=(80, 16)).astype(np.float32)
    gold = generator.integers(0, 6, size=80).astype(float)
    task = MadeUpSTS()
    task.data_loaded = True
    names = [[f"{side} {row}" for row in range(80)] for side in ("first", "second")]
    task.dataset = {"test": Dataset.from_dict({"sentence1": names[0], "sentence2": names[1], "score": gold})}
    embeddings = dict(zip(names[0] + names[1], [*first, *second], strict=True))
    theirs = evaluated(task, embeddings, precision)
    computed = compatibility.mteb_similarities(first, second, precision, "cosine")
    spearman = by_pair(rankdata(computed), rankdata(gold), ranked=True).mean()
    assert spearman == pytest.approx(theirs["cosine_spearman"], abs=1e-6)
    assert by_pair(computed, gold, ranked=False).mean() == pytest.approx(theirs["cosine_pearson"], abs=1e-6)
