"""The card of a training: front matter that the hub's client reads, and the recipe in words."""

import pandas as pd
import pytest
from huggingface_hub import ModelCard

from qatlab.cards.recipe import method_in_words, schedule_in_words
from qatlab.cards.training_card import (
    KnownData,
    KnownModel,
    gradients_of,
    training_card,
)
from qatlab.config.embedding_quantization import WeightScheduleConfig
from qatlab.config.method import MethodConfig, TrainingConfig
from qatlab.config.model import ModelConfig
from qatlab.sources.source import SOURCES, DataManifest
from qatlab.training.training import TrainingCost

HUB_MODEL = {"source": "hub", "name": "someone/tiny", "revision": "v2", "max_seq_length": 96, "num_hidden_layers": None}
HUB_DATA = {
    "source": "hub",
    "name": "someone/pairs",
    "commit": "c0ffee",
    "rows": 9000,
    "columns": ["question", "answer"],
}
COST = TrainingCost(1407, 61.2, 0.04, 1500.0, 10**9, 10**6, 1, 1, "cpu (AVX2, 2 threads)")
SCHEME = {"name": "int4", "bits": 4, "group_size": 32}


def card(method, model=HUB_MODEL, data=HUB_DATA, **trainer):
    config = {"method": {"name": "tried", **method}, "trainer": {"learning_rate": 2e-5, **trainer}, "seed": 7}
    return ModelCard(training_card(TrainingConfig.model_validate(config), *known(model, data), COST))


def known(model, data):
    """Return the base model and the rows as they are read from artifacts; `model` and `data` have configuration and manifest."""
    source = SOURCES.get(data["source"])
    fields = {name: data[name] for name in source.model_fields if name in data}
    config = {key: value for key, value in model.items() if key != "source"}
    rows = KnownData(source.model_construct(**fields), DataManifest.model_validate(data))
    return KnownModel(ModelConfig.model_construct(**config), model["source"]), rows


def test_the_front_matter_is_what_the_hub_wants():
    data = card({"embedding_quantization": {"precisions": {"float32": {}, "int8": {}}}}).data.to_dict()
    assert data == {
        "library_name": "sentence-transformers",
        "pipeline_tag": "sentence-similarity",
        "base_model": "someone/tiny",
        "base_model_relation": "finetune",
        "datasets": ["someone/pairs"],
        "tags": [
            "sentence-transformers",
            "sentence-similarity",
            "feature-extraction",
            "quantization-aware-training",
            "dataset_size:9000",
            "loss:QuantizationAwareLoss",
            "loss:MultipleNegativesRankingLoss",
        ],
    }


def test_a_plain_training_is_not_called_quantization_aware():
    trained_card = card({"loss": {"name": "cached_multiple_negatives_ranking", "mini_batch_size": 16}})
    assert "quantization-aware-training" not in trained_card.data.tags
    assert "loss:CachedMultipleNegativesRankingLoss" in trained_card.data.tags
    assert "CachedMultipleNegativesRankingLoss, similarities × 20, in mini-batches of 16" in trained_card.text
    assert "quantized in training on" not in trained_card.text


def test_cards_contain_no_paths_of_this_machine():
    model = {**HUB_MODEL, "source": "local", "name": "/home/someone/secret/tiny", "num_hidden_layers": 3}
    data = {**HUB_DATA, "source": "local", "name": "local", "path": "/home/someone/pairs.jsonl"}
    trained_card = card({}, model, data)
    assert "/home" not in trained_card.content
    assert "someone" not in trained_card.content
    assert trained_card.data.base_model is None
    assert trained_card.data.datasets is None
    assert "the first 3 layers of `tiny`, a local folder" in trained_card.text
    assert "9,000 rows (question, answer) of a local file" in trained_card.text


def test_packages_are_named_that_rows_are_from_and_not_those_withheld():
    data = {
        **HUB_DATA,
        "source": "docstrings",
        "name": "docstrings",
        "packages": ["numpy"],
        "origin": {"numpy": "2.1", "networkx": "3.4"},
    }
    text = card({}, data=data).text
    assert "Python packages: numpy 2.1." in text
    assert "networkx" not in text


ROWS_OF = {
    "package_texts": ({"packages": ["numpy"], "origin": {"numpy": "2.1"}}, "the source files of Python packages: numpy 2.1."),
    "numerals": ({}, "numbers and dates in English words with their French"),
    "parallel": ({"paths": ["/home/someone/a.en", "/home/someone/a.fr"]}, "of local files: texts and their translations"),
    "catalogues": ({"source": "parallel", "packages": ["django"], "language": "fr"}, "messages of django and their translations (fr)"),
}  # fmt: skip


@pytest.mark.parametrize("source", ROWS_OF)
def test_the_source_of_rows_is_named(source):
    """A card must not say "a local file" for every source."""
    more, words = ROWS_OF[source]
    trained_card = card({}, data={**HUB_DATA, "source": source, "name": "rows", **more})
    assert words in trained_card.text
    assert "/home" not in trained_card.content
    assert trained_card.data.datasets is None


@pytest.mark.parametrize(
    ("normalize", "words"),
    [(False, " without its normalization to length 1"), (True, " with embeddings of length 1")],
)
def test_a_changed_normalization_is_told(normalize, words):
    assert f"(revision `v2`){words}, fine-tuned on" in card({}, {**HUB_MODEL, "normalize": normalize}).text
    assert words not in card({}, {**HUB_MODEL, "normalize": None}).text


def test_settings_seed_and_cost_are_there():
    text = card(
        {"learning_rate": 1e-3}, max_steps=1407, batch_size=32, gradient_accumulation_steps=2, warmup_steps=0
    ).text
    for row in ("batch size | 32 × 2 accumulated", "learning rate | 0.001, linear", "warm-up | 0 steps", "seed | 7"):
        assert f"| {row} |" in text
    assert "passes over the rows" not in text
    assert "1,407 steps in 61 seconds, on cpu (AVX2, 2 threads)." in text


@pytest.mark.parametrize("kind", ["batch", "running"])
def test_saved_ranges_are_used_where_there_are_any(kind):
    quantization = {"precisions": {"int8": {}, "int4": {}}, "ranges": {"kind": kind}}
    text = card({"embedding_quantization": quantization}).text
    assert ("quantization_ranges/int8.npz" in text) is (kind == "running")
    assert ("`int8.npz`, `int4.npz`" in text) is (kind == "running")


def test_quantiles_are_distinguished_from_extremes():
    quantization = {"precisions": {"int8": {}, "float32_x_ternary": {}}, "ranges": {"kind": "running"}}
    text = card({"embedding_quantization": quantization}).text
    assert "the range of integers is given by a moving average of the batches' extremes (momentum 0.99)" in text
    assert (
        "the cells of ternary lie between quantiles that are a moving average of the batches' (momentum 0.99)" in text
    )
    assert (
        "`int8.npz`, `ternary.npz` (arrays `low` and `high`, and of int2_quantile and ternary the `quantiles` at"
        in text
    )
    alone = card({"embedding_quantization": {"precisions": {"int2_quantile": {}}}}).text
    assert "the cells of int2_quantile lie between quantiles of each batch" in alone
    assert "the range of integers" not in alone


def test_a_method_is_described_in_words():
    method = {
        "name": "tried",
        "rotation": {"kind": "itq", "trainable": True},
        "embedding_quantization": {
            "precisions": {"float32": {"weight": 0}, "float32_x_binary": {"weight": 0.5, "warmup_steps": 1800}},
            "scales": {"float32_x_binary": 10},
            "estimator": {"name": "tanh", "scale": 1},
            "distillation": 0.25,
        },
        "weights": {**SCHEME, "activations": "int8", "clip": {"kind": "percentile", "share": 0.999}},
        "weights_start": {"weights": {"fraction": 0.5}, "activations": {"steps": 300}},
        "lora": {"r": 8, "quantized": "merged", "target_modules": ".*query"},
    }
    assert method_in_words(MethodConfig.model_validate(method)).splitlines() == [
        "* Loss: MultipleNegativesRankingLoss, similarities × 20.",
        "* Rotation: itq, the model's last module, fitted on 2,048 training documents before training, then trained with the model.",
        "* Output precisions, the loss being the weighted sum of what it is at each (queries × documents where they differ):",
        "  * float32: weight 0, watched only",
        "  * float32 × binary: weight rising to 0.5 over 1,800 steps; similarities × 10",
        "  * gradients pass the rounding as those of an annealed tanh (gamma 0.1, scale 1)",
        "  * besides, 0.25 × the KL divergence from float to quantized similarities",
        "* Weights: fake-quantized in training (`int4`: 4 bits, groups of 32, clipped (99.9 % of magnitudes kept), of linear layers; "
        "activations int8; torchao's symmetric integers), saved in float.",
        "  * fake quantizers of weights begin at 50 % of training",
        "  * fake quantizers of activations begin at step 300",
        "* LoRA: adapters of rank 8 (alpha 64) beside frozen linear layers named `.*query`, merged after training; "
        "what was fake-quantized is the sum of weight and adapter.",
    ]


def test_added_terms_and_the_activation_are_described():
    method = {
        "name": "tried",
        "embedding_quantization": {
            "precisions": {"int8": {}},
            "activation": "tanh",
            "ranges": {"kind": "tanh"},
            "estimator": {"name": "tanh"},
            "regularization": {"spread_out": 1, "decorrelation": 0.5},
            "margin_ranking": {"margin": 0.2},
        },
    }
    lines = method_in_words(MethodConfig.model_validate(method)).splitlines()
    assert lines[3:-1] == [
        "  * the range of integers is given by the fixed grid of its activation",
        "  * embeddings x of d dimensions are tanh(√d · x / ‖x‖), scaled to length 1, by the model's last modules",
        "  * gradients pass the rounding as those of an annealed tanh (gamma 0.1, scale √d / ‖x‖)",
        "  * besides, 1 × the Global Orthogonal Regularization of float embeddings",
        "  * besides, 0.5 × the squared mean products of different bits",
        "  * besides, 1 × the margin ranking of binary codes (margin 0.2) at the scale of the loss",
    ]


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        ({}, "weight 1"),
        ({"weight": 0.5, "start_steps": 1000}, "weight 0 until step 1,000, then 0.5"),
        ({"warmup_fraction": 0.9, "shape": "cosine"}, "weight rising along a cosine to 1 over 90 % of training"),
        (
            {"start_fraction": 0.2, "warmup_steps": 5},
            "weight 0 until 20 % of training, then rising to 1 over 5 steps",
        ),
    ],
)
def test_a_schedule_is_described_in_words(schedule, words):
    assert schedule_in_words(WeightScheduleConfig(**schedule)) == words


def test_scales_and_centring_are_told():
    quantization = {"precisions": {"float32": {}, "binary": {}, "float32_x_binary": {}}}
    text = card({"embedding_quantization": {**quantization, "centring": "running"}}).text
    assert "  * binary: weight 1; similarities × 31.42\n" in text
    assert "  * float32 × binary: weight 1; similarities × 25.07\n" in text
    assert (
        "a moving average of the batches' means (momentum 0.9), which the model's last linear module subtracts" in text
    )
    for other in ({"match_scales": False}, {"variant": "pr3655", "precisions": {"float32": {}, "binary": {}}}):
        text = card({"embedding_quantization": {**quantization, **other}}).text
        assert "  * binary: weight 1\n" in text


def test_gradients_at_the_embeddings_are_medians_of_the_log():
    log = pd.DataFrame(
        {
            "step": [1, 2, 3, 4],
            "gradient_ratio_binary": [0.5, None, 0.7, 0.9],
            "gradient_cosine_binary": [0.1, None, 0.3, 0.2],
            "gradient_ratio_float32_x_binary": [None] * 4,
            "gradient_cosine_float32_x_binary": [None] * 4,
        },
        dtype=float,
    )
    values = {"method": {"name": "tried"}, "trainer": {"learning_rate": 2e-5}, "seed": 7}
    config = TrainingConfig.model_validate(values)
    text = training_card(config, *known(HUB_MODEL, HUB_DATA), COST, gradients_of(log))
    assert "medians over training: binary 0.70 (cosine 0.20)." in text
    assert gradients_of(pd.DataFrame({"step": [1]})) == {}
    assert "before weights" not in training_card(config, *known(HUB_MODEL, HUB_DATA), COST, gradients_of(log.iloc[1:2]))
