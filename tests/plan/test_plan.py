"""Identity: what changes an artifact's name, and what does not."""

import json
import shutil
from functools import cache

import pytest

from conftest import PROJECT
from qatlab.errors import UserError
from qatlab.plan.plan import load_study, write_descriptions
from qatlab.study.record import Axes

CONF = PROJECT / "conf"


ONE_METHOD = ("study.matrix.method=[baseline]", "study.decomposition=[]")  # composed in a third of the time


def plan(*overrides, conf=CONF):
    return load_study(conf, "quickstart", "full", overrides)


planned = cache(plan)  # for plans that several tests read and whose files no test changes


def paths(study_plan, *kinds):
    return {path for path, artifact in study_plan.artifacts.items() if artifact.kind in kinds}


def test_counts_of_quickstart():
    kinds = [artifact.kind for artifact in planned().artifacts.values()]
    counts = {kind: kinds.count(kind) for kind in kinds}
    assert (
        counts
        == {
            "model": 1,
            "data": 1,
            "task": 2,
            "train": 4,
            "deploy": 18,  # with the forward pass that baseline:int8 is trained in, and two of the decomposition
            "encode": 51,  # 15 of them of training documents, on which axes of bits are fitted
            "score": 42,  # 12 of the decomposition: three variants with one comparison each, the shipped one with three, on two tasks
            "drift": 26,
            "bit_changes": 6,  # three trained methods beside the baseline, two tasks
        }
    )


def test_quickstart_is_small_unless_it_is_asked_for_in_full():
    study_plan = load_study(CONF, "quickstart")
    kinds = [artifact.kind for artifact in study_plan.artifacts.values()]
    assert (kinds.count("train"), kinds.count("score")) == (4, 20)
    assert kinds.count("deploy") == 15  # five models as they are, as float ONNX files and as int8 ones
    assert kinds.count("encode") == 20  # the float ONNX files are built, but not encoded
    assert study_plan.scale == "small"
    small = load_study(CONF, "quickstart", "small")
    assert (small.scale, small.artifacts) == ("small", study_plan.artifacts)
    assert not paths(study_plan, "train", "score") & paths(plan(), "train", "score")


def test_the_forward_pass_of_a_training_is_encoded_only_where_parity_is_shown():
    methods = "study.matrix.method=[baseline,baseline:int8]"
    shown, hidden = plan(methods), plan(methods, "study.parity=false")
    assert ("parity" in shown.view_names(), "parity" in hidden.view_names()) == (True, False)
    assert hidden.artifacts.items() <= shown.artifacts.items()
    others = set(shown.artifacts) - set(hidden.artifacts)
    assert {path.partition("/")[0] for path in others} == {"deploy", "encode", "drift"}
    assert all(run.references.keys() == {"torch_fp32"} for run in hidden.runs)


def test_a_key_of_drift_changes_drift_alone():
    one, other = planned(), plan("drift.limit=100")
    assert not paths(one, "drift") & paths(other, "drift")
    kinds = ("model", "data", "task", "train", "deploy", "encode", "score")
    assert paths(one, *kinds) == paths(other, *kinds)


def test_a_key_of_the_trainer_changes_training_and_what_follows():
    one, other = planned(), plan("trainer.learning_rate=1e-6")
    assert not paths(one, "train") & paths(other, "train")
    assert paths(one, "model", "data", "task") == paths(other, "model", "data", "task")


def test_an_untrained_model_is_one_run_whatever_the_seeds():
    study_plan = plan("study.matrix.seed=[0,1,2]", "study.matrix.method=[untrained,baseline]")
    assert [run.name for run in study_plan.runs] == [
        "untrained",
        "baseline-seed=0",
        "baseline-seed=1",
        "baseline-seed=2",
    ]
    assert [run.seed for run in study_plan.record().runs] == [None, 0, 1, 2]


def test_a_model_with_and_without_normalization_are_two(tmp_path):
    """In runs, folders and tables, trained or not."""
    conf = tmp_path / "conf"
    shutil.copytree(CONF, conf)
    study = (conf / "study" / "quickstart.yaml").read_text()
    matrix = "    model: [minilm, minilm_unnormalized]\n    method: [untrained, baseline]"
    study = study.replace("name: quickstart", "name: lengths")
    study = study.replace("    method: [untrained, baseline, ste, ste_warmup, baseline:int8]", matrix)
    (conf / "study" / "lengths.yaml").write_text(study)
    study_plan = load_study(conf, "lengths", "full")
    models = ["minilm", "minilm_unnormalized"]
    untrained = [f"untrained-model={model}" for model in models]
    assert sorted(run.name for run in study_plan.runs) == sorted(
        [*untrained, *(f"baseline-model={model}-seed=0" for model in models)]
    )
    assert len({run.trained for run in study_plan.runs}) == 4
    slugs = sorted(path.rpartition("-")[0] for path in paths(study_plan, "model"))
    assert slugs == ["model/all-minilm-l6-v2", "model/all-minilm-l6-v2-unnormalized"]
    rows = study_plan.record().runs
    assert {row.model for row in rows} == {"sentence-transformers/all-MiniLM-L6-v2"}
    assert {(row.method, row.varied["matrix.model"]) for row in rows} == {
        (method, model) for method in ("untrained", "baseline") for model in models
    }
    scored = {path for run in study_plan.runs for path in run.scored.values()}
    assert len(scored) == 4 * 3 * 2


def test_a_quantized_file_brings_its_float_source_along():
    study_plan = plan("deploy=[torch_fp32,onnx_int8]", "study.matrix.method=[untrained]")
    configs = [artifact.config for artifact in study_plan.artifacts.values() if artifact.kind == "deploy"]
    assert {(c.backend, bool(getattr(c, "quantization", None))) for c in configs} == {
        ("torch", False),
        ("onnx", False),
        ("onnx", True),
    }


def test_local_data_is_known_by_content_not_by_path_or_date(tmp_path, tiny_files):
    copy = tmp_path / "elsewhere.jsonl"
    shutil.copyfile(tiny_files / "pairs.jsonl", copy)
    every_row = (*ONE_METHOD, "data=local", "data.rows=null")
    one = plan(*every_row, f"data.path={tiny_files / 'pairs.jsonl'}")
    other = plan(*every_row, f"data.path={copy}")
    assert paths(one, "data") == paths(other, "data")
    with copy.open("a") as stream:
        stream.write('{"anchor": "one", "positive": "more"}\n')
    assert paths(one, "data") != paths(plan(*every_row, f"data.path={copy}"), "data")


def test_local_mistakes_are_found_before_any_job(tmp_path):
    cases = {
        "missing.csv": (None, "does not exist"),
        "empty.csv": ("anchor,positive\n", "no rows"),
        "columns.csv": ("question,answer\na,b\n", "no column 'anchor'; the file has: question, answer"),
        "blank.csv": ("anchor,positive\na,\n", "column 'positive' has no text in line 2"),
        "broken.jsonl": ("{\n", "line 1: not JSON"),
        "table.xlsx": ("x", "unknown file type"),
    }
    for name, (content, message) in cases.items():
        if content is not None:
            (tmp_path / name).write_text(content)
        with pytest.raises(UserError, match=message):
            plan(*ONE_METHOD, "data=local", f"data.path={tmp_path / name}")
    with pytest.raises(UserError, match=r"model folder .* does not exist"):
        plan(*ONE_METHOD, "model.name=./nowhere")
    (tmp_path / "pickled").mkdir()
    (tmp_path / "pickled" / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(UserError, match=r"no \.safetensors"):
        plan(*ONE_METHOD, f"model.name={tmp_path / 'pickled'}")
    with pytest.raises(UserError, match=r"task folder .* does not exist"):
        plan(*ONE_METHOD, "task=[beir]", "task.beir.path=nowhere")
    with pytest.raises(UserError, match="package 'nopackage' is not installed"):
        plan(*ONE_METHOD, "data.packages=[nopackage]")


def test_a_wrong_checksum_is_refused(tmp_path, monkeypatch):
    from qatlab.models import folders

    assert folders.packaged_folder("sentence-transformers/all-MiniLM-L6-v2") is not None
    (tmp_path / "model.safetensors").write_bytes(b"not the weights")
    monkeypatch.setattr("qatlab.plan.artifacts.packaged_folder", lambda name: tmp_path)
    with pytest.raises(UserError, match=r"SHA-256 is [0-9a-f]{64}, expected 53aa51172d"):
        plan()
    assert folders.packaged_folder("someone/else") is None


def test_descriptions_are_builtin_json(tmp_path):
    study_plan = planned()
    write_descriptions(study_plan, tmp_path)
    written = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.json"))
    assert written == sorted([*(f"{path}.json" for path in study_plan.artifacts), "study/quickstart.json"])
    assert json.loads((tmp_path / "study" / "quickstart.json").read_text())["config"]["primary_metric"] == "ndcg@10"


def test_a_rotated_deployment_is_made_from_training_data_and_has_no_drift():
    study_plan = plan("deploy=[torch_fp32,torch_itq]", "study.matrix.method=[untrained]")
    rotated = [a for a in study_plan.artifacts.values() if a.kind == "deploy" and getattr(a.config, "rotation", None)]
    assert [set(artifact.inputs) for artifact in rotated] == [{"model", "data"}]
    assert not paths(study_plan, "drift")
    with pytest.raises(UserError, match="'torch_itq' rotates embeddings"):
        plan("deploy=[torch_fp32,torch_itq]", "drift.reference=torch_itq")


def test_ranges_of_the_model_need_methods_that_save_them():
    assert plan("evaluate.ranges=model", "evaluate.precisions=[int8]", "study.matrix.method=[ste_running,lsq]").runs


def of_training(study_plan):
    return {path: a for path, a in study_plan.artifacts.items() if a.kind == "encode" and "data" in a.inputs}


def test_training_documents_are_encoded_once_a_deployment_where_axes_are_fitted_on_them():
    """This includes untrained models."""
    study = ("deploy=[torch_fp32,onnx_fp32]", "study.matrix.method=[untrained,baseline]", "study.decomposition=[]")
    study_plan = plan(*study)
    encodings = of_training(study_plan)
    assert len(encodings) == 2 * 2
    assert {artifact.config.rows for artifact in encodings.values()} == {512}
    scores = [artifact.inputs["training"] for artifact in study_plan.artifacts.values() if artifact.kind == "score"]
    assert sorted(scores) == sorted([*encodings] * 2)  # on two tasks
    for overrides in (
        ["evaluate.precisions=[float32,int8]"],
        ["evaluate.bit_axes=[]"],
        ["evaluate.bit_axes=[centred,itq]"],
        ["evaluate.scoring=mteb_compat"],
    ):
        without = plan(*study, *overrides)
        assert not of_training(without)
        assert not [a for a in without.artifacts.values() if a.kind == "score" and "training" in a.inputs]
    rotations = "evaluate.rotations=[{kind:pca,fitted_on:training}]"
    assert len(of_training(plan(*study, "evaluate.precisions=[int8]", rotations))) == 4


def test_scores_of_a_decomposition_need_no_axes():
    study_plan = plan("study.matrix.method=[baseline]", "task=[stdlib]")
    scored = {path for run in study_plan.runs for path in run.scored.values()}
    others = [a for path, a in study_plan.artifacts.items() if a.kind == "score" and path not in scored]
    assert len(others) == 6
    assert not [artifact for artifact in others if "training" in artifact.inputs or artifact.config.bit_axes]


def test_bits_have_a_table_and_axes_have_words():
    study_plan = planned()
    assert "bits" in study_plan.view_names()
    config = study_plan.record()
    assert config.chosen_axes == ("none",)
    words = {axes.label: axes.words for axes in config.axes}
    assert list(words) == [
        "none", "centred", "median", "centred_training", "median_training", "itq", "overcomplete_2x",
    ]  # fmt: skip
    assert words["overcomplete_2x"] == "random, 2× dimensions"
    without = plan("evaluate.bit_axes=[]")
    assert "bits" in without.view_names()  # bits of methods, at their own signs
    assert without.record().axes == (Axes(label="none", words="signs at 0"),)
    assert "bits" not in plan("evaluate.precisions=[float32,int8]").view_names()
    assert "bits" not in plan("evaluate.scoring=mteb_compat", "evaluate.precisions=[binary]").view_names()
    texts = load_study(CONF, "translation_qat_ptq", "small")
    assert "bits" not in texts.view_names()
    assert texts.record().chosen_axes == ("none",)


def test_a_study_with_one_deployment_has_no_drift_to_show():
    study_plan = plan("deploy=[torch_fp32]", "study.matrix.method=[untrained]")
    assert "drift_summary" not in study_plan.view_names()
    assert study_plan.plot_names() == ["forest", "scores", "pareto"]
    assert "drift_summary" in planned().view_names()


def test_gradients_are_drawn_where_a_method_trains_for_quantized_embeddings():
    assert "gradient" in plan("deploy=[torch_fp32]", "study.matrix.method=[ste]", "study.decomposition=[]").plot_names()
    assert "gradient" not in plan("deploy=[torch_fp32]", "study.matrix.method=[baseline:int8]").plot_names()


def test_bytes_are_weighed_where_there_is_more_than_one_output():
    assert "pareto" in planned().view_names()
    one_output = planned("evaluate.precisions=[int8]")
    for names in (one_output.view_names(), one_output.plot_names()):
        assert "pareto" not in names


def test_differences_are_shown_where_there_are_any():
    one = ("deploy=[torch_fp32]", "evaluate.precisions=[float32]")
    assert "against_baseline" in planned(*one).view_names()
    assert "against_baseline" not in plan("study.matrix.method=[baseline]").view_names()
    assert "against_baseline" not in plan("study.matrix.method=[untrained,ste]").view_names()
    assert "against_float" in planned().view_names()
    assert "against_float" not in planned(*one).view_names()
    assert "against_float" not in plan("evaluate.precisions=[int8,binary]").view_names()
    study_plan = plan("drift.reference=onnx_fp32")
    description = study_plan.record()
    assert description.float_deployment == "onnx_fp32"
    assert list(description.views) == study_plan.view_names()


def test_a_run_is_matched_with_the_deployments_on_the_grid_it_was_trained_for():
    methods = "study.matrix.method=[baseline,baseline:int4,baseline:onnx_int8]"
    study_plan = plan("deploy=[torch_fp32,torchao:int4,torchao:int8,onnx_int8]", methods)
    matched = {run.method: run.matched for run in study_plan.record().runs}
    assert matched == {
        "baseline": {},
        "baseline:int4": {"torchao:int4": "int4"},
        "baseline:onnx_int8": {"onnx_int8": "onnx_int8"},
    }
    assert "qat_minus_ptq" in study_plan.view_names()
    assert (
        "qat_minus_ptq"
        not in plan("deploy=[torch_fp32,torchao:int4]", "study.matrix.method=[baseline:int4]").view_names()
    )
    assert "qat_minus_ptq" not in plan("deploy=[torch_fp32]", methods).view_names()


def test_the_ptq_counterpart_of_a_run_has_the_same_training_without_the_scheme():
    methods = "study.matrix.method=[baseline,lora,baseline:int4,lora:int4,lora_merged:int4]"
    study_plan = plan("deploy=[torch_fp32,torchao:int4]", methods)
    twins = {run.method: run.counterpart for run in study_plan.record().runs}
    lora = {"lora:int4": "lora", "lora_merged:int4": "lora"}
    assert twins == {"baseline": None, "lora": None, "baseline:int4": "baseline", **lora}


def drifts(study_plan, method):
    (run,) = [run for run in study_plan.runs if run.config.method.name == method]
    return {
        (reference, deploy, task): study_plan.artifacts[path] for (reference, deploy, task), path in run.drifted.items()
    }


def test_every_deployment_is_compared_with_what_training_saw():
    study_plan = plan("deploy=[torch_fp32,torchao:int8,onnx_int8]", "study.matrix.method=[baseline,baseline:int8]")
    seen = {
        (deploy, task)
        for reference, deploy, task in drifts(study_plan, "baseline:int8")
        if reference == "simulated:int8"
    }
    assert seen == {(d, t) for d in ("torch_fp32", "torchao:int8", "onnx_int8") for t in ("stdlib", "networkx")}
    assert not [reference for reference, _, _ in drifts(study_plan, "baseline") if reference != "torch_fp32"]
    assert "parity" in study_plan.view_names()
    assert "parity" not in plan("study.matrix.method=[baseline]").view_names()


def test_references_of_drift_are_deployments_of_the_run_or_of_another_methods():
    methods = "study.matrix.method=[untrained,baseline]"
    study_plan = plan("drift.reference=[onnx_fp32,untrained/torch_fp32]", methods, "task=[stdlib]")
    compared = {(reference, deploy) for reference, deploy, _ in drifts(study_plan, "baseline")}
    own = {("onnx_fp32", "torch_fp32"), ("onnx_fp32", "onnx_int8")}
    assert compared == own | {("untrained/torch_fp32", d) for d in ("torch_fp32", "onnx_fp32", "onnx_int8")}
    untrained = next(run for run in study_plan.runs if run.name == "untrained")
    artifact = drifts(study_plan, "baseline")["untrained/torch_fp32", "onnx_int8", "stdlib"]
    assert artifact.inputs["reference"] == untrained.encoded["torch_fp32", "stdlib"]
    with pytest.raises(UserError, match="the study has no run of method 'ste' that matches run 'baseline-seed=0'"):
        plan("drift.reference=ste/torch_fp32", "study.matrix.method=[baseline]")
    with pytest.raises(UserError, match="'untrained/torch_bf16' is not a deployment of this study"):
        plan("drift.reference=untrained/torch_bf16")


SQLALCHEMY = "texts.sqlalchemy={source:docstrings,package:sqlalchemy}"


def test_sets_of_texts_are_embedded_and_compared_but_not_scored():
    study_plan = plan(SQLALCHEMY, "study.matrix.method=[baseline:int8]", "task=[stdlib]")
    (run,) = study_plan.runs
    assert set(run.encoded) == {(d, t) for d in run.config.deploy for t in ("stdlib", "sqlalchemy")} | {
        ("simulated:int8", "stdlib")
    }
    assert {task for _, task in run.scored} == {"stdlib"}
    inputs = [set(a.inputs) for (_, _, task), a in drifts(study_plan, "baseline:int8").items() if task == "sqlalchemy"]
    assert inputs == [{"reference", "encode"}] * 2
    with pytest.raises(UserError, match="'stdlib' is the name of a task and of a set of texts"):
        plan(SQLALCHEMY, "+texts.stdlib=${texts.sqlalchemy}")


def test_what_an_onnx_file_is_made_into_is_made_from_one_export():
    deployments = "deploy=[torch_fp32,onnx_int8,onnx_int8_static,onnx_int8_budget,openvino_int8]"
    study_plan = plan(deployments, "study.matrix.method=[untrained]")
    inputs = {a.label.rpartition(" ")[2]: a.inputs for a in study_plan.artifacts.values() if a.kind == "deploy"}
    assert {name for name, roles in inputs.items() if "data" in roles} == {
        "onnx_int8_static", "onnx_int8_budget", "openvino_int8",
    }  # fmt: skip
    floats = [roles["float"] for roles in inputs.values() if "float" in roles]
    assert len(floats) == 4
    assert len(set(floats)) == 1


def test_the_record_has_the_budget_and_the_deployments_with_quantized_weights():
    record = plan("deploy=[torch_fp32,onnx_int8,torchao:int8]").record()
    assert (record.budget, record.quantized) == (0.01, ("onnx_int8", "torchao:int8"))
    assert plan("++study.budget=0.02").record().budget == 0.02
    assert record.views[0] == "recommendation"


@pytest.mark.parametrize("budget", ["0", "1", "-0.1", "little"])
def test_a_budget_is_a_share(budget):
    with pytest.raises(UserError, match=r"study\.budget"):
        plan(f"++study.budget={budget}")
