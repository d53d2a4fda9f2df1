"""train, for real: every way of quantizing embeddings through Sentence Transformers' own trainer, on a tiny model."""

import json
import math
import shutil

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer

from qatlab.config.method import MethodConfig
from qatlab.config.trainer import TrainerConfig
from qatlab.errors import Diverged, UserError
from qatlab.families.embedding.train import names_of_texts
from qatlab.job import JobDescription
from qatlab.losses.ranges import MEAN_SQUARE
from qatlab.quantization import Range, quantize_embeddings
from qatlab.stages import deploy, train

pytestmark = pytest.mark.slow(50)

TRAINER = {"batch_size": 16, "learning_rate": 1e-3, "precision": "fp32"}
INT8 = {"float32": {}, "int8": {}}
METHODS = {
    "running": {"precisions": INT8, "ranges": {"kind": "running", "momentum": 0.5}},
    "fixed_clipped": {"precisions": INT8, "ranges": {"kind": "fixed", "limit": 0.3}, "estimator": {"name": "clipped"}},
    "percentile": {"precisions": INT8, "ranges": {"kind": "percentile"}},
    "running_quantiles": {
        "precisions": {"int8": {}, "int2_quantile": {}, "ternary": {}},
        "ranges": {"kind": "running"},
    },
    "quantile": {
        "precisions": {"float32_x_ternary": {}},
        "ranges": {"kind": "quantile"},
        "estimator": {"name": "clipped"},
    },
    "batch_quantiles": {"precisions": {"float32": {}, "int2": {}, "int2_quantile": {}}},
    "lsq": {
        "precisions": {"int8": {}, "int4": {}},
        "ranges": {"kind": "learned"},
        "estimator": {"name": "lsq"},
    },
    "tanh": {"precisions": {"binary": {}}, "estimator": {"name": "tanh", "gamma": 2.0}},
    "bpr": {
        "precisions": {"float32_x_binary": {}},
        "estimator": {"name": "tanh", "gamma": 0.1},
        "margin_ranking": {"margin": 0.1},
    },
    "tanh_int8": {"precisions": {"int8": {}}, "activation": "tanh", "ranges": {"kind": "tanh"}},
    "regularized": {
        "precisions": {"float32": {}, "binary": {}},
        "regularization": {"spread_out": 1.0, "balance": 0.1, "decorrelation": 0.1},
    },
    "distilled": {"precisions": {"float32": {}, "binary": {"weight": 0.5}}, "distillation": 1.0},
    "asymmetric": {
        "precisions": {"float32_x_binary": {}, "int4_x_binary": {"start_steps": 2}},
        "learned_scales": ["float32_x_binary"],
        "scales": {"int4_x_binary": 10.0},
    },
    "cosine": {"precisions": {"float32": {}, "float8_e4m3": {"warmup_fraction": 0.5, "shape": "cosine"}}},
    "pr3655": {"precisions": {"float32": {}, "int8": {}, "binary": {}}, "variant": "pr3655"},
}


@pytest.fixture
def inputs(training_inputs):
    return training_inputs


def trained(inputs, output, method, **trainer):
    config = {"method": {"name": "tried", **method}, "trainer": {**TRAINER, **trainer}, "seed": 0}
    description = JobDescription(name="tried", label="tried", config=json.loads(json.dumps(config)))
    train.run(description, inputs, output, 2)
    return pd.read_csv(output / "log.csv")


@pytest.mark.slow(2)
@pytest.mark.parametrize(
    "name",
    [
        None,
        "running",
        "running_quantiles",
        "quantile",
        "percentile",
        "lsq",
        "tanh",
        "bpr",
        "tanh_int8",
        "regularized",
        "distilled",
        "pr3655",
    ],
)
def test_every_way_of_training_that_diverges_ends_with_its_step(inputs, tmp_path, name):
    """Also where NaN meets a grid before there is a loss to look at."""
    quantized = {"embedding_quantization": METHODS[name]} if name else {}
    with pytest.raises(Diverged, match=r"tried diverged at step [2-4]: .*; there is no earlier checkpoint") as caught:
        trained(inputs, tmp_path, quantized, learning_rate=1e30)
    assert 2 <= caught.value.step <= 4


@pytest.mark.slow(2)
@pytest.mark.parametrize("name", METHODS)
def test_every_way_of_quantizing_embeddings_trains_and_is_live(inputs, tmp_path, name):
    config = METHODS[name]
    log = trained(inputs, tmp_path, {"embedding_quantization": config})
    assert len(log) == 4
    assert np.isfinite(log["loss"]).all()
    for precision in config["precisions"]:
        assert log[f"loss_{precision}"].notna().any()
        if precision != "float32":
            assert log[f"changed_{precision}"].dropna().gt(0.4).all()
    model, before = (SentenceTransformer(str(p / "model"), device="cpu") for p in (tmp_path, inputs["model"]))
    assert not np.array_equal(model.encode("def f(): pass"), before.encode("def f(): pass"))
    saved = {path.stem for path in (tmp_path / "model" / "quantization_ranges").glob("*.npz")}
    lasting = {"lsq": {"int8", "int4"}} | {
        key: {"int8"} for key in ("running", "fixed_clipped", "percentile", "tanh_int8")
    }
    lasting |= {"running_quantiles": {"int8", "int2_quantile", "ternary"}, "quantile": {"ternary"}}
    assert saved == lasting.get(name, set())
    for path in (tmp_path / "model" / "quantization_ranges").glob("*.npz"):
        quantize_embeddings(model.encode(["a", "b"]), path.stem, Range.load(path))


def test_the_log_follows_schedules_and_learned_scales(inputs, tmp_path):
    log = trained(inputs, tmp_path, {"embedding_quantization": METHODS["asymmetric"]})
    assert log["weight_int4_x_binary"].tolist() == [0, 0, 1, 1]
    assert log["loss_int4_x_binary"].isna().tolist() == [True, True, False, False]
    scales = log["scale_float32_x_binary"]
    assert scales.iloc[0] == pytest.approx(20 * (math.pi / 2) ** 0.5, rel=1e-3)  # float queries, bits of documents
    assert scales.iloc[-1] != pytest.approx(scales.iloc[0], rel=1e-5)


def test_a_model_that_is_trained_with_tanh_is_deployed_with_it(inputs, tmp_path):
    """Its int8 codes are those of training, and are the signs of its bits where they are not 0."""
    log = trained(inputs, tmp_path, {"embedding_quantization": METHODS["tanh_int8"]})
    assert log["loss_int8"].notna().all()
    model = SentenceTransformer(str(tmp_path / "model"), device="cpu")
    before = SentenceTransformer(modules=list(model)[:-2], device="cpu")
    texts = ["def f(): pass", "import os", "class A: ..."]
    x, z = before.encode(texts), model.encode(texts)
    t = np.tanh(32**0.5 * x / np.linalg.norm(x, axis=1, keepdims=True))
    assert np.allclose(z, t / np.linalg.norm(t, axis=1, keepdims=True), atol=1e-6)
    codes = quantize_embeddings(z, "int8", Range.load(tmp_path / "model" / "quantization_ranges" / "int8.npz"))
    assert np.abs(codes - np.clip(127 * (MEAN_SQUARE * 32) ** 0.5 * z, -128, 127)).max() <= 0.5 + 1e-3
    assert np.array_equal(np.sign(codes)[codes != 0], np.sign(x)[codes != 0])


def test_added_terms_are_part_of_the_log(inputs, tmp_path):
    log = trained(inputs, tmp_path, {"embedding_quantization": METHODS["regularized"]})
    assert np.isfinite(log[["spread_out", "balance", "decorrelation"]]).all().all()
    (tmp_path / "bpr").mkdir()
    assert np.isfinite(
        trained(inputs, tmp_path / "bpr", {"embedding_quantization": METHODS["bpr"]})["margin_ranking"]
    ).all()


def test_gradient_accumulation_is_one_step_of_the_same_schedule(inputs, tmp_path):
    config = {"precisions": {"float32": {}, "int8": {"warmup_steps": 2}}}
    log = trained(
        inputs, tmp_path, {"embedding_quantization": config}, batch_size=8, gradient_accumulation_steps=2, max_steps=4
    )
    assert log["weight_int8"].tolist() == [0, 0.5, 1, 1]


def test_accelerate_variables_in_the_environment_change_nothing(inputs, tmp_path, monkeypatch):
    """The configuration says float32 and one batch per step; a shell may have been set up for something else."""
    logs = []
    for name, variables in (("plain", {}), ("set", {"MIXED_PRECISION": "bf16", "GRADIENT_ACCUMULATION_STEPS": "2"})):
        for variable, value in variables.items():
            monkeypatch.setenv(f"ACCELERATE_{variable}", value)
        output = tmp_path / name
        output.mkdir()
        logs.append(trained(inputs, output, {}))
    pd.testing.assert_frame_equal(*logs, check_exact=True)
    plain, with_variables = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("plain", "set"))
    assert all(torch.equal(plain[name], with_variables[name]) for name in plain)


def test_columns_may_have_names_that_mean_something_else_to_sentence_transformers(inputs, tmp_path):
    """Their texts are texts; they were taken for numbers."""
    logs = []
    for anchor, positive in (("anchor", "positive"), ("label", "score")):
        data = tmp_path / f"data-{anchor}"
        shutil.copytree(inputs["data"], data)
        table = pd.read_parquet(data / "train.parquet")
        table.rename(columns={"anchor": anchor, "positive": positive}).to_parquet(data / "train.parquet")
        output = tmp_path / anchor
        output.mkdir()
        prompts = {anchor: "query: "}
        logs.append(trained({**inputs, "data": data}, output, {}, prompts=prompts))
    pd.testing.assert_frame_equal(*logs, check_exact=True)


def test_a_new_name_is_no_other_columns():
    assert names_of_texts(["label", "label_text", "text"]) == {"label": "label_text_text"}


def test_a_cached_loss_trains_as_the_plain_one_does(inputs, tmp_path):
    """The tiny model's dropout is replayed, so only float rounding separates them."""
    losses, weights = [], []
    for name in ("multiple_negatives_ranking", "cached_multiple_negatives_ranking"):
        output = tmp_path / name
        output.mkdir()
        method = {"loss": {"name": name}, "embedding_quantization": {"precisions": {**INT8, "binary": {}}}}
        losses.append(trained(inputs, output, method)["loss"])
        weights.append(load_file(output / "model" / "model.safetensors"))
    assert losses[1].tolist() == pytest.approx(losses[0].tolist(), rel=0.05)
    before = load_file(inputs["model"] / "model" / "model.safetensors")
    moved = [torch.cat([(after[name] - before[name]).flatten() for name in before]) for after in weights]
    assert moved[0].norm() > 0
    assert (moved[1] - moved[0]).norm() < 0.5 * moved[0].norm()


@pytest.mark.parametrize(
    ("config", "dim"),
    [
        ({"kind": "itq"}, 32),
        ({"kind": "overcomplete", "bits": 48}, 48),
        ({"kind": "overcomplete", "factor": 2}, 64),
        ({"kind": "none", "center": "median"}, 32),
    ],
)
def test_a_rotation_is_part_of_the_trained_model(inputs, tmp_path, config, dim):
    for trainable in (False, True):
        output = tmp_path / str(trainable)
        output.mkdir()
        rotation = {"trainable": trainable, **config}
        trained(inputs, output, {"rotation": rotation, "embedding_quantization": {"precisions": {"binary": {}}}})
        model = SentenceTransformer(str(output / "model"), device="cpu")
        assert model.encode("def f(): pass").shape == (dim,)
        matrix = model[-1].linear.weight.detach().numpy().T
        orthonormal = np.allclose(matrix @ matrix.T, np.eye(32), atol=1e-5)
        assert orthonormal is not trainable


def test_a_rotation_that_training_data_cannot_fit_is_one_line(inputs, tmp_path):
    with pytest.raises(UserError, match="rotation itq: itq in 32 dimensions needs at least as many embeddings, not 20"):
        trained(inputs, tmp_path, {"rotation": {"kind": "itq", "fit_rows": 20}})


def test_a_deployment_can_rotate_what_was_trained(inputs, tmp_path):
    config = {"backend": "torch", "rotation": {"kind": "itq", "center": True}}
    deploy.run(JobDescription(label="tried", config=config), inputs, tmp_path, 2)
    texts = ["def f(): pass", "import os", "class A: ..."]
    plain = SentenceTransformer(str(inputs["model"] / "model"), device="cpu").encode(texts)
    turned = SentenceTransformer(str(tmp_path / "model"), device="cpu").encode(texts)
    assert np.allclose(
        (plain[0] - plain[1]) @ (plain[1] - plain[2]), (turned[0] - turned[1]) @ (turned[1] - turned[2]), atol=1e-4
    )
    assert not np.allclose(plain, turned, atol=1e-2)


def test_a_deployment_can_be_centred(inputs, tmp_path):
    """Its mean embedding of training documents is 0, but for what rounding leaves."""
    config = {"backend": "torch", "rotation": {"center": "mean"}}
    deploy.run(JobDescription(label="tried", config=config), inputs, tmp_path, 2)
    texts = pq.read_table(inputs["data"] / "train.parquet").column(1).to_pylist()
    plain, centred = (SentenceTransformer(str(p / "model"), device="cpu") for p in (inputs["model"], tmp_path))
    assert np.abs(centred.encode(texts).mean(axis=0)).max() < 1e-5 < np.abs(plain.encode(texts).mean(axis=0)).max()


def weights(**scheme):
    return {"name": "tried", "bits": 4, "group_size": 32, **scheme}


def test_weight_quantization_trains_leaves_plain_layers_and_starts_when_told(inputs, tmp_path):
    start = {"weights": {"fraction": 0.5}, "activations": {"steps": 3}}
    method = {"weights": weights(activations="int8"), "weights_start": start}
    log = trained(inputs, tmp_path, method)
    assert log["weights_quantized"].tolist() == [0, 0, 1, 1]
    assert log["activations_quantized"].tolist() == [0, 0, 0, 1]
    model, before = (SentenceTransformer(str(p / "model"), device="cpu") for p in (tmp_path, inputs["model"]))
    assert {type(module) for module in model.modules()} == {type(module) for module in before.modules()}
    assert not np.array_equal(model.encode("def f(): pass"), before.encode("def f(): pass"))


@pytest.mark.parametrize("quantized", ["base", "merged"])
def test_adapters_are_trained_beside_quantized_weights_and_merged(inputs, tmp_path, quantized):
    method = {
        "lora": {"r": 4, "quantized": quantized, "target_modules": r".*\.(query|value)"},
        "weights": weights(activations="int8"),
        "learning_rate": 1e-2,
    }
    log = trained(inputs, tmp_path, method)
    assert log["learning_rate"].max() > TRAINER["learning_rate"]
    model, before = (SentenceTransformer(str(p / "model"), device="cpu") for p in (tmp_path, inputs["model"]))
    assert [type(module) for module in model.modules()] == [type(module) for module in before.modules()]
    old = before.state_dict()
    moved = {name for name, value in model.state_dict().items() if not value.equal(old[name])}
    assert moved == {name for name in old if name.endswith(("query.weight", "value.weight"))}
    cost = json.loads((tmp_path / "cost.json").read_text())
    assert cost["trained_parameters"] == 4 * 2 * 4 * 32  # (A and B of rank 4) × (query and value of two layers) × 32


def test_adapters_for_modules_that_are_not_there_end_the_run_before_training(inputs, tmp_path):
    with pytest.raises(UserError, match=r"target_modules 'q_proj' matches no linear layer"):
        trained(inputs, tmp_path, {"lora": {"target_modules": "q_proj"}})
    assert not (tmp_path / "model").exists()


def test_late_quantization_trains_as_without_until_it_begins(inputs, tmp_path):
    losses = {}
    for name, method in {
        "none": {},
        "late": {"weights": weights(bits=2), "weights_start": {"weights": {"steps": 2}}},
    }.items():
        (tmp_path / name).mkdir()
        losses[name] = trained(inputs, tmp_path / name, method)["loss"].tolist()
    assert losses["late"][:2] == losses["none"][:2]
    assert losses["late"][2] != losses["none"][2]


def test_a_scheme_that_matches_nothing_ends_the_run_before_training(inputs, tmp_path):
    with pytest.raises(UserError, match="'tried' quantizes nothing: modules 'decoder"):
        trained(inputs, tmp_path, {"weights": weights(modules=r"decoder\..*")})
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ({"weights_start": {"weights": {"steps": 1}}}, "has no effect without weights"),
        (
            {"weights": weights(), "weights_start": {"activations": {"steps": 1}}},
            "leaves activations in float",
        ),
        (
            {"weights": weights(), "weights_start": {"weights": {"steps": 1, "fraction": 0.5}}},
            "steps or fraction, not both",
        ),
        ({"weights": weights(modules="(")}, "invalid regular expression"),
    ],
)
def test_weight_quantization_that_cannot_be_is_refused(method, message):
    with pytest.raises(ValueError, match=message):
        MethodConfig.model_validate({"name": "tried", **method})


@pytest.mark.parametrize(
    "sizes",
    [
        {"dataloader_drop_last": False, "batch_size": 24},
        {"dataloader_drop_last": True, "batch_size": 24},
        {"num_train_epochs": 1.5, "gradient_accumulation_steps": 3, "dataloader_drop_last": False, "batch_size": 8},
        {"max_steps": 2, "lr_scheduler_type": "cosine_with_restarts", "lr_scheduler_kwargs": {"num_cycles": 2.0}},
    ],
)
def test_the_trainer_takes_the_steps_that_were_planned(inputs, tmp_path, sizes):
    rows = len(pd.read_parquet(inputs["data"] / "train.parquet"))
    log = trained(inputs, tmp_path, {}, **sizes)
    assert len(log) == TrainerConfig.model_validate({**TRAINER, **sizes}).steps(rows)


@pytest.mark.parametrize(
    ("extra", "steps", "rates"), [(0.0, 4, [1.0, 0.75, 0.5, 0.25]), (0.3, 6, [1.0, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6])]
)
def test_extra_steps_continue_into_the_next_epoch_and_the_schedule_spans_them(inputs, tmp_path, extra, steps, rates):
    """Four batches are one epoch: 1.2 more steps are two."""
    log = trained(inputs, tmp_path, {"extra_steps": extra}, warmup_steps=0)
    assert len(log) == steps
    assert log["learning_rate"].tolist() == pytest.approx([rate * TRAINER["learning_rate"] for rate in rates])
    assert ("| extra steps | 30 % of the trainer's |" in (tmp_path / "model" / "README.md").read_text()) is (extra > 0)


@pytest.mark.parametrize(("steps", "rates"), [(0, [1.0, 0.75, 0.5, 0.25]), (2, [0.0, 0.5, 1.0, 0.5])])
def test_warm_up_steps_stand_for_themselves(inputs, tmp_path, steps, rates):
    """0 of them too, which Transformers takes for none given."""
    log = trained(inputs, tmp_path, {}, warmup_steps=steps, warmup_ratio=0.5)
    assert log["learning_rate"].tolist() == pytest.approx([rate * TRAINER["learning_rate"] for rate in rates])


def test_prompts_stand_before_the_texts_of_their_column(inputs, tmp_path):
    """As if the texts began with them."""
    prompts = {"anchor": "query : ", "positive": "code : "}
    begun = tmp_path / "data"
    shutil.copytree(inputs["data"], begun)
    rows = pd.read_parquet(begun / "train.parquet")
    pd.DataFrame({column: prompts[column] + rows[column] for column in rows}).to_parquet(begun / "train.parquet")
    losses = []
    for name, data, given in (
        ("said", inputs["data"], prompts),
        ("written", begun, None),
        ("without", inputs["data"], None),
    ):
        (tmp_path / name).mkdir()
        losses.append(trained({**inputs, "data": data}, tmp_path / name, {}, prompts=given)["loss"].tolist())
    assert losses[0] == losses[1]
    assert losses[0] != losses[2]
    card = (tmp_path / "said" / "model" / "README.md").read_text()
    assert "| before anchor | `query : ` |" in card


def test_the_study_says_how_many_cores(inputs, tmp_path):
    """Whatever the job has: sums of another number of threads are rounded otherwise."""
    trained(inputs, tmp_path, {}, threads=1)
    assert json.loads((tmp_path / "cost.json").read_text())["device"].endswith(", 1 threads)")


@pytest.mark.slow(2)
def test_a_second_training_starts_from_the_first_with_a_learning_rate_for_each_part(inputs, tmp_path):
    """The first training appends a frozen head, which only the second one trains, at its own rate."""
    for name in ("first", "second", "same"):
        (tmp_path / name).mkdir()
    trained(inputs, tmp_path / "first", {"rotation": {"kind": "random"}}, learning_rate=1e-2)
    inputs = {**inputs, "start": tmp_path / "first"}
    rates = {"learning_rates": {"encoder": 1e-9, "head": 1e-2}}
    trained(inputs, tmp_path / "second", {"start_from": "earlier", **rates}, max_steps=3)
    trained(inputs, tmp_path / "same", {"start_from": "earlier"}, max_steps=3)
    folders = {name: tmp_path / name / "model" for name in ("first", "second", "same")}
    encoder = {name: load_file(folder / "model.safetensors") for name, folder in folders.items()}
    heads = {name: load_file(next(folder.glob("*_Dense")) / "model.safetensors") for name, folder in folders.items()}

    def moved(parts, name):
        return max(float((parts[name][key] - value).abs().max()) for key, value in parts["first"].items())

    assert moved(encoder, "second") < 1e-7 < 1e-4 < moved(encoder, "same")
    assert moved(heads, "same") == 0  # what an earlier method appended is trained only at a rate of its own
    assert 1e-3 < moved(heads, "second") < 0.1
    costs = [json.loads((tmp_path / name / "cost.json").read_text()) for name in ("first", "second")]
    assert (costs[1]["steps"], costs[1]["steps_before"]) == (3, costs[0]["steps"])
    assert costs[1]["seconds_before"] == costs[0]["seconds"]
    card = (folders["second"] / "README.md").read_text()
    assert "* Start: the model that the method `earlier` trained on the same rows." in card
    assert "* Learning rates: 1e-09 for the encoder, 0.01 for the head." in card
    assert f", after {costs[0]['steps']} steps in " in card
    with pytest.raises(UserError, match=r"sets learning_rates\.head, but the head has no trained parameters"):
        trained({**inputs, "start": inputs["model"]}, tmp_path / "same", {"start_from": "earlier", **rates})


@pytest.mark.slow(2)
def test_a_float_teacher_is_the_model_that_the_training_starts_from(inputs, tmp_path):
    for name in ("first", "taught", "alone"):
        (tmp_path / name).mkdir()
    trained(inputs, tmp_path / "first", {}, learning_rate=1e-2)
    inputs = {**inputs, "start": tmp_path / "first"}
    second = {"start_from": "earlier", "weights": "int2"}
    log = trained(inputs, tmp_path / "taught", {**second, "float_teacher": 2.0}, max_steps=3)
    trained(inputs, tmp_path / "alone", second, max_steps=3)
    assert (log["loss_float_teacher"] > 0).all()  # weights of two bits differ from the float teacher's
    assert log["loss"].to_numpy() == pytest.approx(
        (log["loss_float32"] + log["loss_float_teacher"]).to_numpy(), rel=1e-4
    )
    folders = {name: tmp_path / name / "model" for name in ("first", "taught", "alone")}
    weights = {name: load_file(folder / "model.safetensors") for name, folder in folders.items()}
    assert weights["taught"].keys() == weights["first"].keys()  # the teacher is not saved
    assert any((weights["taught"][key] != weights["alone"][key]).any() for key in weights["alone"])
    assert "* Float teacher: besides, 2 × the KL divergence" in (folders["taught"] / "README.md").read_text()
