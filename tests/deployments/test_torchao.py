"""torchao's quantized weights as they are shipped: the file is what was converted, small, and without pickle."""

import pytest
import torch
from sentence_transformers import SentenceTransformer

from qatlab.config.weights import ClipConfig, WeightsConfig
from qatlab.deployments.backends import torchao
from qatlab.deployments.backends.torchao import convert
from qatlab.deployments.torch import TorchDeployment, TorchEncoder
from qatlab.errors import UserError

SCHEMES = [
    WeightsConfig(name="int8"),
    WeightsConfig(name="int2", bits=2, group_size=32),
    WeightsConfig(name="int8_int4", bits=4, group_size=32, activations="int8"),
    WeightsConfig(name="int3_mse", bits=3, clip=ClipConfig(kind="mse"), embeddings=True),
]


def size(folder):
    return sum(file.stat().st_size for file in folder.rglob("*.safetensors"))


@pytest.mark.parametrize("config", SCHEMES, ids=lambda config: config.name)
def test_stored_weights_load_as_they_were_converted(tiny_model, tmp_path, pairs, config):
    texts = [summary for summary, _ in pairs[:8]]
    converted = SentenceTransformer(str(tiny_model), device="cpu").eval()
    convert(converted, config)
    before = {file: file.read_bytes() for file in tiny_model.rglob("*") if file.is_file()}
    torchao.deploy(tiny_model, tmp_path / "model", config)
    assert {file: file.read_bytes() for file in tiny_model.rglob("*") if file.is_file()} == before
    encoder = TorchEncoder(tmp_path / "model", 2, TorchDeployment(backend="torch", weights=config))
    loaded = torch.from_numpy(encoder.encode(texts, 32))
    torch.testing.assert_close(loaded, converted.encode(texts, convert_to_tensor=True), rtol=0, atol=1e-6)
    plain = SentenceTransformer(str(tiny_model), device="cpu").encode(texts, convert_to_tensor=True)
    assert (loaded - plain).abs().max() > 1e-5
    assert not list((tmp_path / "model").rglob("*.bin"))
    if config.embeddings:
        assert size(tmp_path / "model") < 0.6 * size(tiny_model)


def test_a_scheme_that_does_not_fit_the_model_is_one_line(tiny_model, tmp_path):
    with pytest.raises(UserError, match="group_size 24 does not divide the 32 inputs"):
        torchao.deploy(tiny_model, tmp_path / "model", WeightsConfig(name="int4", bits=4, group_size=24))
    assert not (tmp_path / "model").exists()


def test_the_grid_of_onnx_runtime_is_shipped_by_it():
    scheme = {"name": "onnx_int8", "grid": "onnx_int8", "activations": "int8", "embeddings": True}
    with pytest.raises(ValueError, match="use the deployment onnx_int8"):
        TorchDeployment.model_validate({"backend": "torch", "weights": scheme})


def test_a_rotation_is_another_deployment():
    with pytest.raises(ValueError, match="a rotation and quantized weights cannot be combined"):
        TorchDeployment.model_validate({"backend": "torch", "weights": {"name": "int8"}, "rotation": {"kind": "itq"}})
