"""Bits on axes of their own: who is compared with whom, and what the cells say."""

import numpy as np
import pytest

from qatlab.tables.bits import against_strongest, bits, trained_for_bits
from qatlab.tables.differences import judged
from qatlab.tables.gathered import Figures, Form
from qatlab.tables.missing import FAILED
from records import a_run

RNG = np.random.default_rng(0)
QUERIES = RNG.uniform(0, 1, size=200)
AXES = {
    "none": "signs at 0",
    "centred": "centred",
    "itq": "ITQ",
    "itq_training": "ITQ",
    "overcomplete_2x": "random, 2× dimensions",
}
FITTED_ON = {
    "none": "none",
    "centred": "corpus",
    "itq": "corpus",
    "itq_training": "training",
    "overcomplete_2x": "none",
}


class Study:
    """Scores of a study, put together by hand."""

    def __init__(self):
        self.figures = Figures()

    def form(self, method, rotation="none", precision="binary", deploy="torch", varied=(), kernel=""):
        queries, _, document = precision.partition(" × ")
        form = Form(method, varied, deploy, kernel, rotation, precision)
        bits = {"binary": 1, "int8": 8, "float32": 32}[document or queries] * (
            2 if rotation == "overcomplete_2x" else 1
        )
        described = {
            "doc_precision": document or queries,
            "rescoring": "none",
            "scoring": "hamming",
            "doc_bytes": 48.0 * bits,
        }
        self.figures.describe(form, described | {"fitted_on": FITTED_ON[rotation]})
        return form

    def put(self, method, rotation="none", shift=0.0, seeds=(0, 1), tasks=("a", "b"), **of):
        form = self.form(method, rotation, **of)
        for seed in seeds:
            for task in tasks:
                self.figures.put(form, seed, task, QUERIES + shift + RNG.normal(0, 0.05, size=200))

    def table(self, baseline="baseline", varied=()):
        self.figures.close()
        return bits(self.figures, baseline, AXES, list(varied))


@pytest.fixture
def study():
    scored = Study()
    for rotation, gain in (("none", 0), ("centred", 0.02), ("itq", 0.1), ("overcomplete_2x", 0.15)):
        scored.put("untrained", rotation, gain - 0.2, seeds=(None,))
        scored.put("baseline", rotation, gain)
        scored.put("ste", rotation, gain + 0.05)
    scored.put("baseline", precision="float32")
    scored.put("baseline", precision="int8")
    return scored


def test_methods_are_compared_with_the_baseline_on_the_same_axes_and_it_with_its_own_signs(study):
    table = study.table()
    assert table.columns.tolist() == [
        "method", "deploy", "output precision", "axes", "fitted on", "bytes per document", "value", "compared with",
        "difference", "95 % interval", "p (Holm)", "verdict",
    ]  # fmt: skip
    own, words = "its own signs at 0", list(AXES.values())
    assert table[["axes", "method", "compared with"]].fillna("").to_numpy().tolist() == [
        [words[0], "untrained", ""], [words[0], "baseline", ""], [words[0], "ste", "baseline"],
        ["centred", "untrained", own], ["centred", "baseline", own], ["centred", "ste", "baseline"],
        ["ITQ", "untrained", own], ["ITQ", "baseline", own], ["ITQ", "ste", "baseline"],
        [words[-1], "untrained", own], [words[-1], "baseline", own], [words[-1], "ste", "baseline"],
    ]  # fmt: skip
    assert table["fitted on"].tolist() == ["none"] * 3 + ["corpus"] * 6 + ["none"] * 3
    assert table["bytes per document"].tolist() == ["48"] * 9 + ["96"] * 3
    rows = table.set_index(["axes", "method"])
    for axes, method, difference in (
        ("ITQ", "baseline", 0.1), ("ITQ", "ste", 0.05), ("ITQ", "untrained", 0.1), (words[0], "ste", 0.05),
    ):  # fmt: skip
        assert float(rows.loc[(axes, method), "difference"]) == pytest.approx(difference, abs=0.02)
        assert rows.loc[(axes, method), "verdict"] == "better"
    assert rows.loc[(words[0], "baseline"), ["difference", "95 % interval", "p (Holm)", "verdict"]].isna().all()
    assert float(rows.loc[("ITQ", "ste"), "value"].partition(" ± ")[0]) == pytest.approx(
        QUERIES.mean() + 0.15, abs=0.01
    )
    assert "±" not in rows.loc[("ITQ", "untrained"), "value"]


def test_p_values_of_methods_and_of_axes_are_corrected_each_among_themselves():
    """Comparisons of axes do not enter the correction of comparisons of methods, nor the reverse."""
    study, rotations = Study(), list(AXES)
    for method, shift in (("untrained", 0.0), ("baseline", 0.0), ("ste", 0.008)):
        for number, rotation in enumerate(rotations):
            study.put(method, rotation, shift + 0.002 * number, seeds=(None,) if method == "untrained" else (0, 1))
    rows = study.table().set_index(["axes", "fitted on", "method"])
    form = study.form
    families = [
        [(form("ste", rotation), form("baseline", rotation)) for rotation in rotations],
        [(form(method, rotation), form(method)) for rotation in rotations[1:] for method in ("untrained", "baseline")],
    ]
    together = judged(study.figures, families[0] + families[1])["p (Holm)"].tolist()
    alone = [p for family in families for p in judged(study.figures, family)["p (Holm)"]]
    keys = [(AXES[own.rotation], FITTED_ON[own.rotation], own.method) for family in families for own, _ in family]
    assert rows.loc[keys, "p (Holm)"].tolist() == alone != together


def test_rows_are_in_the_order_of_deployments_bytes_outputs_and_axes():
    study = Study()
    for deploy in ("torch", "onnx"):
        for method in ("ste", "baseline"):
            for precision in ("binary", "float32 × binary"):
                for rotation in ("overcomplete_2x", "none"):
                    study.put(
                        method, rotation, deploy=deploy, precision=precision, kernel="avx2" if deploy == "onnx" else ""
                    )
    table = study.table()
    assert "integer kernel" not in table
    of_deploy = [
        [size, output, method] for size in ("48", "96") for output in ("binary", "float32 × binary")
        for method in ("ste", "baseline")
    ]  # fmt: skip
    assert table["deploy"].tolist() == ["torch"] * 8 + ["onnx"] * 8
    assert table[["bytes per document", "output precision", "method"]].to_numpy().tolist() == of_deploy * 2


def test_what_has_no_counterpart_is_compared_with_itself_and_alone_with_nothing():
    """A matrix that varies more: the baseline was not trained at this batch size."""
    study = Study()
    study.put("baseline", varied=(32,))
    study.put("ste", varied=(64,))
    study.put("ste", "itq_training", varied=(64,))
    table = study.table(varied=["matrix.trainer.batch_size"])
    assert table["matrix.trainer.batch_size"].tolist() == [32, 64, 64]
    assert table["compared with"].fillna("").tolist() == ["", "", "its own signs at 0"]
    assert table["fitted on"].tolist() == ["none", "none", "training"]
    without = Study()
    without.put("baseline")
    assert without.table()["difference"].isna().all()


def test_a_task_with_too_few_documents_for_axes_is_counted_and_left_out_of_the_difference(study):
    """Task b is so much harder that a mean over the other alone would look like a gain."""
    small = Study()
    for method in ("baseline", "ste"):
        small.put(method, tasks=("a",))
        small.put(method, tasks=("b",), shift=-0.5)
        small.put(method, "itq", tasks=("a",))
    table = small.table().set_index(["axes", "method"])
    assert table.loc[("ITQ", "baseline"), "value"].endswith(" (1 of 2 tasks)")
    assert float(table.loc[("ITQ", "baseline"), "difference"]) == pytest.approx(0, abs=0.02)
    assert "tasks" not in table.loc[("signs at 0", "ste"), "value"]


def test_failed_runs_are_marked_in_their_cells(study):
    failed = study.form("ste", "itq")
    study.figures[failed].clear()
    for seed, gone in ((0, True), (1, False)):
        for task in "ab":
            if gone:
                study.figures.put_gap(failed, seed, task, FAILED)
            else:
                study.figures.put(failed, seed, task, QUERIES)
    lost = Form("hot", (), "torch", "", "itq", "binary")
    study.figures.describe(lost, {**study.figures.outputs[failed], "doc_bytes": None})
    for task in "ab":
        study.figures.put_gap(lost, 0, task, FAILED)
    rows = study.table().set_index(["axes", "method"])
    assert rows.loc[("ITQ", "ste"), "value"].endswith("(1 of 2 seeds failed)")
    assert rows.loc[("ITQ", "ste"), ["compared with", "difference", "verdict"]].tolist() == [
        "baseline",
        "failed",
        "failed",
    ]
    cells = ["value", "compared with", "difference", "95 % interval", "p (Holm)", "verdict"]
    assert rows.loc[("ITQ", "hot"), cells].tolist() == ["failed", "baseline", *["failed"] * 4]
    assert rows.loc[("ITQ", "hot"), "bytes per document"] == "48"
    assert rows.loc[("centred", "ste"), "verdict"] == "better"
    alone = Study()
    only = alone.form("baseline")
    alone.figures.outputs[only]["doc_bytes"] = None
    alone.figures.put_gap(only, 0, "a", FAILED)
    assert alone.table()[["bytes per document", "value"]].to_numpy().tolist() == [["failed", "failed"]]


def test_methods_that_train_for_bits_are_known_by_their_precisions_and_heads():
    runs = [
        a_run(name="a", method="baseline"),
        a_run(name="b", method="ste", trains_for=["float32", "binary"]),
        a_run(name="c", method="asymmetric", trains_for=["float32_x_binary"]),
        a_run(name="d", method="int8", trains_for=["int8"]),
        a_run(name="e", method="head_pairs", head_fitted_on="pairs"),
        a_run(name="f", method="head_both", head_fitted_on="both"),
    ]
    seen = {"ste": "training", "asymmetric": "training", "head_pairs": "training", "head_both": "corpus"}
    assert trained_for_bits(runs) == seen


def strongest(study, **trained):
    study.figures.close()
    return against_strongest(study.figures, trained, AXES, [])


def test_a_method_is_compared_with_the_strongest_baseline_that_saw_no_more_at_no_more_bytes(study):
    """The baseline is better by 0.1 on ITQ of the corpus and 0.15 on twice as many bits, which the method may not be compared with."""
    study.put("baseline", "itq_training", 0.03)
    study.put("longer", shift=0.02)
    table = strongest(study, ste="training")
    assert table[["method", "has seen", "strongest baseline", "its bytes"]].to_numpy().tolist() == [
        ["ste", "training", "baseline, ITQ", "48"]
    ]
    assert float(table["difference"][0]) == pytest.approx(0.02, abs=0.01)
    assert strongest(study, ste="corpus")["strongest baseline"].tolist() == ["baseline, ITQ"]
    assert float(strongest(study, ste="corpus")["difference"][0]) == pytest.approx(-0.05, abs=0.01)
    study.put("longer", shift=0.5)
    assert strongest(study, ste="corpus")["strongest baseline"].tolist() == ["longer, signs at 0"]


def test_untrained_models_are_baselines_and_outputs_are_compared_with_their_like(study):
    study.put("untrained", shift=0.3, seeds=(None,))
    for precision, gain in (("float32 × binary", 0.2), ("binary", 0.05)):
        study.put("ste", shift=gain, precision=precision)
    study.put("baseline", shift=0.1, precision="float32 × binary")
    table = strongest(study, ste="training").set_index("output precision")
    assert table["strongest baseline"].to_dict() == {
        "binary": "untrained, signs at 0",
        "float32 × binary": "baseline, signs at 0",
    }
    assert float(table.loc["float32 × binary", "difference"]) == pytest.approx(0.1, abs=0.01)


def test_baselines_that_lack_a_seed_are_not_the_strongest(study):
    study.put("longer", shift=0.5)
    study.figures.put_gap(study.form("longer"), 1, "a", FAILED)
    assert strongest(study, ste="training")["strongest baseline"].tolist() == ["baseline, signs at 0"]
    assert strongest(study).empty
