"""LoRA: only adapters are trained, they are merged into the weights, and they are quantized according to the scheme."""

import pytest
import torch
from sentence_transformers import SentenceTransformer
from torch import nn

from qatlab.config.method import LoraConfig, MethodConfig
from qatlab.config.weights import WeightsConfig
from qatlab.deployments.backends.torchao import convert
from qatlab.training.lora import add_adapters, merge_adapters
from qatlab.weights.prepare import enable, prepare, strip

INT4 = WeightsConfig(name="int4", bits=4, group_size=32, activations="int8")


def embeddings(model, texts):
    return model.encode(texts, convert_to_tensor=True)


def move_adapters(model):
    """As training would: the product of a fresh adapter is zero."""
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.05)


def test_only_adapters_are_trained_and_the_model_starts_as_it_was(model, texts):
    before, size = embeddings(model, texts), sum(p.numel() for p in model.parameters())
    names = add_adapters(model, LoraConfig(r=4, lora_alpha=8))
    assert len(names) == 13
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert len(trained) == 26
    assert all("lora_" in name for name in trained)
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) < 0.2 * size
    assert torch.equal(embeddings(model, texts), before)


def test_merged_it_is_the_plain_model_with_the_same_embeddings(model, tiny_model, texts):
    plain = SentenceTransformer(str(tiny_model), device="cpu")
    add_adapters(model, LoraConfig(r=4))
    move_adapters(model)
    adapted = embeddings(model, texts)
    merge_adapters(model)
    assert not torch.allclose(adapted, embeddings(plain, texts), atol=1e-3)
    assert torch.allclose(embeddings(model, texts), adapted, atol=1e-6)
    assert model.state_dict().keys() == plain.state_dict().keys()
    assert [type(module) for module in model.modules()] == [type(module) for module in plain.modules()]


@pytest.mark.parametrize("quantized", ["base", "merged"])
def test_quantization_of_weights_with_adapters_in_training(model, texts, quantized):
    """Training and deployment agree if the sum is quantized; if only the base weight is, they differ visibly."""
    prepare(model, INT4)
    before = embeddings(model, texts)
    add_adapters(model, LoraConfig(r=4, quantized=quantized))
    assert torch.allclose(embeddings(model, texts), before, atol=1e-6)
    move_adapters(model)
    trained = embeddings(model, texts)
    enable(model, weights=False, activations=False)
    assert not torch.equal(embeddings(model, texts), trained)
    merge_adapters(model)
    strip(model)
    convert(model, INT4)
    agreement = torch.cosine_similarity(embeddings(model, texts), trained).min()
    assert (agreement >= 0.9999) == (quantized == "merged")
    assert agreement > 0.9


def test_gradients_reach_the_adapters_through_the_quantized_sum(model, texts):
    prepare(model, INT4)
    add_adapters(model, LoraConfig(r=4, quantized="merged"))
    move_adapters(model)
    features = model.preprocess(texts)
    model({k: v for k, v in features.items() if torch.is_tensor(v)})["sentence_embedding"][:, 0].sum().backward()
    gradients = {n: p.grad for n, p in model.named_parameters() if p.requires_grad and "pooler" not in n}
    assert len(gradients) == 24
    assert all(g.abs().sum() > 0 for n, g in gradients.items() if "attention.self.key" not in n)


def test_missing_modules_are_named(model):
    with pytest.raises(ValueError, match=r"'q_proj' matches no linear layer .*it has 13, such as 0\."):
        add_adapters(model, LoraConfig(target_modules="q_proj"))
    with pytest.raises(ValueError, match="it has no such layer"):
        add_adapters(nn.Sequential(nn.Embedding(3, 4)), LoraConfig())


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ({"lora": {"quantized": "merged"}}, "sets no scheme of weights"),
        (
            {"lora": {"quantized": "merged", "lora_dropout": 0.1}, "weights": {"name": "int8"}},
            "dropout cannot be applied",
        ),
        ({"lora": {"target_modules": "("}}, "invalid regular expression"),
        ({"lora": {}, "train": False}, "lora would have no effect"),
    ],
)
def test_adapters_that_cannot_be_are_refused(method, message):
    with pytest.raises(ValueError, match=message):
        MethodConfig.model_validate({"name": "tried", **method})
