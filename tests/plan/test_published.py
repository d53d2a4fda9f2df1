"""Published results: files are checked before anything starts, and names at a small scale stand for those at full scale."""

import shutil
from functools import cache

import pytest

from conftest import PROJECT
from qatlab.errors import UserError
from qatlab.plan.comparisons import check_published
from qatlab.plan.compose import stands_for
from qatlab.plan.configuration_files import ConfigurationFiles
from qatlab.plan.plan import load_study
from qatlab.tables.published import read_published

pytestmark = pytest.mark.slow(15)

CONF = PROJECT / "conf"
HEADER = "table,method,trainer.batch_size,deploy,task,precision,metric,value,source\n"
LINE = "scores,ste,64,torch_fp32,mean,int8,ndcg@10,0.5,a paper\n"


@cache
def planned(study, scale=None):
    """A study of ours, planned once for all tests of it."""
    return load_study(CONF, study, scale)


@pytest.fixture
def conf(tmp_path):
    """A project with a file of published results."""
    shutil.copytree(CONF, tmp_path / "conf")
    (tmp_path / "results" / "published").mkdir(parents=True)
    (tmp_path / "results" / "published" / "theirs.csv").write_text(HEADER + LINE)
    return tmp_path / "conf"


def changed(conf, text):
    (conf.parent / "results" / "published" / "theirs.csv").write_text(text)


def test_a_small_scale_stands_for_the_full_one_place_by_place():
    names = stands_for(CONF, "pr3655_gooaq", "small")
    assert names["data.rows"] == {"112": 90000, "1238": 990000, "3738": 2990000}
    assert names["trainer.batch_size"] == {"8": 64, "16": 128}
    assert names["task"] == {"stdlib": "nano_msmarco", "networkx": "nano_nq"}
    assert names["method"]["pr3655_staged_warmup_short"] == "pr3655_staged_warmup"
    assert stands_for(CONF, "quickstart")["task"] == {"stdlib": "stdlib", "networkx": "networkx"}
    assert stands_for(CONF, "quickstart")["deploy"] == {"torch_fp32": "torch_fp32", "onnx_int8": "onnx_int8"}
    full = stands_for(CONF, "pr3655_gooaq")
    assert full["data.rows"] == {"90000": 90000, "990000": 990000, "2990000": 2990000}


def test_a_study_shows_its_file(conf):
    overrides = ["+study.published=theirs", "+study.matrix.trainer.batch_size=[64]"]
    plan = load_study(conf, "quickstart", "full", overrides)
    assert plan.scale == "full"
    assert "published" in plan.view_names()
    assert "published" in plan.plot_names()
    assert plan.record().scale == "full"
    assert "published" not in load_study(conf, "quickstart").view_names()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("method,value\nste,1\n", "has no column 'table'; it needs table, method, deploy, task, precision, metric"),
        (HEADER.replace("trainer.batch_size", "batch") + LINE, "column 'batch' is not a key of the study's matrix"),
        (HEADER + LINE.replace("0.5", "half"), "line 2: value is 'half', not a number"),
        (HEADER + LINE.replace("0.5", "nan"), "line 2: value is 'nan', not a number"),
        (HEADER + LINE + LINE.replace("scores", "scroes"), "line 3: no table 'scroes'; valid: scores, ranks, drift"),
        (HEADER + LINE.replace("a paper", ""), "line 2: a published result needs a source"),
    ],
)
def test_a_file_that_cannot_be_shown_is_one_line(conf, text, message):
    changed(conf, text)
    with pytest.raises(UserError, match=message) as raised:
        check_published(conf, "theirs", ["method", "trainer.batch_size", "seed"])
    assert "\n" not in str(raised.value)


def test_an_unknown_file_has_the_nearest_named(conf):
    with pytest.raises(UserError, match=r"unknown study.published 'their' \(did you mean 'theirs'"):
        check_published(conf, "their", ["method"])


def test_removed_results_are_one_line_that_restores_published_ones(conf):
    shutil.rmtree(conf.parent / "results")
    with pytest.raises(
        UserError, match=r"published is missing; in a clone, restore it by `git restore results/published`"
    ):
        check_published(conf, "theirs", ["method"])


@pytest.mark.slow(2)
@pytest.mark.parametrize("study", ConfigurationFiles(CONF).groups["study"])
def test_every_published_result_belongs_to_a_variant_of_the_study(study):
    plan = planned(study)
    if plan.published is None:
        return
    theirs = read_published(plan.published.file)
    names = plan.published.stands_for
    for column, valid_names in (
        ("method", {run.config.method.name for run in plan.runs}),
        ("deploy", {*names["deploy"], ""}),
    ):
        assert set(theirs[column]) <= valid_names
    assert set(theirs["task"]) <= {*names["task"], *names["texts"], "mean", ""}
    for key in set(names) & set(theirs.columns) - {"method", "deploy", "task"}:
        assert set(theirs[key]) <= {str(value) for value in names[key].values()}


@pytest.mark.slow(2)
@pytest.mark.parametrize("study", ConfigurationFiles(CONF).groups["study"])
def test_a_small_scale_keeps_the_matrix(study):
    plan = planned(study)
    if plan.published is None:
        return
    small = planned(study, "small")
    assert set(small.published.stands_for) == set(plan.published.stands_for)
    assert len(small.runs) == len(plan.runs)
    assert small.view_names() == plan.view_names()
    assert small.plot_names() == plan.plot_names()


@pytest.mark.slow(1)
@pytest.mark.parametrize("scale", [None, "small"])
@pytest.mark.parametrize("study", ConfigurationFiles(CONF).groups["study"])
def test_every_answer_of_ours_is_of_something_that_the_study_does(study, scale):
    settings = planned(study).runs[0].config.study
    if scale is None or scale in settings.scales:
        assert len(planned(study, scale).answers) == len(settings.answers)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("{method: stee, deploy: onnx_int8}", "unknown method in study.answers 'stee' (did you mean 'ste'?)"),
        ("{method: ste, deploy: onnx_int9}", "unknown deploy in study.answers 'onnx_int9'"),
        ("{method: ste}", "an answer that compares scores needs a deployment; set deploy"),
        ("{method: ste, deploy: onnx_int8, where: {data.rows: 5}}", "'data.rows' is not a key of the study's matrix"),
    ],
)
def test_an_answer_that_nothing_gives_is_one_line(answer, message):
    with pytest.raises(UserError) as raised:
        load_study(CONF, "quickstart", overrides=[f"+study.answers=[{answer}]"])
    assert message in str(raised.value)


def test_an_answer_goes_with_the_method_that_overrides_take_away():
    overrides = ["+study.answers=[{method: ste, deploy: onnx_int8}]", "study.matrix.method=[untrained,baseline]"]
    assert load_study(CONF, "quickstart", overrides=overrides).answers == []
    assert len(load_study(CONF, "quickstart", overrides=overrides[:1]).answers) == 1
