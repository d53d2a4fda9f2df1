"""Plan of two stages: the first training is shared, the second depends on it and has other rows, and mistakes are one line."""

import shutil

import pytest

from conftest import PROJECT
from qatlab.config.method import MethodConfig
from qatlab.errors import UserError
from qatlab.job import START
from qatlab.plan.plan import load_study, trainings

TINY = ("study.decomposition=[]", "deploy=[torch_fp32]", "task=[stdlib]")
SECOND = "name: tried\nstart_from: {method: baseline, rows: 64}\n"


def plan(*overrides, conf=PROJECT / "conf"):
    return load_study(conf, "quickstart", overrides=[*TINY, *overrides])


def trained(study_plan):
    return {run.name: study_plan.artifacts[run.trained] for run in study_plan.runs if run.config.method.train}


@pytest.fixture(scope="module")
def conf(tmp_path_factory):
    """Copy the configuration files, and add methods that start from others."""
    folder = tmp_path_factory.mktemp("project") / "conf"
    shutil.copytree(PROJECT / "conf", folder)
    methods = {
        "tried": SECOND,
        "again": "name: again\nstart_from: baseline\n",
        "binary_again": "name: binary_again\nstart_from: baseline\nembedding_quantization: {precisions: {binary: {}}}\n",
        "thirds": "name: thirds\nstart_from: {method: baseline, fraction: 0.3}\n",
        "third": "name: third\nstart_from: {method: tried, rows: 32}\n",
        "head_pairs": "name: head_pairs\nstart_from: tried\nhead: {fitted_on: pairs, start: none}\n",
        "circle": "name: circle\nstart_from: other\n",
        "other": "name: other\nstart_from: circle\n",
        "lost": "name: lost\nstart_from: baselin\n",
        "idle": "name: idle\nstart_from: untrained\n",
        "headless": "name: headless\nstart_from: baseline\nlearning_rates: {head: 1.0e-3}\n",
    }
    for name, text in methods.items():
        (folder / "method" / f"{name}.yaml").write_text(text)
    return folder


def test_methods_of_a_study_share_the_training_that_they_start_from(conf):
    methods = "study.matrix.method=[baseline,again,again:int4,binary_again]"
    study_plan = plan(methods, "study.matrix.seed=[0,1]", conf=conf)
    artifacts = trained(study_plan)
    assert [artifact.kind for artifact in study_plan.artifacts.values()].count("train") == 8
    for seed in (0, 1):
        first = artifacts[f"baseline-seed={seed}"]
        assert START not in first.inputs
        for method in ("again", "again:int4", "binary_again"):
            second = artifacts[f"{method}-seed={seed}"]
            assert second.inputs[START] == first.path
            assert second.inputs["model"] == first.inputs["model"]
    assert artifacts["again-seed=0"].inputs["data"] == artifacts["baseline-seed=0"].inputs["data"]


def test_without_a_run_of_it_the_first_training_is_planned_all_the_same():
    study_plan = plan("study.matrix.method=[from_baseline]", "study.baseline=from_baseline")
    assert [artifact.kind for artifact in study_plan.artifacts.values()].count("train") == 2
    assert list(trained(study_plan)) == ["from_baseline-seed=0"]
    assert trainings(study_plan.runs) == ["2 trainings of 6 steps: 384 rows, batches of 32"]


def test_the_first_training_gets_neither_a_teacher_nor_a_start():
    choice = ("study.matrix.method=[from_baseline:int4]", "study.baseline=from_baseline:int4")
    study_plan = plan(*choice, "method.float_teacher=0.5", "method.start_from.fraction=0.25", "method.loss.scale=30")
    (second,) = trained(study_plan).values()
    first = study_plan.artifacts[second.inputs[START]]
    assert (second.config.method.float_teacher, first.config.method.float_teacher) == (0.5, None)
    assert (second.config.method.start_from.fraction, first.config.method.start_from) == (0.25, None)
    assert second.config.method.loss.scale == first.config.method.loss.scale == 30


def test_both_stages_together_have_the_steps_of_one_training():
    study_plan = plan("study.matrix.method=[baseline,from_baseline,from_baseline:int4]", "trainer.max_steps=25")
    artifacts = trained(study_plan)
    second = artifacts["from_baseline:int4-seed=0"]
    first = study_plan.artifacts[second.inputs[START]]
    assert artifacts["from_baseline-seed=0"].inputs[START] == first.path != artifacts["baseline-seed=0"].path
    assert [artifact.config.trainer.max_steps for artifact in (first, second)] == [12, 13]
    assert [artifact.config.method.weights is None for artifact in (first, second)] == [True, False]


def test_the_second_training_depends_on_the_first(conf):
    names = {}
    for change in ("", "trainer.learning_rate=3e-4"):
        study_plan = plan("study.matrix.method=[baseline,tried]", *[change][: bool(change)], conf=conf)
        names[change] = {run: artifact.path for run, artifact in trained(study_plan).items()}
    assert all(names[""][run] != names["trainer.learning_rate=3e-4"][run] for run in names[""])
    file = conf / "method" / "baseline.yaml"
    before = file.read_text()
    file.write_text(f"{before}extra_steps: 0.5\n")
    changed = trained(plan("study.matrix.method=[tried]", conf=conf))["tried-seed=0"]
    file.write_text(before)
    assert changed.path != names[""]["tried-seed=0"]


def test_a_later_training_has_the_rows_after_those_of_the_earlier_ones(conf):
    study_plan = plan("study.matrix.method=[baseline,tried,third]", conf=conf)
    rows = {}
    for name, artifact in trained(study_plan).items():
        data = study_plan.artifacts[artifact.inputs["data"]].config
        rows[name] = (data.skip, data.rows)
    assert rows == {"baseline-seed=0": (0, 384), "tried-seed=0": (384, 64), "third-seed=0": (448, 32)}
    sizes = trainings(study_plan.runs)
    assert [line.partition(": ")[2].partition(" rows")[0] for line in sizes] == ["384", "64", "32"]


def test_a_head_is_trained_on_embeddings_of_the_model_that_it_starts_from(conf):
    study_plan = plan("study.matrix.method=[tried,head_pairs]", "study.baseline=tried", conf=conf)
    artifacts = trained(study_plan)
    first, head = artifacts["tried-seed=0"], artifacts["head_pairs-seed=0"]
    assert head.inputs[START] == first.path
    encoding = study_plan.artifacts[head.inputs["pairs"]]
    assert encoding.inputs["pairs"] == first.inputs["data"]
    assert study_plan.artifacts[encoding.inputs["deploy"]].inputs["model"] == first.path


def test_a_layer_of_the_first_training_counts_as_one_of_the_second(conf):
    (conf / "method" / "after_itq.yaml").write_text("name: after_itq\nstart_from: ste_itq\n")
    (run,) = plan("study.matrix.method=[after_itq]", conf=conf).runs
    assert not run.config.method.appends_a_layer
    assert run.config.appends_a_layer


@pytest.mark.parametrize(
    ("method", "overrides", "message"),
    [
        ("circle", (), "method 'circle' never begins, because its start_from leads back: circle, other, circle"),
        ("lost", (), r"start_from of method 'lost': unknown method 'baselin' \(did you mean 'baseline'"),
        (
            "thirds",
            ("data.rows=null",),
            "method 'thirds' gives a share of its steps to 'baseline', which needs two steps",
        ),
        ("thirds", ("trainer.max_steps=1",), "method 'thirds' gives a share of its steps to 'baseline'"),
        ("idle", (), "method 'idle' starts from 'untrained', which trains nothing"),
        (
            "tried",
            ("data.rows=null",),
            "method 'tried' is trained on 64 other rows than 'baseline', which uses all rows",
        ),
        ("headless", (), "method 'headless' sets learning_rates.head, but neither it nor 'baseline' appends a layer"),
    ],
)
def test_a_wrong_start_is_one_line(conf, method, overrides, message):
    with pytest.raises(UserError, match=message) as error:
        plan(f"study.matrix.method=[{method}]", *overrides, conf=conf)
    assert "\n" not in str(error.value)


def test_too_few_rows_for_both_trainings_are_one_line(conf, tmp_path):
    table = tmp_path / "pairs.csv"
    table.write_text("anchor,positive\n" + "".join(f"query {i},document {i}\n" for i in range(440)))
    data = ("data=local", f"data.path={table}", "data.columns=[anchor,positive]")
    with pytest.raises(
        UserError, match="data 'local' has 440 rows, fewer than the 384 that are skipped, or that an earlier"
    ):
        plan("study.matrix.method=[tried]", *data, "data.rows=384", conf=conf)
    assert plan("study.matrix.method=[tried]", *data, "data.rows=376", conf=conf)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ({"train": False, "start_from": "baseline"}, "train is false, so start_from would have no effect"),
        ({"head": {"fitted_on": "pairs"}, "learning_rates": {"encoder": 1e-5}}, "learning_rates would have no effect"),
        ({"start_from": {"method": "baseline", "rows": 0}}, "greater than 0"),
        ({"learning_rates": {"head": 1e-3}}, "learning_rates.head has no layer to train"),
        ({"learning_rates": {"head": 1e-3}, "rotation": {"kind": "itq"}}, "learning_rates.head has no layer to train"),
    ],
)
def test_settings_without_effect_are_refused(method, message):
    with pytest.raises(ValueError, match=message):
        MethodConfig.model_validate({"name": "tried_pairs", **method})


def test_methods_without_two_stages_keep_their_names():
    assert not {"start_from", "learning_rates"} & set(MethodConfig(name="tried").model_dump())
