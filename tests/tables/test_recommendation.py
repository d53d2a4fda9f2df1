"""The conclusion of a study: its sentences, its offers and their table, for whatever a study has results of."""

import re

import numpy as np
import pytest

from qatlab.artifact import read_json, write_json
from qatlab.config.evaluate import EvaluateConfig
from qatlab.evaluation.outputs import planned_scores, write_scores
from qatlab.job import JobDescription
from qatlab.stages import tables
from qatlab.study.record import GRADES, Conclusion, read_conclusion
from qatlab.tables.differences import AgainstBaseline, AgainstFloat
from qatlab.tables.gathered import Gathered
from qatlab.tables.missing import ARTIFACTS, FAILED, NOT_RUN, Missing, MissingArtifact
from qatlab.tables.recommendation import Recommendation, bound_in_words, conclude
from shipped import gathered, write_study

QUERIES = np.random.default_rng(0).uniform(0.6, 1.0, size=400)


def seeds(shift, noise=0.004, count=2):
    return [
        QUERIES + shift + np.random.default_rng([seed, round(1e6 * abs(shift))]).normal(0, noise, 400)
        for seed in range(count)
    ]


SCORES = {
    ("baseline", "torch_fp32", "float32"): seeds(0),
    ("baseline", "torch_fp32", "int8"): seeds(-0.0001),
    ("baseline", "torch_fp32", "binary"): seeds(-0.03),
    ("baseline", "torchao:int8", "float32"): seeds(-0.002),
    ("baseline", "torchao:int8", "int8"): seeds(-0.0021),
    ("baseline", "torchao:int8", "binary"): seeds(-0.032),
    ("ste", "torch_fp32", "float32"): seeds(-0.0005),
    ("ste", "torch_fp32", "int8"): seeds(-0.0006),
    ("ste", "torch_fp32", "binary"): seeds(-0.02),
    ("ste", "torchao:int8", "float32"): seeds(-0.00205),
    ("ste", "torchao:int8", "int8"): seeds(-0.004),
    ("ste", "torchao:int8", "binary"): seeds(-0.021),
}
SIGNED = r"[−+]?\d+\.\d{4}"


@pytest.fixture(scope="module")
def usual(tmp_path_factory):
    return gathered(tmp_path_factory.mktemp("usual"), SCORES)


def test_each_sentence_has_figures_and_intervals(usual):
    cost, won_back, ship = conclude(usual).sentences
    interval = rf"95 % interval {SIGNED} to {SIGNED}"
    assert re.fullmatch(
        rf"Storing embeddings of `baseline` as binary \(48 of 1,536 bytes per document\) costs 0\.0\d{{3}} nDCG@10 \({interval}\), "
        rf"3\.\d % of float's 0\.\d{{4}}; shipping it as `torchao:int8` \(20\.0 of 60\.0 MB\) costs 0\.0\d{{3}} nDCG@10 \({interval}\), "
        r"0\.\d+ % of float's 0\.\d{4}\.",
        cost,
    )
    assert re.fullmatch(
        rf"`ste` beats `baseline` at binary: \+0\.01\d\d \({interval}\); no recipe is separable from `baseline` as `torchao:int8`; "
        rf"the best is `ste`, {SIGNED} \({interval}\)\.",
        won_back,
    )
    assert re.fullmatch(
        r"Ship int8 embeddings of `baseline` as `torchao:int8` \(384 bytes per document, a model of 20\.0 MB, 200 texts per second\): its "
        r"nDCG@10 of 0\.\d{4} is 0\.00\d\d worse than the best float result's 0\.\d{4}, and at most 0\.00\d\d worse by its "
        r"simultaneous 95 % interval, which is within the study's budget of 1 %\.",
        ship,
    )


def test_the_sentences_agree_with_the_tables(usual):
    rows = AgainstFloat().rows(usual).set_index(["method", "deploy", "output precision"])
    loss, interval = rows.loc[("baseline", "torch_fp32", "binary"), ["difference", "95 % interval"]]
    high, low = (end.lstrip("+-") for end in interval.split(" to "))
    assert f"costs {loss.lstrip('-')} nDCG@10 (95 % interval {low} to {high})" in conclude(usual).sentences[0]
    rows = AgainstBaseline().rows(usual).set_index(["method", "deploy", "output precision"])
    better = rows.loc[("ste", "torch_fp32", "binary")]
    low, high = (end.lstrip("+") for end in better["95 % interval"].split(" to "))
    assert better["verdict"] == "better"
    assert f"at binary: {better['difference']} (95 % interval {low} to {high})" in conclude(usual).sentences[1]


def test_the_grades_are_nested_bounds_of_the_budget(usual):
    conclusion = conclude(usual)
    assert [offer.grade for offer in conclusion.offers] == list(GRADES)
    for offer in conclusion.offers:
        assert offer.low <= offer.loss <= offer.high <= GRADES[offer.grade] * 0.01 * conclusion.reference_value
        assert offer.relative == pytest.approx(offer.loss / conclusion.reference_value)
        assert offer.relative_high == pytest.approx(offer.high / conclusion.reference_value)
    forms = {offer.grade: (offer.method, offer.deploy, offer.output, offer.doc_bytes) for offer in conclusion.offers}
    assert forms["safest"] == ("baseline", "torch_fp32", "int8", 384)
    assert forms["balanced"] == ("baseline", "torchao:int8", "int8", 384)
    assert forms["smallest"] == ("ste", "torchao:int8", "binary", 48)
    assert conclusion.offer("smallest").run == "ste-seed=0"
    assert conclusion.offer("smallest").verdict == "worse"
    assert conclusion.complete
    assert conclusion.reference == "float32 embeddings of `baseline` as `torch_fp32`"


def test_an_interval_that_excludes_0_without_a_verdict_is_explained(tmp_path):
    wave = np.where(np.arange(len(QUERIES)) % 2, 1.0, -1.0)
    scores = {
        ("baseline", "torch_fp32", "float32"): [QUERIES],
        ("baseline", "torch_fp32", "int8"): [QUERIES],
        ("baseline", "torch_fp32", "binary"): [QUERIES - 0.011 + 0.1 * wave],  # 2.2 standard errors below 0
        ("ste", "torch_fp32", "float32"): [QUERIES],
        ("ste", "torch_fp32", "int8"): [QUERIES],
        ("ste", "torch_fp32", "binary"): [QUERIES],
    }
    cost, won_back, _ = conclude(gathered(tmp_path, scores)).sentences
    interval = r"\(95 % interval (−0\.02\d\d to −0\.00|\+?0\.00\d\d to \+?0\.02)\d\d\)"
    assert re.search(
        rf"by −0\.0110 {interval}, not separable from 0 \(p = 0\.\d{{3}}, corrected for all comparisons\)\.$", cost
    )
    assert re.search(rf"`ste`, \+0\.0110 {interval} \(p = 0\.\d{{3}}, corrected for all comparisons\)\.$", won_back)


def test_a_wider_budget_offers_fewer_bytes_and_is_named(tmp_path):
    study = gathered(tmp_path, SCORES, budget=0.05)
    conclusion = conclude(study)
    assert conclusion.offer("balanced").doc_bytes == 48
    assert conclusion.sentences[2].endswith("within the study's budget of 5 %.")


def test_the_table_has_a_row_per_grade(usual):
    table = Recommendation().rows(usual).set_index("grade")
    assert table["loses at most"].tolist() == ["0.2 %", "1 %", "5 %"]
    assert table["bytes per document"].tolist() == ["384", "384", "48"]
    assert table.loc["smallest", ["method", "deploy", "output precision", "model (MB)"]].tolist() == [
        "ste", "torchao:int8", "binary", "20.0",
    ]  # fmt: skip
    assert not [name for name in table if "/s" in name]  # timings differ from run to run; tables do not
    assert "rotation" not in table.columns
    title = Recommendation().title(usual)
    assert title.startswith(
        "What to ship: the fewest bytes within a bound on the loss of nDCG@10 against the best float result, 0."
    )
    assert title.endswith("(simultaneous 95 % intervals over queries and 2 seeds)")
    assert Recommendation().wanted(usual.study)
    alone = usual.study.model_copy(
        update={"deployments": ("torch_fp32",), "evaluate": EvaluateConfig(precisions=["float32"])}
    )
    assert not Recommendation().wanted(alone)


def test_what_is_undecided_says_what_it_would_take(tmp_path):
    scores = {key: lists for key, lists in SCORES.items() if key[:2] == ("baseline", "torch_fp32")}
    wave = np.where(np.arange(len(QUERIES)) % 2, 0.08, -0.08)  # which changes the interval and not the mean
    scores["baseline", "torch_fp32", "binary"] = [
        values - 0.005 + wave for values in scores["baseline", "torch_fp32", "float32"]
    ]
    conclusion = conclude(gathered(tmp_path, scores))
    assert conclusion.offer("balanced").output == "int8"
    assert re.fullmatch(
        r"Whether the loss of binary embeddings of `baseline` as `torch_fp32` \(48 bytes per document\) is at most 1 % is undecided: it "
        r"is 0\.\d+ % \(simultaneous 95 % interval −?\d\.?\d* % to \d\.\d* %\); a comparison of this variant alone would take "
        r"[\d,]+ queries( or \d+ seeds)?\.",
        conclusion.undecided,
    )


def test_nothing_smaller_within_the_budget_leaves_the_float_result(tmp_path):
    scores = {
        ("baseline", "torch_fp32", "float32"): seeds(0, count=1),
        ("baseline", "torch_fp32", "binary"): seeds(-0.3, count=1),
    }
    conclusion = conclude(gathered(tmp_path, scores))
    assert {offer.output for offer in conclusion.offers} == {"float32"}
    assert [(offer.loss, offer.low, offer.high) for offer in conclusion.offers] == [(0, 0, 0)] * 3
    assert {offer.verdict for offer in conclusion.offers} == {"not separable"}
    assert conclusion.sentences[1] == "No recipe is compared with `baseline`: the study trains no other."
    assert re.match(
        r"Ship float32 embeddings of `baseline` .*: nothing smaller is shown to stay within", conclusion.sentences[2]
    )
    assert conclusion.undecided is None


@pytest.mark.parametrize(
    ("scores", "values", "pattern"),
    [
        ({("untrained", "torch_fp32", "int8"): seeds(0, count=1)}, {}, "is unknown: the study has no complete float results"),
        ({("untrained", "torch_fp32", "float32"): seeds(0, count=1)}, {}, "Nothing that is quantized has results"),
        ({("other", "torch_fp32", "float32"): seeds(0), ("other", "torch_fp32", "int8"): seeds(-0.1)}, {}, "as int8"),
        (
            {("baseline", "torch_fp32", "float32"): [QUERIES - 2], ("baseline", "torch_fp32", "int8"): [QUERIES - 2.1]},
            {},
            "costs 0.1000 nDCG@10",
        ),
        (
            {("baseline", "torch_fp32", "float32"): [QUERIES[:1]], ("baseline", "torch_fp32", "int8"): [QUERIES[:1] / 2]},
            {},
            "no interval from one query",
        ),
    ],
    ids=["no float", "no quantized", "no baseline", "not positive", "one query"],
)  # fmt: skip
def test_every_study_has_a_conclusion(tmp_path, scores, values, pattern):
    study = gathered(tmp_path, scores, **values)
    conclusion = conclude(study)
    assert pattern in conclusion.sentences[0]
    assert all(sentence.endswith(".") and sentence[0].isupper() for sentence in conclusion.sentences)
    assert Conclusion.model_validate_json(conclusion.model_dump_json()) == conclusion
    table = Recommendation().rows(study)
    assert len(table) == len(GRADES)
    assert not table.isna().any(axis=None)
    Recommendation().title(study)


@pytest.mark.parametrize("beside", [False, True])
def test_a_recipe_that_takes_more_bytes_is_no_answer_at_equal_bytes(tmp_path, beside):
    shifts = {
        ("baseline", "float32"): 0,
        ("baseline", "binary"): -0.03,
        ("wide", "float32"): 0,
        ("wide", "binary"): -0.008,
    }
    shifts |= {("ste", "float32"): 0, ("ste", "binary"): -0.02} if beside else {}
    scores = {(method, "torch_fp32", output): seeds(shift) for (method, output), shift in shifts.items()}
    record = write_study(tmp_path, scores)
    for folder in tmp_path.glob("score/wide-*"):
        timings, scored = read_json(folder / "timings.json"), read_json(folder / "scores.json")["scores"]
        write_json(folder / "timings.json", [{**row, "stored_bytes": 4 * row["stored_bytes"]} for row in timings])
        write_scores(folder, [{**row, "doc_bytes": 4 * row["doc_bytes"]} for row in scored])
    study = Gathered(record, tmp_path, missing=Missing())
    rows = AgainstBaseline().rows(study).set_index(["method", "output precision"])
    assert rows["bytes per document"].to_dict() == {
        key: "192 instead of 48" if key == ("wide", "binary") else "6,144 instead of 1,536" if key[0] == "wide" else ""
        for key in rows.index
    }
    won_back = conclude(study).sentences[1]
    interval = rf"95 % interval {SIGNED} to {SIGNED}"
    larger = rf"192 bytes per document instead of 48, `wide` beats `baseline` at binary: \+0\.02\d\d \({interval}\)\."
    alike = rf"`ste` beats `baseline` at binary: \+0\.01\d\d \({interval}\); with "
    assert re.fullmatch((alike if beside else "With ") + larger, won_back)


def test_a_share_of_nothing_is_no_budget(tmp_path):
    scores = {("baseline", "torch_fp32", "float32"): [QUERIES - 2], ("baseline", "torch_fp32", "int8"): [QUERIES - 2.1]}
    conclusion = conclude(gathered(tmp_path, scores))
    assert conclusion.offers == ()
    assert conclusion.sentences[2].startswith("Nothing is recommended: the best float result is −1.")


def test_causal_language_models_are_concluded_by_the_bytes_of_the_model(tmp_path):
    def bits(shift):
        return [values + 1 for values in seeds(shift)]

    scores = {
        ("baseline", "torch_fp32", "text"): bits(0),
        ("baseline", "torchao:int8", "text"): bits(0.05),
        ("qat", "torch_fp32", "text"): bits(0.01),
        ("qat", "torchao:int8", "text"): bits(0.012),
    }
    study = gathered(tmp_path, scores, metric="bits_per_byte", kind="language_modelling", budget=0.02)
    conclusion = conclude(study)
    assert conclusion.sentences[0].startswith("Shipping `baseline` as `torchao:int8` (20.0 of 60.0 MB) costs 0.0")
    assert conclusion.sentences[1].startswith("`qat` beats `baseline` as `torchao:int8`: −0.0")
    assert conclusion.sentences[2].startswith(
        "Ship `qat` as `torchao:int8` (a model of 20.0 MB, 200 texts per second): its bits per"
    )
    assert (conclusion.offer("balanced").doc_bytes, conclusion.offer("balanced").output) == (0, "text")
    columns = Recommendation().rows(study).columns
    assert {"output precision", "bytes per document", "rotation"}.isdisjoint(columns)


def without(study, results, names, status):
    """The study's results without the scores of some runs."""
    rows = tuple(planned_scores(study.evaluate, "retrieval"))
    paths = [entry.score for run in study.runs if run.name in names for entry in run.evaluations]
    return {path: MissingArtifact(status=status, reason="diverged", kind="retrieval", figures=rows) for path in paths}


def test_runs_that_failed_are_left_out_and_named(tmp_path):
    evaluate = {"metrics": ["ndcg@10"], "precisions": ["float32", "int8", "binary"]}
    study = write_study(tmp_path, SCORES, evaluate=evaluate)
    missing = without(study, tmp_path, {"baseline-seed=1"}, FAILED)
    write_json(tmp_path / "missing.json", ARTIFACTS.dump_python(missing, mode="json"))
    output = tmp_path / "studies" / "tiny"
    output.mkdir(parents=True)
    description = JobDescription(config=study.model_dump(mode="json"))
    tables.run(description, {"results": tmp_path, "missing": tmp_path / "missing.json"}, output, None)
    conclusion = read_conclusion(output)
    assert not conclusion.complete
    assert conclusion.undecided.endswith(
        "Results are missing (failed: baseline-seed=1); the conclusion is about the others."
    )
    assert {offer.method for offer in conclusion.offers} == {"ste"}
    assert conclusion.sentences[1].startswith("The baseline `baseline` has no float results")
    assert (output / "tables" / "recommendation.md").is_file()


@pytest.mark.parametrize("status", [FAILED, NOT_RUN])
def test_without_any_results_the_cells_say_so(tmp_path, status):
    study = write_study(tmp_path, SCORES)
    missing = without(study, tmp_path, {run.name for run in study.runs}, status)
    results = Gathered(study, tmp_path, missing=Missing(missing))
    assert not conclude(results).complete
    table = Recommendation().rows(results)
    assert set(table.drop(columns=["grade", "loses at most"]).to_numpy().ravel()) == {status}


def test_the_upper_end_of_a_loss_says_its_direction():
    assert bound_in_words(0.0079) == "at most 0.0079 worse"
    assert bound_in_words(-0.002) == "at least 0.0020 better"
