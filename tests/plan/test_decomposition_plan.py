"""The variants of a model that a decomposition needs, which do not change the rest of the study."""

import pandas as pd
import pytest

from conftest import PROJECT
from qatlab.errors import UserError
from qatlab.plan.plan import load_study
from qatlab.tables.long import runs_table

pytestmark = pytest.mark.slow(15)

ONE = ("task=[stdlib]", "study.matrix.method=[baseline]")
ONNX = "study.decomposition=[baseline/onnx_int8]"


def plan(*overrides):
    return load_study(PROJECT / "conf", "quickstart", "full", [*ONE, *overrides])


def chains(study_plan, run=0):
    return {(chain.deploy, chain.precision): chain.steps for chain in study_plan.runs[run].chains}


def components(steps):
    return [step.component for step in steps]


def made_of(study_plan, step, task="stdlib"):
    """Return the configurations of the deployment and of the evaluation of a step's scores."""
    score = study_plan.artifacts[step.scores[task]]
    deploy = study_plan.artifacts[study_plan.artifacts[score.inputs["encode"]].inputs["deploy"]]
    return deploy.config, score.config


def test_each_variant_adds_one_component():
    study_plan = plan(ONNX)
    by_output = chains(study_plan)
    variants = ["float", "weights", "activations", "export"]
    assert components(by_output["onnx_int8", "int8"]) == [*variants, "output rounding", "range mismatch", "scorer"]
    assert components(by_output["onnx_int8", "binary"]) == [*variants, "output rounding", "scorer"]
    steps = {step.component: made_of(study_plan, step) for step in by_output["onnx_int8", "int8"]}
    deployed = {component: config for component, (config, _) in steps.items()}
    assert deployed["float"] == made_of(study_plan, by_output["onnx_int8", "binary"][0])[0]
    assert (deployed["float"].weights, deployed["float"].simulated) == (None, False)
    for component, activations in (("weights", False), ("activations", True)):
        assert deployed[component].weights.name == "onnx_int8"
        assert deployed[component].simulated
        assert deployed[component].activations is activations
    shipped = study_plan.artifacts[study_plan.runs[0].deployed["onnx_int8"]].config
    assert all(deployed[c] == shipped for c in ("export", "output rounding", "range mismatch", "scorer"))
    compared = {component: (config.scoring, config.ranges) for component, (_, config) in steps.items()}
    assert compared["output rounding"] == (["dequantized"], ["corpus"])
    assert compared["range mismatch"] == (["dequantized"], ["per_call"])
    assert compared["scorer"] == (["sentence_transformers_compat"], ["per_call"])
    assert [step.output for step in by_output["onnx_int8", "int8"][3:]] == [
        "none/float32/dot",
        "none/int8/dequantized/corpus",
        "none/int8/dequantized/per_call",
        "none/int8/sentence_transformers_compat/per_call",
    ]


def test_the_studys_evaluation_is_kept_but_for_what_is_decomposed():
    given = (
        "++evaluate.similarity=dot",
        "evaluate.range_kind=percentile",
        "evaluate.rotations=[none,itq]",
        "evaluate.rescoring=[none,float32]",
        "evaluate.dimensions=[null,64]",
        "evaluate.precisions=[float32,binary,float32_x_binary]",
    )
    study_plan = plan(ONNX, *given)
    assert list(chains(study_plan)) == [("onnx_int8", "binary")]
    _, evaluation = made_of(study_plan, chains(study_plan)["onnx_int8", "binary"][-2])
    kept = {key: getattr(evaluation, key) for key in ("metrics", "similarity", "range_kind", "precisions")}
    assert kept == {
        "metrics": ["ndcg@10"], "similarity": "dot", "range_kind": "percentile", "precisions": ["float32", "binary"],
    }  # fmt: skip
    assert (evaluation.rescoring, evaluation.dimensions) == ([()], [None])
    assert [rotation.kind for rotation in evaluation.rotations] == ["none"]
    assert list(chains(plan(ONNX, "evaluate.precisions=[float32]"))) == [("onnx_int8", "float32")]


def test_the_rest_of_the_study_is_the_same_with_it_and_without():
    without, with_it = plan("study.decomposition=[]"), plan(ONNX)
    assert without.artifacts.items() <= with_it.artifacts.items()
    added = [a for path, a in with_it.artifacts.items() if path not in without.artifacts]
    kinds = [artifact.kind for artifact in added]
    assert {kind: kinds.count(kind) for kind in kinds} == {"deploy": 2, "encode": 2, "score": 6}
    (before,), (after,) = (study_plan.record().runs for study_plan in (without, with_it))
    assert (before.chains, before.parts) == ((), ())
    assert before == after.model_copy(
        update={"chains": (), "parts": ()}
    )  # scores.csv, drift.csv and cost.csv are made from these fields
    assert set(with_it.view_names()) - set(without.view_names()) == {"decomposition"}
    assert set(with_it.plot_names()) - set(without.plot_names()) == {"waterfall"}


def test_existing_artifacts_are_reused():
    """A run that was trained for the grid has its simulation already; int8 and binary share all before the rounding."""
    study_plan = plan("study.matrix.method=[baseline:onnx_int8]", "study.decomposition=[baseline:onnx_int8/onnx_int8]")
    (run,) = study_plan.runs
    steps = chains(study_plan)["onnx_int8", "int8"]
    simulated = study_plan.artifacts[steps[2].scores["stdlib"]].inputs["encode"]
    assert simulated == run.encoded["simulated:onnx_int8", "stdlib"]
    assert steps[:4] == chains(study_plan)["onnx_int8", "binary"][:4]
    assert ("simulated:onnx_int8:weights", "stdlib") not in run.encoded
    assert {reference for reference, _, _ in run.drifted} == {"torch_fp32", "simulated:onnx_int8"}


@pytest.mark.parametrize(
    ("deployment", "expected"),
    [
        ("torchao:int4", ["weights", "export"]),
        ("torchao:int8_int8", ["weights", "activations", "export"]),
        ("onnx_int8_static", ["weights, activations and export"]),
        ("onnx_int8_budget", ["weights, activations and export"]),  # which keeps some nodes in float
    ],
)
def test_a_deployment_is_decomposed_as_far_as_its_grid_is_simulated(deployment, expected):
    study_plan = plan(f"deploy=[torch_fp32,{deployment}]", f"study.decomposition=[baseline/{deployment}]")
    assert components(chains(study_plan)[deployment, "binary"]) == ["float", *expected, "output rounding", "scorer"]


def test_a_budget_that_leaves_nothing_out_is_only_measured():
    budget = ("deploy=[torch_fp32,onnx_int8_budget]", "study.decomposition=[baseline/onnx_int8_budget]")
    steps = chains(plan(*budget, "deploy.onnx_int8_budget.budget.leave_out=false"))["onnx_int8_budget", "binary"]
    assert components(steps) == ["float", "weights", "activations", "export", "output rounding", "scorer"]


def test_what_other_parameters_make_of_the_onnx_file_is_simulated_by_nothing():
    for override in (
        "deploy.onnx_int8.quantization.reduce_range=true",
        "++deploy.onnx_int8.quantization.nodes_to_exclude=[/x]",
    ):
        steps = chains(plan(ONNX, override))["onnx_int8", "binary"]
        assert components(steps) == ["float", "weights, activations and export", "output rounding", "scorer"]


def test_block_formats_quantize_weights_and_activations_in_one(monkeypatch):
    monkeypatch.setenv("QATLAB_COMPUTE_CAPABILITY", "10.0")
    study_plan = plan("deploy=[torch_fp32,torchao:mxfp8]", "study.decomposition=[baseline/torchao:mxfp8]")
    steps = chains(study_plan)["torchao:mxfp8", "binary"]
    assert components(steps) == ["float", "weights and activations", "export", "output rounding", "scorer"]


def test_every_seed_has_its_chains_and_other_methods_have_none():
    study_plan = plan("study.matrix.method=[untrained,baseline]", "study.matrix.seed=[0,1]", ONNX)
    assert {run.name: len(run.chains) for run in study_plan.runs} == {
        "untrained": 0,
        "baseline-seed=0": 2,
        "baseline-seed=1": 2,
    }


def test_the_start_is_the_trained_model_where_drift_refers_to_nothing_in_float():
    study_plan = plan("deploy=[onnx_int8]", "drift.reference=onnx_int8", ONNX)
    config, _ = made_of(study_plan, chains(study_plan)["onnx_int8", "int8"][0])
    assert (config.backend, config.weights) == ("torch", None)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ("baseline", "'baseline' is not METHOD/DEPLOYMENT; write baseline/onnx_int8, for example"),
        ("baseline/onnx_int8,baseline/onnx_int8", "study.decomposition: an entry is listed twice: baseline/onnx_int8"),
        ("baselin/onnx_int8", r"'baselin/onnx_int8': 'baselin' \(did you mean 'baseline'\?\); valid: baseline$"),
        ("ste/onnx_int8", "'ste/onnx_int8': 'ste'; valid: baseline$"),
        ("baseline/onnx_int4", r"'onnx_int4' \(did you mean 'onnx_int8'\?\); valid: onnx_fp32, onnx_int8, torch_fp32"),
        (
            "baseline/torch_fp32",
            "'torch_fp32' ships no quantized weights, .*; deployments with quantized weights: onnx_int8$",
        ),
    ],
)
def test_mistakes_are_one_line_that_says_what_would_be_right(entries, message):
    with pytest.raises(UserError, match=message) as error:
        plan(f"study.decomposition=[{entries}]")
    assert "\n" not in str(error.value)


def test_what_overrides_take_from_a_study_is_taken_from_its_decomposition_too():
    """Otherwise, users who choose other methods or deployments would have to override study.decomposition too."""
    assert plan().runs[0].chains
    for overrides in (["study.matrix.method=[untrained]"], ["deploy=[torch_fp32]"]):
        study_plan = plan(*overrides)
        assert not study_plan.runs[0].chains
        assert "decomposition" not in study_plan.view_names()


def test_runs_csv_names_what_it_is_made_from():
    study_plan = plan(ONNX)
    description = study_plan.record().runs
    table = runs_table(description).set_index("deploy")
    deployments = ["torch_fp32", "onnx_fp32", "onnx_int8"]
    assert table.index.tolist() == [*deployments, "simulated:onnx_int8:weights", "simulated:onnx_int8"]
    assert table["decomposition"].str.split().str.len().fillna(0).tolist() == [1, 0, 3, 1, 1]
    assert table["score"].isna().tolist() == [False, False, False, True, True]
    columns = ["trained", "deployed", "encode", "training", "score", "drift", "decomposition"]
    named = set(" ".join(table[columns].stack().dropna()).split())
    used = {path for path, a in study_plan.artifacts.items() if a.kind in ("train", "encode", "score", "drift")}
    assert used <= named
    assert isinstance(table, pd.DataFrame)


def test_only_retrieval_is_decomposed(tmp_path):
    (tmp_path / "records.jsonl").write_text('{"query": "a", "positive": "b", "negatives": ["c"]}\n')
    withheld = f"task.withheld.path={tmp_path / 'records.jsonl'}"
    steps = chains(plan("task=[withheld,stdlib]", withheld, ONNX))["onnx_int8", "int8"]
    assert {task for step in steps for task in step.scores} == {"stdlib"}
    with pytest.raises(UserError, match=r"study\.decomposition needs a retrieval task, and the study has none"):
        plan("task=[withheld]", withheld, ONNX)
