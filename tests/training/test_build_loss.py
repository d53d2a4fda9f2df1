"""From a method's configuration to its loss: every choice is one that the library registers."""

from typing import get_args

import pytest

from qatlab.config.embedding_quantization import CentringConfig, EstimatorConfig, RangesConfig
from qatlab.config.method import MethodConfig
from qatlab.families.embedding.train import _estimator, build_loss
from qatlab.losses.ranges import KINDS as CENTRINGS
from qatlab.models.embedding import load_model
from qatlab.quantization.estimators import ESTIMATORS
from qatlab.quantization.ranges import KINDS as RANGES
from qatlab.training_losses import LOSSES


def choices(config, field):
    return set(get_args(config.model_fields[field].annotation))


def test_a_configuration_offers_exactly_what_the_library_registers():
    assert choices(EstimatorConfig, "name") == set(ESTIMATORS)
    assert choices(CentringConfig, "kind") == set(CENTRINGS)
    # Ranges of a batch and learned ones are not saved, `tanh` is a given range, and `running` stands for both running kinds.
    assert choices(RangesConfig, "kind") - {"batch", "learned", "tanh"} == set(RANGES) - {"running_quantile"}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_an_estimator_gets_the_fields_that_it_takes(name):
    estimator = _estimator(EstimatorConfig(name=name, limit=0.3, gamma=0.2, scale=5.0))
    assert type(estimator) is ESTIMATORS[name]
    expected = {"limit": 0.3, "gamma": 0.2, "scale": 5.0}
    assert {field: value for field, value in vars(estimator).items() if field in expected} == {
        field: expected[field] for field in vars(estimator) if field in expected
    }


@pytest.mark.parametrize("name", LOSSES.built_in)
def test_every_loss_is_built_with_its_scale(tiny_model, name):
    model = load_model(tiny_model)
    method = MethodConfig(name="tried", loss={"name": name, "scale": 7.0})
    loss = build_loss(model, method)
    assert type(loss).__name__ == method.loss.class_name()
    assert loss.scale == 7.0
    assert method.loss.in_words().startswith(f"{type(loss).__name__}, similarities × 7")
