"""Methods and deployments that are chosen with a scheme of weights, and matrices that sweep schemes."""

import pytest

from conftest import PROJECT
from qatlab.config.weights import SCHEMES, WeightsConfig
from qatlab.errors import UserError
from qatlab.plan.compose import compose_runs

CONF = PROJECT / "conf"


def runs(*overrides):
    return compose_runs(CONF, "quickstart", overrides=["study.decomposition=[]", *overrides])


def methods(*overrides):
    return [config.method.name for _, config in runs(*overrides)]


def test_a_method_with_a_scheme_is_the_method_with_its_weights():
    ((_, plain), (_, quantized)) = runs("study.matrix.method=[ste,ste:int4]")
    assert quantized.method == plain.method.model_copy(
        update={"name": "ste:int4", "weights": WeightsConfig(name="int4", bits=4, group_size=32)}
    )


def test_a_matrix_can_sweep_schemes_of_every_method_that_trains():
    swept = "+study.matrix.weights=[none,int4,int2]"
    assert methods("study.matrix.method=[untrained,baseline,ste]", swept) == [
        "untrained", "baseline", "baseline:int4", "baseline:int2", "ste", "ste:int4", "ste:int2",
    ]  # fmt: skip
    excluded = "+study.exclude=[{method: ste, weights: [null, int2]}, {weights: int4}]"
    assert methods("study.matrix.method=[baseline,ste]", swept, excluded) == ["baseline", "baseline:int2"]


def test_the_swept_schemes_are_of_the_studys_method_where_its_matrix_has_none():
    assert methods("~study.matrix.method", "+study.matrix.weights=[int8,none]") == ["baseline:int8", "baseline"]


def test_keys_of_a_named_scheme_can_be_overridden():
    ((_, config),) = runs(
        "study.matrix.method=[baseline:int4]",
        "method.weights.group_size=64",
        "deploy=[torch_fp32,torchao:int4]",
        "deploy.torchao:int4.weights.group_size=128",
    )
    assert (config.method.weights.bits, config.method.weights.group_size) == (4, 64)
    assert config.deploy["torchao:int4"].weights == WeightsConfig(name="int4", group_size=128)


def test_a_scheme_is_a_name_or_fields_on_top_of_a_named_one():
    by_name = WeightsConfig.model_validate({"name": "int8_int4"})
    assert by_name == WeightsConfig(name="int8_int4", bits=4, group_size=32, activations="int8")
    assert WeightsConfig(name="int4", group_size=64).bits == 4
    assert WeightsConfig(name="mine", bits=5).bits == 5
    assert WeightsConfig.model_validate(by_name.model_dump()) == by_name
    with pytest.raises(ValueError, match=r"unknown scheme 'int44' \(did you mean 'int4'\?\)"):
        WeightsConfig(name="int44")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("study.matrix.method=[baseline:int5]", "unknown scheme of weights 'int5' (did you mean 'int8'?)"),
        ("study.matrix.method=[basline:int4]", "unknown method 'basline' (did you mean 'baseline'?)"),
        ("study.matrix.method=[untrained:int4]", "train is false, so weights would have no effect"),
        ("study.matrix.method=[late_start]", "weights_start has no effect without weights; set a scheme"),
        ("study.matrix.method=[weight_int8]", "method 'weight_int8' is called baseline:int8 now"),
        ("study.matrix.method=[weight_int4_g128_lora]", "is called lora:int4_g128 now"),
        ("study.matrix.method=[weight_int8_percentile_late]", "is called late_start:int8_percentile now"),
        ("deploy=[torch_fp32,torchao_int8_int4]", "deploy 'torchao_int8_int4' is called torchao:int8_int4 now"),
        ("deploy=[torch_fp32,torchao:int5]", "unknown scheme of weights 'int5'"),
        ("deploy=[torch_fp32,torchao:onnx_int8]", "scheme onnx_int8 is ONNX Runtime's grid, not torchao's"),
        (
            "deploy.torchao:int4.dtype=int4",
            "'deploy.torchao:int4' has keys but no backend: its keys are set although it was not selected",
        ),
        ("deploy.torchao:int4=", "Input should be a valid dictionary"),
        ("deploy.torchao:int4={", "override not understood: deploy.torchao:int4={"),
        ("+study.matrix.weights=[int5]", "unknown scheme of weights 'int5'"),
    ],
)
def test_a_mistake_is_one_line(override, message):
    with pytest.raises(UserError) as error:
        runs(override)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_method_with_a_scheme_is_not_swept():
    with pytest.raises(UserError, match=r"'baseline:int8' names a scheme, and study\.matrix\.weights sweeps schemes"):
        runs("study.matrix.method=[baseline:int8]", "+study.matrix.weights=[int4]")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_is_described_in_one_line(scheme):
    description = SCHEMES[scheme].description
    assert description
    assert "\n" not in description
