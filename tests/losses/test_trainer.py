"""The loss in Sentence Transformers' own trainer."""

import pytest
import torch
from datasets import Dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from transformers import TrainerCallback

from qatlab.losses import QuantizationAwareCallback, QuantizationAwareLoss
from qatlab.losses.terms import WeightSchedule
from qatlab.quantization import RunningRange


def train(tiny_model, pairs, output, others=(), **arguments):
    torch.manual_seed(0)
    model = SentenceTransformer(str(tiny_model), device="cpu")
    loss = QuantizationAwareLoss(
        model,
        MultipleNegativesRankingLoss(model),
        precisions=["float32", "int8", "binary"],
        weights=[1.0, WeightSchedule(1.0, warmup_fraction=0.5), WeightSchedule(0.5, start_steps=2)],
        ranges=RunningRange(0.9),
        learned_scales=["binary"],
    )
    options = {
        "per_device_train_batch_size": 16,
        "max_steps": 4,
        "learning_rate": 1e-3,
        "logging_steps": 1,
        "save_strategy": "no",
        "use_cpu": True,
        "report_to": "none",
        "disable_tqdm": True,
        **arguments,
    }
    trainer = SentenceTransformerTrainer(
        model=model,
        args=SentenceTransformerTrainingArguments(output_dir=str(output), **options),
        train_dataset=Dataset.from_dict(
            {"anchor": [summary for summary, _ in pairs[:64]], "positive": [code for _, code in pairs[:64]]}
        ),
        loss=loss,
        callbacks=[QuantizationAwareCallback(loss), *(other(loss) for other in others)],
    )
    trainer.train()
    return loss, [entry for entry in trainer.state.log_history if "loss" in entry]


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param({}, id="fp32"),
        pytest.param({"bf16": True}, id="bf16"),
        pytest.param({"gradient_accumulation_steps": 2}, id="accumulated"),
        pytest.param(
            {"torch_compile": True, "torch_compile_backend": "eager"}, id="compiled", marks=pytest.mark.slow(9)
        ),
    ],
)
def test_it_trains_changes_values_and_logs_its_schedule(tiny_model, pairs, tmp_path, arguments):
    loss, log = train(tiny_model, pairs, tmp_path, **arguments)
    assert [entry["weight_int8"] for entry in log] == [0, 0.5, 1, 1]
    assert [entry["weight_binary"] for entry in log] == [0, 0, 0.5, 0.5]
    for entry in log[2:]:
        assert entry["changed_int8"] > 0.9
        assert entry["changed_binary"] == 1
        assert {"loss_float32", "loss_int8", "loss_binary", "scale_binary"} <= set(entry)
    assert log[-1]["scale_binary"] != pytest.approx(20, rel=1e-6)  # the optimizer has the loss's own parameter
    assert loss.ranges.lasting()["int8"].low is not None


class GradientsOfScale(TrainerCallback):
    """Record the gradient that the optimizer uses, and the gradients of the backward passes of the same step."""

    steps: list = []

    def __init__(self, loss):
        self.scale = loss.log_scales["binary"]
        self.given = []
        self.scale.register_hook(lambda gradient: self.given.append(gradient.clone()))
        GradientsOfScale.steps = []

    def on_pre_optimizer_step(self, args, state, control, **kwargs):
        self.steps.append((self.scale.grad, sum(self.given)))
        self.given = []


@pytest.mark.parametrize("accumulated", [1, 2])
def test_a_step_uses_only_its_own_gradients(tiny_model, pairs, tmp_path, accumulated):
    """The trainer clears the model's gradients only, so that those of the loss would add up over the whole training."""
    train(tiny_model, pairs, tmp_path, [GradientsOfScale], gradient_accumulation_steps=accumulated)
    trained = [(taken.clone(), given) for taken, given in GradientsOfScale.steps if taken is not None]
    assert len(trained) == 2  # the scale is that of a precision that starts at step 2
    for taken, given in trained:
        assert taken == pytest.approx(float(given), rel=1e-5)
