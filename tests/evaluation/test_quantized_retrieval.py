"""The evaluator for other trainers, compared with Sentence Transformers' own and with the scorer of studies."""

import csv

import numpy as np
import pytest
import torch
from datasets import Dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator, SequentialEvaluator
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

from qatlab.config.evaluate import EvaluateConfig
from qatlab.config.precision import RotationConfig
from qatlab.evaluation import QuantizedRetrievalEvaluator, quantized_retrieval
from qatlab.evaluation.axes import on_axes
from qatlab.evaluation.outputs import outputs
from qatlab.evaluation.ranking import SideRanges, side_ranges
from qatlab.evaluation.task_metrics import retrieval_metrics
from qatlab.quantization.precisions import NotFiniteError
from qatlab.statistics import bootstrap_intervals
from stored_task import stored_task

METRICS = ["ndcg@10", "ndcg@3", "mrr@10", "recall@5", "accuracy@1"]
EVERY_PRECISION = [
    *("float32", "float16", "int8", "uint8", "int4", "int2", "int2_quantile", "ternary", "binary", "ubinary"),
    *("float32_x_binary", "float32_x_int8"),
]


@pytest.fixture(scope="module")
def texts_and_judgements(pairs):
    """Return queries, a corpus, and one to three relevant documents per query."""
    held_out = pairs[60:120]
    queries = {f"q{at}": summary for at, (summary, _) in enumerate(held_out)}
    corpus = {f"d{at}": code for at, (_, code) in enumerate(held_out)}
    relevant = {f"q{at}": {f"d{(at + more) % 60}" for more in range(at % 3 + 1)} for at in range(60)}
    return queries, corpus, relevant


class Stored:
    """Replacement of a model that returns stored embeddings for texts that are row numbers."""

    def __init__(self, queries, documents, similarity):
        self.queries, self.documents, self.similarity_fn_name = queries, documents, similarity
        self.calls = []
        self.model_card_data = self

    def encode_query(self, texts, **options):
        self.calls.append("query")
        return torch.from_numpy(self.queries[[int(text) for text in texts]])

    def encode_document(self, texts, **options):
        self.calls.append("document")
        return torch.from_numpy(self.documents[[int(text) for text in texts]])

    def set_evaluation_metrics(self, evaluator, metrics, epoch, step):
        self.shown = metrics


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_float32_equals_sentence_transformers_evaluator(model, texts_and_judgements, similarity):
    model.similarity_fn_name = similarity
    theirs = InformationRetrievalEvaluator(
        *texts_and_judgements,
        ndcg_at_k=[3, 10],
        precision_recall_at_k=[5],
        accuracy_at_k=[1],
        name="dev",
        write_csv=False,
    )(model)
    ours = QuantizedRetrievalEvaluator(*texts_and_judgements, metrics=METRICS, name="dev", write_csv=False)(model)
    for metric in METRICS:
        assert ours[f"dev_float32_{metric}"] == pytest.approx(theirs[f"dev_{similarity}_{metric}"], abs=1e-12), metric
    assert 0 < ours["dev_float32_ndcg@10"] < 1


def binary_relevance(task):
    """Return a task's judgements as sets, and the task with grade 1 for every relevant document."""
    relevant = {query: set(task.relevant(query)) for query in task.query_ids}
    return relevant, {query: dict.fromkeys(documents, 1) for query, documents in relevant.items()}


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_every_precision_equals_the_scorer_of_studies(similarity):
    queries, documents, task = stored_task()
    order = np.argsort(np.array(task.document_ids))  # both then order documents of equal scores by their id
    documents, task.document_ids[:] = documents[order], [task.document_ids[at] for at in order]
    relevant, graded = binary_relevance(task)
    task.judgements.update(graded)
    evaluator = QuantizedRetrievalEvaluator(
        {query: str(row) for row, query in enumerate(task.query_ids)},
        {document: str(row) for row, document in enumerate(task.document_ids)},
        relevant,
        precisions=EVERY_PRECISION,
        metrics=METRICS,
        write_csv=False,
        resamples=99,
    )
    model = Stored(queries, documents, similarity)
    ours = evaluator(model)
    assert model.calls == ["query", "document"]
    config = EvaluateConfig(precisions=EVERY_PRECISION, metrics=METRICS, similarity=similarity)
    sides = on_axes(queries, documents, RotationConfig(), None, similarity)
    planned = outputs(config)
    ranges = side_ranges(planned, *sides, config, {})
    assert len(planned) == len(EVERY_PRECISION)
    for precision, output in zip(EVERY_PRECISION, planned, strict=True):
        expected = retrieval_metrics(*sides, task, output, ranges.get(output.ranges, SideRanges()), config)
        for metric in METRICS:
            assert ours[f"{precision}_{metric}"] == pytest.approx(expected[metric].mean(), abs=1e-12), output.name


def test_differences_are_paired_and_have_the_intervals_of_studies(model, texts_and_judgements):
    evaluator = QuantizedRetrievalEvaluator(*texts_and_judgements, precisions=["binary"], metrics=["ndcg@10"])
    values = evaluator._values(model)
    difference = values["binary", "ndcg@10"] - values["float32", "ndcg@10"]
    result = evaluator(model)
    assert difference.any()
    assert result["binary_ndcg@10_difference"] == pytest.approx(difference.mean())
    low, high = bootstrap_intervals([difference[None, None]])
    assert result["binary_ndcg@10_difference_low"] == pytest.approx(low[0])
    assert result["binary_ndcg@10_difference_high"] == pytest.approx(high[0])
    assert low[0] < difference.mean() < high[0]
    assert "float32_ndcg@10_difference" not in result


def test_blocks_of_documents_change_nothing(monkeypatch):
    torch.manual_seed(0)
    documents = torch.randint(-2, 3, (101, 8)).float()  # many ties
    queries = torch.randint(-2, 3, (7, 8)).float()
    expected = np.argsort(-(queries @ documents.T).numpy(), axis=1, kind="stable")[:, :20]
    assert quantized_retrieval.rank(queries, documents, lambda block: block, 20).tolist() == expected.tolist()
    monkeypatch.setattr(quantized_retrieval, "SCORES_AT_ONCE", 7 * 16)
    assert quantized_retrieval.rank(queries, documents, lambda block: block, 20).tolist() == expected.tolist()
    assert quantized_retrieval.rank(queries, documents[:5], lambda block: block, 20).shape == (7, 5)


def test_truncation_and_prompts_reach_the_model(model, texts_and_judgements):
    options = {"truncate_dim": 8, "query_prompt": "find: ", "corpus_prompt": "text: "}
    ours = QuantizedRetrievalEvaluator(*texts_and_judgements, precisions=["float32"], **options)(model)
    theirs = InformationRetrievalEvaluator(*texts_and_judgements, write_csv=False, **options)(model)
    assert ours["float32_ndcg@10"] == pytest.approx(theirs["cosine_ndcg@10"], abs=1e-12)
    plain = QuantizedRetrievalEvaluator(*texts_and_judgements, precisions=["float32"])(model)
    assert plain["float32_ndcg@10"] != ours["float32_ndcg@10"]


def test_csv_has_one_row_per_call(model, texts_and_judgements, tmp_path):
    evaluator = QuantizedRetrievalEvaluator(*texts_and_judgements, name="dev", resamples=99)
    results = [evaluator(model, output_path=str(tmp_path), epoch=1, steps=steps) for steps in (10, 20)]
    with (tmp_path / "Quantized-Retrieval_evaluation_dev_results.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["steps"] for row in rows] == ["10", "20"]
    assert [set(row) - {"epoch", "steps"} for row in rows] == [{key.removeprefix("dev_") for key in results[0]}] * 2
    assert float(rows[1]["int8_ndcg@10"]) == results[1]["dev_int8_ndcg@10"]


def test_primary_metric_is_known_before_the_first_call_and_may_be_chosen(model, texts_and_judgements):
    default = QuantizedRetrievalEvaluator(*texts_and_judgements, precisions=["int8", "float32"], name="dev")
    assert default.primary_metric == "dev_int8_ndcg@10"
    for given in ("binary_mrr@10", "dev_binary_mrr@10"):
        chosen = QuantizedRetrievalEvaluator(*texts_and_judgements, primary_metric=given, name="dev", resamples=99)
        assert chosen.primary_metric == "dev_binary_mrr@10"
    result = SequentialEvaluator([chosen])(model)
    assert result["sequential_score"] == result["dev_binary_mrr@10"]
    named_like_a_precision = QuantizedRetrievalEvaluator(*texts_and_judgements, name="int8", resamples=99)
    assert named_like_a_precision.primary_metric in named_like_a_precision(model)


def test_the_model_card_shows_the_result(model, texts_and_judgements):
    evaluator = QuantizedRetrievalEvaluator(*texts_and_judgements, name="dev", resamples=99)
    result = evaluator(model)
    assert model.model_card_data.eval_results_dict[evaluator] == result
    assert evaluator.description == "Quantized Retrieval"
    assert evaluator.get_config_dict() == {"precisions": ["float32", "int8", "binary"]}


@pytest.mark.parametrize("primary", ["int8_ndcg@10", "binary_ndcg@10"])
def test_the_trainer_loads_the_best_model_by_it(tiny_model, pairs, texts_and_judgements, tmp_path, primary):
    torch.manual_seed(0)
    model = SentenceTransformer(str(tiny_model), device="cpu")
    evaluator = QuantizedRetrievalEvaluator(*texts_and_judgements, primary_metric=primary, name="dev", resamples=99)
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(tmp_path),
        per_device_train_batch_size=16,
        max_steps=6,
        learning_rate=2e-3,
        eval_strategy="steps",
        save_strategy="steps",
        eval_steps=1,
        save_steps=1,
        load_best_model_at_end=True,
        metric_for_best_model=f"eval_{evaluator.primary_metric}",
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
    )
    trainer = SentenceTransformerTrainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_dict(
            {"anchor": [summary for summary, _ in pairs[:60]], "positive": [code for _, code in pairs[:60]]}
        ),
        loss=MultipleNegativesRankingLoss(model),
        evaluator=evaluator,
    )
    trainer.train()
    key = f"eval_dev_{primary}"
    values = [entry[key] for entry in trainer.state.log_history if key in entry]
    assert len(values) == 6
    assert len(set(values)) > 1
    assert trainer.state.best_metric == max(values)
    assert evaluator(model)[evaluator.primary_metric] == pytest.approx(max(values))
    assert (tmp_path / "eval" / evaluator.csv_file).is_file()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precisions": ["int7"]}, "unknown precision 'int7'"),
        ({"precisions": []}, "at least one entry"),
        ({"metrics": ["map@10"]}, "unknown metric 'map@10'; valid: ndcg@k"),
        ({"metrics": ["ndcg@0"]}, "unknown metric 'ndcg@0'"),
        ({"metrics": []}, "metrics must list at least one"),
        (
            {"primary_metric": "int4_ndcg@10"},
            "primary_metric 'int4_ndcg@10' is not a key of the result; valid: float32",
        ),
        ({"relevant_docs": {}}, "0 of 60 queries have relevant documents"),
    ],
)
def test_mistakes_are_refused(texts_and_judgements, options, message):
    names = ("queries", "corpus", "relevant_docs")
    with pytest.raises(ValueError, match=message):
        QuantizedRetrievalEvaluator(**dict(zip(names, texts_and_judgements, strict=True)) | options)


def test_embeddings_with_nan_and_other_similarities_are_refused():
    queries, documents, _ = stored_task()
    evaluator = QuantizedRetrievalEvaluator({"q": "0"}, {"d": "0"}, {"q": {"d"}}, precisions=["float32"])
    with pytest.raises(NotFiniteError, match="the model has diverged"):
        evaluator(Stored(np.full_like(queries, np.nan), documents, "cosine"))
    with pytest.raises(ValueError, match=r"set model\.similarity_fn_name to cosine or dot"):
        evaluator(Stored(queries, documents, "euclidean"))
