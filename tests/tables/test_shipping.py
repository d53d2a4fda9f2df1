"""The rule of the recommendation: which variant it chooses, and what never happens whatever the variants are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qatlab.artifact import read_json, write_json
from qatlab.tables.gathered import Form
from qatlab.tables.pareto import SAME_SIZE, SAME_SPEED, Variant, best_float, can_be_deployed, choose, variants
from shipped import gathered

RNG = np.random.default_rng(0)
QUERIES = RNG.uniform(0.4, 0.9, size=300)


def variant(name="a", doc_bytes=100, model_bytes=1000, speed=100.0, high=0.0, value=0.8):
    form = Form(name, (), "torch_fp32", "", "none", "int8")
    return Variant(form, [], value, doc_bytes, model_bytes, speed, high, high, high)


def chosen(*candidates, most=0.01, **options):
    choice = choose(candidates, most, **options)
    return choice and choice.form.method


def test_bytes_per_document_come_first_then_the_model_then_speed_then_quality():
    assert chosen(variant("a", 100, 10), variant("b", 99, 1000)) == "b"
    assert chosen(variant("a", model_bytes=1000), variant("b", model_bytes=500, speed=1.0)) == "b"
    assert chosen(variant("a", speed=100.0), variant("b", speed=200.0, value=0.1)) == "b"
    assert chosen(variant("a", speed=190.0, value=0.9), variant("b", speed=200.0, value=0.8)) == "a"  # equally fast
    assert chosen(variant("a", model_bytes=1005, value=0.9), variant("b", model_bytes=1000, value=0.8)) == "a"
    assert chosen(variant("a", value=1.2), variant("b", value=1.1), lower_is_better=True) == "b"
    assert chosen(variant("a"), variant("b")) == "a"
    assert chosen(variant("a", model_bytes=None, speed=None), variant("b", speed=None)) == "b"


def test_the_upper_end_counts_and_an_unknown_one_is_within_no_bound():
    assert chosen(variant("a", 10, high=0.0100001), variant("b", 20, high=0.01)) == "b"
    assert chosen(variant("a", 10, high=np.nan), variant("b", 20)) == "b"
    assert chosen(variant("a", high=0.02)) is None
    assert chosen() is None


CANDIDATES = st.lists(
    st.builds(
        variant,
        name=st.sampled_from("abcdef"),
        doc_bytes=st.sampled_from([48, 96, 384, 1536]),
        model_bytes=st.none() | st.integers(1, 100_000),
        speed=st.none() | st.floats(1, 1000),
        high=st.just(float("nan")) | st.floats(-0.1, 0.1),
        value=st.floats(0, 1),
    ),
    max_size=12,
)


@given(candidates=CANDIDATES, most=st.floats(0, 0.1))
def test_nothing_that_qualifies_is_smaller(candidates, most):
    offer, within = choose(candidates, most), [one for one in candidates if one.high <= most]
    if offer is None:
        assert not within
        return
    assert offer in within
    same = [one for one in within if one.doc_bytes == offer.doc_bytes]
    assert offer.doc_bytes == min(one.doc_bytes for one in within)
    if offer.model_bytes is None:
        assert all(one.model_bytes is None for one in same)
    else:
        assert all(one.model_bytes is None or offer.model_bytes <= SAME_SIZE * one.model_bytes for one in same)
    equally_large = [one for one in same if one.model_bytes == offer.model_bytes]
    assert all((offer.texts_per_second or 0) >= SAME_SPEED * (one.texts_per_second or 0) for one in equally_large)


@given(candidates=CANDIDATES, mosts=st.tuples(st.floats(0, 0.1), st.floats(0, 0.1)))
def test_a_wider_budget_never_takes_more_bytes(candidates, mosts):
    narrow, wide = (choose(candidates, most) for most in sorted(mosts))
    if narrow is not None:
        assert wide is not None
        assert wide.doc_bytes <= narrow.doc_bytes


@given(candidates=CANDIDATES, most=st.floats(0, 0.1), shuffled=st.randoms())
def test_the_order_decides_only_among_equals(candidates, most, shuffled):
    other = shuffled.sample(candidates, len(candidates))
    first, second = choose(candidates, most), choose(other, most)
    assert (first is None) == (second is None)
    if first is not None:
        costs = (first.doc_bytes, first.value)
        assert costs == (second.doc_bytes, second.value)


def seeds(shift, noise=0.01, count=2):
    return [QUERIES + shift + np.random.default_rng(seed).normal(0, noise, size=300) for seed in range(count)]


def test_losses_are_against_the_best_float_result_of_all_methods(tmp_path):
    scores = {
        ("baseline", "torch_fp32", "float32"): seeds(0),
        ("ste", "torch_fp32", "float32"): seeds(0.02),
        ("baseline", "torch_fp32", "int8"): seeds(0.001),
        ("untrained", "torch_fp32", "float32"): [QUERIES - 0.2],
        ("baseline", "torchao:int8", "float32"): seeds(0.5),  # better, but not float
    }
    study = gathered(tmp_path, scores)
    reference = best_float(study)
    assert (reference.method, reference.deploy) == ("ste", "torch_fp32")
    by_form = {(one.form.method, one.form.deploy, one.form.output): one for one in variants(study, reference)}
    assert len(by_form) == 5
    assert by_form["ste", "torch_fp32", "float32"].loss == by_form["ste", "torch_fp32", "float32"].high == 0
    int8 = by_form["baseline", "torch_fp32", "int8"]
    assert int8.loss == pytest.approx(0.019)
    assert int8.low < int8.loss < int8.high
    assert (int8.doc_bytes, int8.model_bytes, int8.texts_per_second) == (384, 60_000_000, pytest.approx(100))
    untrained = by_form["untrained", "torch_fp32", "float32"]
    assert untrained.loss == pytest.approx(0.22, abs=0.005)
    assert by_form["baseline", "torchao:int8", "float32"].loss < -0.4
    assert by_form["baseline", "torchao:int8", "float32"].model_bytes == 20_000_000


def test_lower_is_better_for_bits_per_byte(tmp_path):
    scores = {
        ("baseline", "torch_fp32", "text"): seeds(1.0),
        ("worse", "torch_fp32", "text"): seeds(1.1),
        ("baseline", "torchao:int8", "text"): seeds(1.01),
    }
    study = gathered(tmp_path, scores, metric="bits_per_byte", kind="language_modelling")
    reference = best_float(study)
    assert reference.method == "baseline"
    losses = {(one.form.method, one.form.deploy): one for one in variants(study, reference)}
    assert losses["worse", "torch_fp32"].loss == pytest.approx(0.1)
    int8 = losses["baseline", "torchao:int8"]
    assert int8.low <= int8.loss <= int8.high
    assert int8.loss == pytest.approx(0.01)
    assert (int8.doc_bytes, int8.model_bytes) == (0, 20_000_000)


def test_copies_for_rescoring_count_and_outputs_that_nobody_can_ship_are_left_out(tmp_path):
    evaluate = {
        "metrics": ["ndcg@10"],
        "precisions": ["float32", "int8", "binary"],
        "scoring": ["dequantized", "sentence_transformers_compat"],
        "ranges": ["corpus", "per_call"],
        "rescoring": ["none", "int8"],
    }
    labels = [
        "float32", "binary", "int8", "int8, ranges per call", "binary → int8 of 40", "int8 as sentence-transformers scores",
    ]  # fmt: skip
    scores = {("baseline", "torch_fp32", label): seeds(0, count=1) for label in labels}
    study = gathered(tmp_path, scores, evaluate=evaluate)
    by_output = {one.form.output: one.doc_bytes for one in variants(study, best_float(study))}
    assert by_output == {"float32": 1536, "binary": 48, "int8": 384, "binary → int8 of 40": 48 + 384}
    assert not can_be_deployed({"scoring": "mteb_compat", "ranges": "per_call", "query_precision": "float32"})
    assert can_be_deployed({"scoring": "dequantized", "ranges": "per_call", "query_precision": "float32"})


def test_methods_in_one_deployment_are_equally_fast(tmp_path):
    """One measurement may be disturbed by other jobs; weights of other values multiply as fast."""
    study = gathered(
        tmp_path,
        {
            ("baseline", "torch_fp32", "float32"): seeds(0),
            ("ste", "torch_fp32", "float32"): seeds(0.001),
            ("slow", "torch_fp32", "float32"): seeds(0.002),
        },
    )
    for run in study.runs:
        if run.method == "slow":
            for evaluation in run.evaluations:
                cost = tmp_path / evaluation.encode / "cost.json"
                write_json(cost, {**read_json(cost), "seconds": 1000.0})
    speeds = [one.texts_per_second for one in variants(study, best_float(study))]
    assert speeds == [pytest.approx(100)] * 3
