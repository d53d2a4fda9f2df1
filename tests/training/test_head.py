"""A head trained on cached embeddings: its terms, its bits against ITQ, what it keeps, and that it repeats and resumes."""

import io
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.special import rel_entr, softmax

from qatlab.config.method import HeadConfig
from qatlab.quantization.precisions import NotFiniteError
from qatlab.quantization.rotations import Rotation, fit_rotation
from qatlab.training.head import Codes, Frame, HeadTraining, divergence, fit_head

DIM = 32
SPREAD = np.linspace(1.0, 0.05, DIM) ** 2  # a few of the given axes hold most of the variance


def mixture(count, seed):
    """Return embeddings around 60 centres, and queries near the first ones, (count, DIM) float32 of unit length."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(7).normal(size=(60, DIM))
    documents = (centres[random.integers(60, size=count)] + 0.7 * random.normal(size=(count, DIM))) * SPREAD
    queries = documents + 0.2 * random.normal(size=(count, DIM)) * SPREAD
    return tuple((x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32) for x in (documents, queries))


DOCUMENTS, QUERIES = mixture(1200, 0)
QUICK = {"steps": 40, "evaluate_every": 10, "anchors": 8, "neighbours": 4}


def config(fitted_on="corpus", **options):
    return HeadConfig(fitted_on=fitted_on, **options)


def overlap(rotation, documents, queries, k=10):
    """Return the share of the k nearest documents of float embeddings among those of bits, by sorting in NumPy."""
    wanted = np.argsort(-(queries @ documents.T), axis=1, kind="stable")[:, :k]
    signs = [
        np.where(rotation(side) > 0, 1, -1) if rotation else np.where(side > 0, 1, -1) for side in (queries, documents)
    ]
    nearest = np.argsort(-(signs[0] @ signs[1].T), axis=1, kind="stable")[:, :k]
    return np.mean([len(set(a) & set(b)) / k for a, b in zip(wanted, nearest, strict=True)])


OTHERS, OTHER_QUERIES = mixture(600, 1)
PLAIN = overlap(None, OTHERS, OTHER_QUERIES)
ITQ = overlap(fit_rotation("itq", DOCUMENTS), OTHERS, OTHER_QUERIES)


@pytest.mark.slow(2)
@pytest.mark.parametrize("fitted_on", ["corpus", "pairs"])
def test_from_the_given_axes_a_head_regains_most_of_what_itq_gains(fitted_on):
    """The documents and queries of the test are new ones of the same mixture."""
    assert ITQ > PLAIN + 0.1  # the given axes are bad ones
    queries = QUERIES if fitted_on == "pairs" else None
    head, history = fit_head(DOCUMENTS, queries, config(fitted_on, start="none", steps=300, learning_rate=2e-2))
    assert overlap(head, OTHERS, OTHER_QUERIES) > PLAIN + 0.6 * (ITQ - PLAIN)
    measured = [row for row in history if "held_out_score" in row]
    best = max(measured, key=lambda row: row["held_out_score"])
    assert best["held_out_score"] > measured[0]["held_out_score"] + 0.02
    assert best["held_out_objective"] < 0.8 * measured[0]["held_out_objective"]


@pytest.mark.parametrize("fitted_on", ["corpus", "pairs"])
def test_from_the_axes_of_itq_a_head_loses_nothing(fitted_on):
    head, _ = fit_head(DOCUMENTS, QUERIES if fitted_on == "pairs" else None, config(fitted_on, steps=100))
    assert overlap(head, OTHERS, OTHER_QUERIES) > ITQ - 0.01


@pytest.mark.parametrize("start", ["none", "random", {"kind": "overcomplete", "bits": 80}])
def test_a_head_without_centre_keeps_float_similarities(start):
    training = HeadTraining(DOCUMENTS, None, config(start=start, learning_rate=0.01, **QUICK), 0)
    first = training.best
    for _ in range(20):
        training.advance()
    head = training.codes.rotation()
    outputs = head(DOCUMENTS[:50])
    assert not np.allclose(head.matrix, first.matrix, atol=1e-3)
    assert np.allclose(head.matrix @ head.matrix.T, np.eye(DIM), atol=1e-5)
    assert np.allclose(outputs @ outputs.T, DOCUMENTS[:50] @ DOCUMENTS[:50].T, atol=1e-5)


def test_a_centre_is_trained():
    shifted = DOCUMENTS + 0.1
    options = {"start": {"kind": "none", "center": "mean"}, "learning_rate": 0.01, **QUICK}
    training = HeadTraining(shifted, None, config(**options), 0)
    before = training.codes.rotation().center
    for _ in range(5):
        training.advance()
    assert np.abs(training.codes.rotation().center - before).max() > 1e-3


def test_training_repeats_and_another_seed_differs():
    runs = [fit_head(DOCUMENTS, QUERIES, config("pairs", **QUICK), seed) for seed in (0, 0, 1)]
    assert runs[0][1] == runs[1][1]
    assert np.array_equal(runs[0][0].matrix, runs[1][0].matrix)
    assert runs[0][1] != runs[2][1]


@pytest.mark.slow(4)
@pytest.mark.parametrize("center", [False, "mean"])
def test_a_restored_training_continues_to_the_same_end(center):
    options = config("both", start={"kind": "itq", "center": center}, **QUICK)
    whole = HeadTraining(DOCUMENTS, QUERIES[:500], options, 3)
    rows = [whole.advance() for _ in range(40)]
    stopped = HeadTraining(DOCUMENTS, QUERIES[:500], options, 3)
    for _ in range(23):
        stopped.advance()
    file = io.BytesIO()
    torch.save(stopped.state(), file)
    file.seek(0)
    resumed = HeadTraining(DOCUMENTS, QUERIES[:500], options, 3)
    resumed.restore(torch.load(file, weights_only=True))
    assert [resumed.advance() for _ in range(17)] == rows[23:]
    assert np.array_equal(resumed.best.matrix, whole.best.matrix)
    assert resumed.state()["best"]["score"] == whole.state()["best"]["score"]


def test_the_head_with_the_best_held_out_score_is_kept_and_training_stops():
    options = config(learning_rate=0.5, patience=2, **(QUICK | {"steps": 400}))  # each step leaps
    head, history = fit_head(DOCUMENTS, None, options)
    scores = {row["step"]: row["held_out_score"] for row in history if "held_out_score" in row}
    best = max(scores, key=lambda step: (scores[step], -step))
    assert history[-1]["step"] == best + 2 * 10 < 400
    training = HeadTraining(DOCUMENTS, None, options, 0)
    while training.step < best:
        training.advance()
    assert np.array_equal(head.matrix, training.best.matrix)


def test_held_out_pairs_are_in_no_batch():
    training = HeadTraining(DOCUMENTS, QUERIES[:800], config("both", **QUICK), 0)
    held_out = set(training.held_out[training.held_out < 800].tolist())
    assert len(held_out) > 40
    drawn = set()
    for training.step in range(400):
        _, own, documents = training._batch()
        assert set(own.tolist()) <= set(documents.tolist())
        assert not set(documents.tolist()) & held_out
        assert documents.tolist() == sorted(set(documents.tolist()))
        drawn |= set(documents.tolist())
    assert set(training.held_out[training.held_out >= 800].tolist()) & drawn  # documents of the corpus are searched


def test_queries_of_a_batch_are_those_of_pairs_and_random_ones_elsewhere():
    training = HeadTraining(DOCUMENTS, QUERIES[:600], config("both", query_cosine=0.8, **QUICK), 0)
    cosines = []
    for training.step in range(50):
        queries, own, _ = training._batch()
        again = training._batch()[0]
        assert torch.equal(queries, again)
        for query, row in zip(queries, own.tolist(), strict=True):
            if row < 600:
                assert np.allclose(query, QUERIES[row], atol=1e-6)
            else:
                cosines.append(float(query @ torch.from_numpy(DOCUMENTS[row])))
    assert np.mean(cosines) == pytest.approx(0.8, abs=0.05)


def test_neighbours_are_those_of_the_float_space():
    training = HeadTraining(DOCUMENTS, QUERIES[:300], config("both", **QUICK), 0)
    for position in (0, 500, 900):
        similarities = DOCUMENTS[training.trained] @ DOCUMENTS[training.trained[position]]
        wanted = training.trained[np.argsort(-similarities)[:4]]
        assert training.neighbours[position].tolist() == wanted.tolist()


def test_the_held_out_scores_are_those_of_the_metrics():
    training = HeadTraining(DOCUMENTS, QUERIES, config("pairs", **QUICK), 0)
    head, rows = training.best, training.held_out
    signs = np.where(head(DOCUMENTS) > 0, 1, -1)
    gains = []
    for row in rows:
        query = np.where(head(QUERIES[row : row + 1]) > 0, 1, -1)
        similarities = (query @ signs.T)[0]
        better, equal = (similarities > similarities[row]).sum(), (similarities == similarities[row]).sum() - 1
        rank = 1 + better + equal / 2
        gains.append(1 / math.log2(rank + 1) if rank <= 10 else 0)
    assert training.first["held_out_ndcg"] == pytest.approx(np.mean(gains), abs=1e-5)
    assert training.first["held_out_overlap"] == pytest.approx(
        overlap(head, DOCUMENTS, QUERIES[rows]), abs=0.05
    )  # ties
    assert training.first["held_out_score"] == pytest.approx(
        (training.first["held_out_ndcg"] + training.first["held_out_overlap"]) / 2
    )


logits = arrays.arrays(np.float64, (3, 5), elements=st.floats(-20, 20))


@settings(deadline=None, max_examples=50)
@given(logits, logits)
def test_the_divergence_is_scipys(teacher, student):
    teacher[0, 2] = student[0, 2] = -np.inf  # a column that does not belong to the row
    expected = rel_entr(softmax(teacher, axis=1), softmax(student, axis=1)).sum(axis=1).mean()
    value = divergence(torch.from_numpy(teacher), torch.from_numpy(student))
    assert value.item() == pytest.approx(expected, rel=1e-6, abs=1e-9)
    assert divergence(torch.from_numpy(teacher), torch.from_numpy(teacher)).item() == pytest.approx(0, abs=1e-12)


def test_the_gradient_of_the_divergence_is_the_difference_of_the_probabilities():
    teacher, student = torch.randn(4, 6, dtype=torch.float64), torch.randn(4, 6, dtype=torch.float64)
    teacher[1, 3] = student[1, 3] = -math.inf
    student.requires_grad_(True)
    divergence(teacher, student).backward()
    expected = (student.detach().softmax(dim=1) - teacher.softmax(dim=1)) / 4
    assert torch.allclose(student.grad, expected, atol=1e-12)


@pytest.mark.parametrize("shape", [(4, 4), (7, 4)])
def test_the_frame_has_orthonormal_columns_and_its_gradient(shape):
    raw = torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    frame = Frame()(raw)
    assert torch.allclose(frame.T @ frame, torch.eye(4, dtype=torch.float64), atol=1e-12)
    assert torch.allclose(Frame()(frame), frame, atol=1e-12)
    assert torch.autograd.gradcheck(Frame(), raw.requires_grad_(True))


def test_hard_codes_are_signs_with_the_gradient_of_the_tanh():
    codes = Codes(Rotation("head", np.eye(8, dtype=np.float32)), 1.0)
    values = torch.randn(5, 8, generator=torch.Generator().manual_seed(0), requires_grad=True)
    weight = torch.randn(5, 8, generator=torch.Generator().manual_seed(1))
    hard = codes(values, 2.0, True)
    assert set(hard.unique().tolist()) == {-1.0, 1.0}
    (gradient,) = torch.autograd.grad((hard * weight).sum(), values)
    slope = 2 * math.sqrt(8)
    expected = weight * slope * (1 - torch.tanh(slope * values.detach()) ** 2)
    assert torch.allclose(gradient, expected, atol=1e-5)


def test_the_schedule_rises_to_signs():
    training = HeadTraining(DOCUMENTS, None, config(sharpness=(0.5, 8.0), **(QUICK | {"steps": 100})), 0)
    values = []
    for training.step in range(100):
        values.append(training._sharpness())
    assert values[0] == (0.5, False)
    assert values[35][0] == pytest.approx(2.0)  # the geometric mean of both ends, halfway to the signs
    assert [hard for _, hard in values] == [False] * 70 + [True] * 30


def test_a_loss_that_is_not_finite_ends_the_training():
    training = HeadTraining(DOCUMENTS, None, config(**QUICK), 0)
    training.advance()
    with torch.no_grad():
        training.codes.log_scale.fill_(math.nan)
    with pytest.raises(NotFiniteError, match="nan"):
        training.advance()


@pytest.mark.parametrize(
    ("documents", "queries", "options", "message"),
    [
        (DOCUMENTS * np.nan, None, {}, "finite documents"),
        (DOCUMENTS, QUERIES, {}, "fitted on corpus"),
        (DOCUMENTS, None, {"fitted_on": "pairs"}, "fitted on pairs"),
        (DOCUMENTS[:100], QUERIES, {"fitted_on": "pairs"}, "query i is of document i"),
        (DOCUMENTS[:20], None, {"start": "none"}, "needs at least 48 documents, and there are 20"),
        (DOCUMENTS[:40], None, {"start": {"kind": "overcomplete", "bits": 8}, "anchors": 4}, "more bits"),
    ],
)
def test_embeddings_that_do_not_fit_are_refused(documents, queries, options, message):
    with pytest.raises(ValueError, match=message):
        HeadTraining(documents, queries, HeadConfig(**({"fitted_on": "corpus"} | options)), 0)


@settings(deadline=None, max_examples=50)
@given(st.integers(2, 60), st.floats(0.01, 0.9), st.sampled_from(["pairs", "corpus", "both"]))
def test_the_smallest_number_of_documents_leaves_enough_to_train_on(anchors, held_out, fitted_on):
    head, dim = config(fitted_on=fitted_on, anchors=anchors, held_out=held_out, start="itq"), 24

    def trained(count):
        return count - (0 if fitted_on == "corpus" else math.ceil(held_out * count))

    smallest = next(count for count in range(1000) if trained(count) >= max(anchors, head.neighbours + 1, 11, dim))
    head.check_documents(smallest, dim)
    with pytest.raises(ValueError, match=f"needs at least {smallest} documents, and there are {smallest - 1} "):
        head.check_documents(smallest - 1, dim)


def test_a_head_without_a_loss_is_refused():
    with pytest.raises(ValueError, match="nothing would be learned"):
        config(distillation=0.0, contrastive=0.0)
    assert config(distillation=0.0, contrastive=0.5).contrastive == 0.5
