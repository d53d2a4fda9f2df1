"""Matrices, overrides, and one clear line for each mistake."""

import shutil

import pytest

from conftest import PROJECT
from qatlab.config.method import MethodConfig
from qatlab.errors import UserError
from qatlab.plan.compose import compose_runs

CONF = PROJECT / "conf"


def runs(*overrides):
    return compose_runs(CONF, "quickstart", overrides=overrides)


def test_a_matrix_is_every_combination_less_the_excluded():
    cells = [
        cell
        for cell, _ in runs(
            "study.matrix.method=[baseline,ste]",
            "study.matrix.seed=[0,1]",
            "+study.matrix.trainer.batch_size=[16,32]",
            "+study.exclude=[{method: ste, seed: 1}]",
        )
    ]
    assert len(cells) == 2 * 2 * 2 - 2
    assert {"method": "ste", "seed": 0, "trainer.batch_size": 32} in cells


def test_an_excluded_key_may_have_several_values():
    overrides = ["study.matrix.method=[baseline,ste,lsq]", "study.matrix.seed=[0,1]"]
    cells = [cell for cell, _ in runs(*overrides, "+study.exclude=[{method: [ste, lsq], seed: 1}]")]
    assert [(cell["method"], cell["seed"]) for cell in cells] == [
        ("baseline", 0), ("baseline", 1), ("ste", 0), ("lsq", 0),
    ]  # fmt: skip


def test_cells_reach_the_configuration():
    composed = runs("+study.matrix.trainer.batch_size=[16,32]", "study.matrix.method=[ste]", "data.rows=100")
    assert [config.trainer.batch_size for _, config in composed] == [16, 32]
    assert all(config.data.rows == 100 and config.method.name == "ste" for _, config in composed)


MISTAKES = [
    ("trainer.batchsize=3", "unknown key 'trainer.batchsize'; did you mean 'trainer.batch_size'"),
    ("+trainer.batchsize=3", "unknown key 'trainer.batchsize'; did you mean 'trainer.batch_size'"),
    ("learning_rate=1e-5", "unknown key 'learning_rate'; did you mean 'method.learning_rate'"),
    ("trainr.learning_rate=1e-5", "unknown key 'trainr'; did you mean 'trainer'"),
    ("deploy.onnx_int8.opsett=18", "unknown key 'deploy.onnx_int8.opsett'; did you mean 'deploy.onnx_int8.opset'"),
    (
        "deploy.onnx_int4.opset=18",
        "'deploy.onnx_int4' has keys but no backend: its keys are set although it was not selected",
    ),
    (
        "task.stdlib.zzz=1",
        "unknown key 'task.stdlib.zzz'; valid here: source, queries, shuffle_seed, package, documents",
    ),
    ("seed.x=1", "unknown key 'seed.x': 'seed' is one value, swept by the study's matrix"),
    ("trainer.batch_size=-3", "trainer.batch_size: Input should be greater than or equal to 2, not -3"),
    ("data.rows=0", "data.rows: Input should be greater than 0, not 0"),
    ("trainer.batch_size=many", "trainer.batch_size: Input should be a valid integer"),
    ("study.matrix.method=[stee]", "unknown method 'stee' (did you mean 'ste'?); valid: asymmetric, baseline,"),
    ("deploy=[onnx_int9]", "unknown deploy 'onnx_int9' (did you mean 'onnx_int8'?)"),
    ("task=[stdlibb]", "unknown task 'stdlibb' (did you mean 'stdlib'?)"),
    ("model=minilmm", "unknown model 'minilmm' (did you mean 'minilm'?)"),
    ("method=ste", "write study.matrix.method=[ste] instead"),
    ("study.matrix.seed=[]", "matrix.seed is empty"),
    ("study.matrix.seed=[1,1]", "lists a value twice"),
    ("+study.matrix.deploy=[torch_fp32]", "only model, data, method, weights, trainer, seed"),
    ("+study.matrix.trainer.batchsize=[16]", "unknown key 'trainer.batchsize'"),
    ("+study.exclude=[{methd: ste}]", "exclude names 'methd', which is not a key of the matrix"),
    ("data=local", "'data.path' has no value yet; add data.path=VALUE"),
    ("trainer={", "override not understood"),
    ("seed", "override not understood: seed (missing EQUAL at '<EOF>'); write key=value, as in Hydra"),
    (
        "model.name=My models (v2), a=b",
        'needs quotes that reach Hydra: overrides="model.name=\\"\'My models (v2), a=b\'\\""',
    ),
    (
        "++task.beir.path=elsewhere",
        "'task.beir' has keys but no source: its keys are set although it was not selected; add beir to task=[…], or remove the keys",
    ),
    (
        "++data.source=sql",
        "data.source: unknown value 'sql'; valid: 'numerals', 'docstrings', 'package_texts', 'parallel', 'local', 'hub'",
    ),
    ("evaluate.metrics=[f1@1]", "unknown metric 'f1@1'"),
    ("drift.reference=nothing", "drift.reference 'nothing' is not a deployment"),
    ("seed=x", "'seed' is swept"),
    ("evaluate.precisions=[int7]", "unknown precision 'int7'; valid: float32, float16"),
    (
        "evaluate.precisions=[int8_x_int8]",
        "'int8_x_int8' has the same precision for queries and documents; write 'int8'",
    ),
    ("evaluate.precisions=[int8,int8]", "precisions lists an entry twice"),
    ("evaluate.rescoring=[float17]", "unknown precision 'float17'; valid: float32, float16"),
    ("+evaluate.dimension=64", "dimension"),
    ("evaluate.rotations=[spin]", "Input should be 'none', 'random', 'pca', 'itq' or 'overcomplete', not 'spin'"),
    ("evaluate.rotations=[overcomplete]", "kind overcomplete requires either bits"),
    ("evaluate.ranges=model", "evaluate.ranges has 'model', but method 'untrained' saves no range for int8"),
    ("trainer.precision=fp16", "trainer.precision: Input should be 'auto', 'bf16' or 'fp32', not 'fp16'"),
]


@pytest.mark.parametrize(("override", "message"), MISTAKES)
def test_a_mistake_is_one_line_that_says_what_would_be_right(override, message):
    with pytest.raises(UserError) as error:
        runs(override)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "override",
    [
        "deploy.onnx_int8.exact_products=true",
        "data.shuffle_seed=3",
        "encode.threads=1",
        "predict.num_beams=2",
        "evaluate.range_kind=percentile",
        "method.loss.scale=30.0",
        "trainer.distributed.processes=2",
    ],
)
def test_every_key_can_be_overridden_whether_or_not_a_file_sets_it(override):
    ((_, config),) = runs("study.matrix.method=[baseline]", override)
    key, _, value = override.partition("=")
    for part in key.split("."):
        config = config[part] if isinstance(config, dict) else getattr(config, part)
    assert str(config).lower() == value


def test_unknown_study_and_scale():
    with pytest.raises(UserError, match=r"unknown study 'quickstrt' \(did you mean 'quickstart'"):
        compose_runs(CONF, "quickstrt")
    with pytest.raises(UserError, match=r"unknown scale 'smal'.*valid:"):
        compose_runs(CONF, "quickstart", scale="smal")
    with pytest.raises(UserError, match=r"unknown scale 'tiny'; valid: full, small"):
        compose_runs(CONF, "quickstart", scale="tiny")
    with pytest.raises(UserError, match=r"unknown scale 'tiny'; valid: full$"):
        compose_runs(CONF, "binary_gradient", scale="tiny")


def test_a_key_that_a_scale_sets_can_be_varied():
    sizes = "+study.matrix.trainer.batch_size=[32,64]"
    composed = compose_runs(CONF, "quickstart", "full", ["study.matrix.method=[baseline]", sizes])
    assert [config.trainer.batch_size for _, config in composed] == [32, 64]


def test_a_study_that_lists_a_larger_scale_lists_no_small_one():
    with pytest.raises(UserError, match=r"study.scales: lists both full and small"):
        runs("+study.scales.small=['data.rows=64']")


def test_an_override_that_removes_a_method_removes_its_decomposition_at_any_scale():
    """An entry of `study.decomposition` that a scale sets is dropped with its method; only one that the user sets is an error."""
    ((_, config),) = compose_runs(CONF, "quickstart", "full", ["study.matrix.method=[untrained]"])
    assert config.study.decomposition == []
    _, (_, config) = compose_runs(CONF, "quickstart", "full", ["study.matrix.method=[untrained,baseline]"])
    assert config.study.decomposition == ["baseline/onnx_int8"]


def test_a_method_file_with_a_mistake_is_named(tmp_path):
    conf = tmp_path / "conf"
    shutil.copytree(CONF, conf)
    (conf / "method" / "mine.yaml").write_text("name: mine\nembedding_quantisation: {precisions: {int8: {}}}\n")
    with pytest.raises(
        UserError, match=r"unknown key 'method.embedding_quantisation'; did you mean 'method.embedding_quantization'"
    ):
        compose_runs(conf, "quickstart", overrides=["study.matrix.method=[mine]"])
    (conf / "method" / "mine.yaml").write_text("name: [mine\n")
    with pytest.raises(UserError, match="not YAML"):
        compose_runs(conf, "quickstart", overrides=["study.matrix.method=[mine]"])


def test_both_units_of_a_warm_up_are_refused():
    with pytest.raises(UserError, match="not both"):
        runs("study.matrix.method=[ste_warmup]", "+method.embedding_quantization.precisions.int8.warmup_steps=3")


QUANTIZED = "precisions: {float32: {}, int8: {}}"
METHOD_MISTAKES = [
    ("precisions: {int7: {}}", "unknown precision 'int7'"),
    ("precisions: {int8: {weight: 0}}", "every precision has weight 0"),
    ("precisions: {int8: {warmup_steps: 1, warmup_fraction: 0.1}}", "warmup_steps or warmup_fraction, not both"),
    ("precisions: {int8: {shape: sine}}", "Input should be 'linear' or 'cosine', not 'sine'"),
    (f"{QUANTIZED}, scales: {{binary: 5}}", "binary, which is not among the precisions"),
    (f"{QUANTIZED}, estimator: {{name: lsq}}", "estimator lsq and ranges.kind learned require each other"),
    (
        "precisions: {ternary: {}}, ranges: {kind: minmax}",
        "ranges.kind minmax fits no quantiles, between which the cells of ternary",
    ),
    (
        "precisions: {float32_x_int2_quantile: {}}, ranges: {kind: fixed}",
        "cells of int2_quantile lie; choose batch, running",
    ),
    (
        "precisions: {ternary: {}}, ranges: {kind: learned}, estimator: {name: lsq}",
        "ranges.kind learned fits no quantiles",
    ),
    (
        "precisions: {ternary: {}, int2: {}}, ranges: {kind: quantile}",
        "cells of int2 have equal widths; choose batch, running,",
    ),
    (f"{QUANTIZED}, ranges: {{kind: fixed}}, variant: pr3655", "supports only ranges.kind batch and running"),
    (f"{QUANTIZED}, activation: tanh", "activation tanh and ranges.kind tanh require each other"),
    (f"{QUANTIZED}, ranges: {{kind: tanh}}", "activation tanh and ranges.kind tanh require each other"),
    ("precisions: {int4: {}}, activation: tanh, ranges: {kind: tanh}", "is a grid of int8, not of int4"),
    ("precisions: {ternary: {}}, activation: tanh, ranges: {kind: tanh}", "ranges.kind tanh fits no quantiles"),
    (f"{QUANTIZED}, regularization: {{balance: 1}}, variant: pr3655", "leave activation, regularization and margin_r"),
    (f"{QUANTIZED}, margin_ranking: {{}}, variant: pr3655", "leave activation, regularization and margin_ranking out"),
    (f"{QUANTIZED}, regularization: {{orthogonal: 1}}", "orthogonal"),
]


@pytest.mark.parametrize(("quantization", "message"), METHOD_MISTAKES)
def test_a_mistake_in_a_method_is_one_line(tmp_path, quantization, message):
    conf = tmp_path / "conf"
    shutil.copytree(CONF, conf)
    (conf / "method" / "tried.yaml").write_text(f"name: tried\nembedding_quantization: {{{quantization}}}\n")
    with pytest.raises(UserError) as error:
        compose_runs(conf, "quickstart", overrides=["study.matrix.method=[tried]"])
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_what_was_composed_is_valid_when_a_stage_reads_it_back():
    """Stages validate what a plan has dumped, with every default written out."""
    late = "++method.weights_start.weights.fraction=0.5"
    ((_, config),) = runs("study.matrix.method=[baseline:int8]", late)
    assert MethodConfig.model_validate(config.method.model_dump(mode="json")) == config.method


def test_a_study_that_forgets_its_package_is_one_line(tmp_path):
    shutil.copytree(CONF, tmp_path / "conf")
    text = (
        (CONF / "study" / "quickstart.yaml")
        .read_text()
        .replace("# @package _global_\n", "")
        .replace("quickstart", "mine")
    )
    (tmp_path / "conf" / "study" / "mine.yaml").write_text("# a comment\n" + text)
    with pytest.raises(UserError, match=r"conf/study/mine\.yaml must begin with the line '# @package _global_'"):
        compose_runs(tmp_path / "conf", "mine")


def test_runs_that_share_what_is_composed_are_those_composed_one_by_one():
    """Scalars of the matrix are set on plain values, and sections that none of them reaches are validated once."""
    values = {"seed": [0, 5], "trainer.learning_rate": [1e-4, 2e-5], "data.rows": [64, 128]}
    together = runs(
        "study.matrix.method=[ste,baseline]",
        "study.matrix.seed=[0,5]",
        "+study.matrix.trainer.learning_rate=[1e-4,2e-5]",
        "+study.matrix.data.rows=[64,128]",
    )
    assert len(together) == 2 * 2 * 2 * 2
    for cell, config in together:
        alone = [f"{key}={cell[key]}" for key in values if key != "seed"]
        ((_, expected),) = runs(
            f"study.matrix.method=[{cell['method']}]", f"study.matrix.seed=[{cell['seed']}]", *alone
        )
        for name, section in expected:
            assert name == "study" or getattr(config, name) == section, (cell, name)


def test_a_mistake_in_a_later_cell_is_reported_as_in_the_first():
    with pytest.raises(UserError, match=r"^trainer.batch_size: Input should be greater than or equal to 2, not -3$"):
        runs("+study.matrix.trainer.batch_size=[16,-3]")


def test_an_interpolation_follows_the_matrix():
    composed = runs("+study.matrix.trainer.learning_rate=[1e-4,2e-5]", "trainer.warmup_ratio=${trainer.learning_rate}")
    assert {config.trainer.warmup_ratio for _, config in composed} == {1e-4, 2e-5}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "# @package _global_\ndefaults: 3\n",
            "Invalid defaults list in 'study/mine', defaults must be a list .got int.",
        ),
        ("# @package _global_\ndefaults: [3]\n", "Unsupported type in defaults : int"),
        ("# @package _global_\ndefaults:\n", "defaults must be a list .got NoneType."),
        ("# @package _global_\ndefaults: [nothing]\n", "Could not load 'study/nothing'.$"),
        ("- a\n", ""),
        ("# @package _global_\n- a\n", ""),
    ],
)
def test_a_study_file_that_hydra_cannot_read_is_one_line(tmp_path, text, message):
    conf = tmp_path / "conf"
    shutil.copytree(CONF, conf)
    (conf / "study" / "mine.yaml").write_text(text)
    with pytest.raises(UserError, match=f"^configuration cannot be composed: .*{message}"):
        compose_runs(conf, "mine", overrides=["study.matrix.method=[baseline]"])


@pytest.mark.parametrize("value", ["[]", "{}", "[a]", "0", "null", "true"])
@pytest.mark.parametrize(
    "key", ["data.source", "task.stdlib.source", "texts.mine.source", "deploy.torch_fp32.backend", "method.loss.name"]
)
def test_a_kind_that_is_not_a_name_is_refused_in_one_line(key, value):
    with pytest.raises(UserError) as caught:
        compose_runs(CONF, "quickstart", overrides=["study.matrix.method=[baseline]", f"{key}={value}"])
    assert "\n" not in str(caught.value)
    assert key.split(".")[0] in str(caught.value)
