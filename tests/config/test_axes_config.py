"""Axes in configuration: names, short forms and invalid values."""

import pytest
from pydantic import ValidationError

from conftest import PROJECT
from qatlab.config.evaluate import EvaluateConfig
from qatlab.config.method import MethodRotationConfig
from qatlab.config.precision import FittedRotationConfig, RotationConfig
from qatlab.deployments.torch import TorchDeployment
from qatlab.plan.compose import compose_runs

NAMES = [
    ({}, "none", "signs at 0"),
    ({"center": True}, "centred", "centred"),
    ({"center": "mean"}, "centred", "centred"),
    ({"center": "median"}, "median", "median"),
    ({"center": "mean", "fitted_on": "training"}, "centred_training", "centred"),
    ({"kind": "itq"}, "itq", "ITQ"),
    ({"kind": "itq", "center": "mean"}, "itq_centred", "ITQ, centred"),
    ({"kind": "itq", "center": "median", "fitted_on": "training"}, "itq_median_training", "ITQ, median"),
    ({"kind": "pca", "fitted_on": "training"}, "pca_training", "PCA"),
    ({"kind": "overcomplete", "bits": 1024}, "overcomplete_1024", "random, 1,024 dimensions"),
    ({"kind": "overcomplete", "factor": 2}, "overcomplete_2x", "random, 2× dimensions"),
    ({"kind": "overcomplete", "factor": 1.5, "center": "mean"}, "overcomplete_1.5x_centred", "random, 1.5× dimensions, centred"),
]  # fmt: skip


@pytest.mark.parametrize(("values", "label", "words"), NAMES)
def test_axes_have_a_label_for_columns_and_a_name_for_captions(values, label, words):
    config = RotationConfig(**values)
    assert (config.label, config.in_words) == (label, words)
    assert RotationConfig.model_validate(config.model_dump(mode="json")) == config


def test_true_means_mean_in_a_dump():
    assert RotationConfig(center=True).model_dump()["center"] == "mean"
    assert RotationConfig(center=False).model_dump()["center"] is False


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "overcomplete"}, "requires either bits .* or factor"),
        ({"kind": "overcomplete", "bits": 64, "factor": 2}, "requires either bits"),
        ({"kind": "itq", "factor": 2}, "other kinds accept neither"),
        ({"kind": "overcomplete", "factor": 1}, "greater than 1"),
        ({"center": "mode"}, "'mean' or 'median'"),
        ({"fitted_on": "training"}, "axes of kind none without center are not fitted; leave fitted_on out"),
        ({"kind": "random", "fitted_on": "training"}, "axes of kind random without center are not fitted"),
        ({"kind": "overcomplete", "factor": 2, "fitted_on": "training"}, "are not fitted"),
    ],
)
def test_mistakes_are_named(values, message):
    with pytest.raises(ValidationError, match=message):
        RotationConfig(**values)


def test_a_factor_follows_the_dimensions():
    assert RotationConfig(kind="overcomplete", factor=1.5).dimensions_out(384) == 576
    assert RotationConfig(kind="overcomplete", bits=1024).dimensions_out(384) == 1024
    assert RotationConfig(kind="itq").dimensions_out(384) is None


def test_modules_are_always_fitted_on_training_documents():
    for config in (FittedRotationConfig, MethodRotationConfig):
        assert config(kind="overcomplete", factor=2, center="median").label == "overcomplete_2x_median"
        assert config(kind="none", center="mean").label == "centred"
        with pytest.raises(ValidationError, match=r"fitted_on\n.*Extra inputs are not permitted"):
            config(kind="itq", fitted_on="training")
    with pytest.raises(ValidationError, match="kind none without center has no effect"):
        MethodRotationConfig(kind="none")
    centred = TorchDeployment.model_validate({"backend": "torch", "rotation": {"kind": "none", "center": "median"}})
    assert (centred.rotated, centred.needs_texts) == (True, True)
    assert not TorchDeployment.model_validate({"backend": "torch", "rotation": {"kind": "none"}}).rotated


def test_short_forms_are_expanded_and_names_are_unique():
    config = EvaluateConfig(metrics=["ndcg@10"], rotations=["none", "itq"], bit_axes=["centred", "median", "itq"])
    assert [axes.label for axes in config.bit_axes] == ["centred", "median", "itq"]
    with pytest.raises(ValidationError, match="bit_axes lists an entry twice: centred, centred"):
        EvaluateConfig(metrics=["ndcg@10"], bit_axes=["centred", {"center": "mean"}])
    with pytest.raises(ValidationError, match="rotations and bit_axes list 'itq' with different seeds"):
        EvaluateConfig(metrics=["ndcg@10"], rotations=["itq"], bit_axes=[{"kind": "itq", "seed": 1}])


def test_every_study_has_the_baselines_by_default():
    for study, scale in (("quickstart", "full"), ("embedding_quantization", None)):
        ((_, config), *_) = compose_runs(PROJECT / "conf", study, scale)
        assert [axes.label for axes in config.evaluate.bit_axes] == [
            "centred", "median", "centred_training", "median_training", "itq", "overcomplete_2x",
        ]  # fmt: skip
        assert config.evaluate.range_rows == 512
    overrides = ["evaluate.bit_axes=[median]", "study.matrix.method=[baseline]"]
    ((_, config), *_) = compose_runs(PROJECT / "conf", "quickstart", overrides=overrides)
    assert [axes.label for axes in config.evaluate.bit_axes] == ["median"]
