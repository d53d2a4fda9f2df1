"""Model folders that would run code are refused in one line, or their code is left alone, in every stage that loads a model."""

import json
import shutil
from contextlib import suppress

import pytest
import torch
from sentence_transformers import SentenceTransformer

import malice
from qatlab.__main__ import main
from qatlab.artifact import write_json
from qatlab.config.model import ModelConfig
from qatlab.errors import UserError
from qatlab.models.causal_lm import load_model as load_causal
from qatlab.models.causal_lm import load_tokenizer
from qatlab.models.embedding import load_model
from qatlab.plan.artifacts import model_origin

ONE_CLASS = "which is not Sentence Transformers' own; code of models is never run"


@pytest.fixture
def marker(tmp_path):
    return tmp_path / "it_ran"


@pytest.fixture
def folder(tiny_model, tmp_path):
    return shutil.copytree(tiny_model, tmp_path / "evil")


def edited(path, **changes):
    settings = json.loads(path.read_text())
    path.write_text(json.dumps({**settings, **changes}))


def module_named(folder, at=1, **changes):
    path = folder / "modules.json"
    modules = json.loads(path.read_text())
    modules[at] |= changes
    path.write_text(json.dumps(modules))


def pickled_weights(folder, marker):
    (folder / "model.safetensors").unlink()
    malice.torch_archive(folder / "pytorch_model.bin", marker)


def old_pickled_weights(folder, marker):
    (folder / "model.safetensors").unlink()
    malice.pickled(folder / "pytorch_model.bin", marker)


def pickled_dense(folder, marker):
    module_named(folder, 2, path="2_Dense", type="sentence_transformers.models.Dense")
    (folder / "2_Dense").mkdir()
    settings = {"in_features": 32, "out_features": 32, "bias": True}
    write_json(folder / "2_Dense" / "config.json", settings)
    malice.torch_archive(folder / "2_Dense" / "pytorch_model.bin", marker)


def activation_that_runs(folder, marker):
    pickled_dense(folder, marker)
    edited(folder / "2_Dense" / "config.json", activation_function="torch.utils.collect_env.main")
    (folder / "2_Dense" / "model.safetensors").write_bytes(b"")


def class_in_the_folder(folder, marker):
    malice.module(folder / "evil_module.py", marker)
    module_named(folder, type="evil_module.Evil")


def class_of_the_standard_library(folder, marker):
    module_named(folder, type="os.system")


def class_of_a_look_alike(folder, marker):
    module_named(folder, type="sentence_transformers.evil;os.system")


def class_within_a_router(folder, marker):
    malice.module(folder / "evil_module.py", marker)
    module_named(folder, path="1_Router", type="sentence_transformers.base.modules.router.Router")
    (folder / "1_Router").mkdir()
    routed = {"types": {"a": "evil_module.Evil"}, "structure": {"query": ["a"]}, "parameters": {}}
    write_json(folder / "1_Router" / "router_config.json", routed)


def path_out_of_the_folder(folder, marker):
    module_named(folder, path="../../elsewhere")


def architecture_of_its_own(folder, marker):
    malice.module(folder / "modeling_evil.py", marker)
    edited(folder / "config.json", model_type="evil", auto_map={"AutoConfig": "modeling_evil.Evil"})


def kernels_of_the_hub(folder, marker):
    edited(folder / "config.json", attn_implementation="someone/kernels")


def deep_modules(folder, marker):
    (folder / "modules.json").write_text("[" * 100_000)


REFUSED = {
    pickled_weights: r"module 0 of modules.json \(''\) has no .safetensors weights \(pickled weights are never loaded\)",
    old_pickled_weights: r"no .safetensors weights \(pickled weights are never loaded\)",
    pickled_dense: r"module 2 of modules.json \('2_Dense'\) has no .safetensors weights",
    activation_that_runs: r"config.json: activation_function 'torch.utils.collect_env.main' is not a class of torch.nn",
    class_in_the_folder: rf"module 1 of modules.json is of class 'evil_module.Evil', {ONE_CLASS}",
    class_of_the_standard_library: rf"is of class 'os.system', {ONE_CLASS}",
    class_of_a_look_alike: rf"is of class 'sentence_transformers.evil;os.system', {ONE_CLASS}",
    class_within_a_router: rf"router_config.json is of class 'evil_module.Evil', {ONE_CLASS}",
    path_out_of_the_folder: r"module 1 of modules.json points outside the model's folder: '../../elsewhere'",
    architecture_of_its_own: r"needs custom code \(auto_map\), which is never run",
    kernels_of_the_hub: r"attn_implementation 'someone/kernels' loads code from the hub",
    deep_modules: r"modules.json cannot be read as JSON",
}


def stage(name, tmp_path, config, capfd, monkeypatch, **inputs):
    """Run a stage by its command in the folder of its output; return the exit code and the messages."""
    (tmp_path / "out").mkdir(exist_ok=True)
    monkeypatch.chdir(tmp_path / "out")
    write_json(tmp_path / "config.json", {"name": "tried", "label": "tried", "config": config, "origin": None})
    roles = [f"--input={role}={path}" for role, path in inputs.items()]
    output = tmp_path / "out" / name
    code = main([name, "--config", str(tmp_path / "config.json"), "--output", str(output), *roles])
    messages = [line for line in capfd.readouterr().err.splitlines() if line.startswith(f"{name} tried failed")]
    assert not output.exists() or code == 0
    return code, "\n".join(messages)


@pytest.mark.parametrize("spoil", REFUSED, ids=lambda spoil: spoil.__name__)
def test_a_folder_that_would_run_code_is_refused_before_any_job(folder, marker, spoil):
    spoil(folder, marker)
    with pytest.raises(UserError, match=REFUSED[spoil]) as caught:
        model_origin(ModelConfig(name=str(folder)))
    assert "\n" not in str(caught.value)
    assert not marker.exists()


@pytest.mark.parametrize("spoil", REFUSED, ids=lambda spoil: spoil.__name__)
def test_the_model_stage_refuses_it_too(folder, marker, spoil, tmp_path, capfd, monkeypatch):
    """A model of the hub is seen here first."""
    spoil(folder, marker)
    config = {"name": str(folder), "revision": "main", "max_seq_length": 24}
    code, messages = stage("model", tmp_path, config, capfd, monkeypatch)
    assert code == 2
    assert len(messages.splitlines()) == 1
    assert not marker.exists()


TRAINING = {"method": {"name": "tried"}, "trainer": {"batch_size": 16, "precision": "fp32"}, "seed": 0}
STAGES = {
    "train": (TRAINING, lambda model, data: {"model": model, "data": data}),
    "deploy": ({"backend": "onnx", "opset": 18}, lambda model, data: {"model": model}),
}


@pytest.mark.parametrize(
    "spoil", [class_in_the_folder, pickled_weights, pickled_dense], ids=lambda spoil: spoil.__name__
)
@pytest.mark.parametrize("name", STAGES)
def test_stages_that_load_a_model_refuse_it_too(
    folder, marker, spoil, name, tmp_path, capfd, monkeypatch, training_data
):
    """As for one that was put where a stage's model stood."""
    spoil(folder, marker)
    config, inputs = STAGES[name]
    model_folder = tmp_path / "made"
    model_folder.mkdir()
    folder.rename(model_folder / "model")
    write_json(model_folder / "manifest.json", {"name": "evil", "source": "local"})
    code, messages = stage(name, tmp_path, config, capfd, monkeypatch, **inputs(model_folder, training_data))
    assert code == 2, messages
    assert len(messages.splitlines()) == 1
    assert "model 'made'" in messages
    assert not marker.exists()


def test_pickles_and_code_that_nothing_names_stay_behind(folder, marker, tmp_path, capfd, monkeypatch):
    malice.torch_archive(folder / "pytorch_model.bin", marker)
    malice.pickled(folder / "optimizer.pt", marker)
    malice.pickled(folder / "training_args.bin", marker)
    malice.pickled(folder / "1_Pooling" / "vectors.pkl", marker)
    malice.module(folder / "modeling_evil.py", marker)
    malice.module(folder / "sitecustomize.py", marker)
    edited(folder / "config.json", auto_map={"AutoConfig": "modeling_evil.Evil", "AutoModel": "modeling_evil.Evil"})
    edited(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["modeling_evil.Evil", None]})
    config = {"name": str(folder), "revision": "main", "max_seq_length": 24}
    code, messages = stage("model", tmp_path, config, capfd, monkeypatch)
    assert (code, messages) == (0, "")
    target = tmp_path / "out" / "model" / "model"
    kinds = {path.suffix for path in target.rglob("*") if path.is_file()}
    assert kinds <= {".json", ".txt", ".safetensors"}
    assert load_model(target).encode("a text").shape == (32,)  # the architecture is Transformers' own
    assert load_model(folder).encode("a text").shape == (32,)
    assert not marker.exists()


def test_a_tokenizer_with_custom_code_is_refused(folder, marker):
    malice.module(folder / "tokenization_evil.py", marker)
    for name in ("tokenizer.json", "vocab.txt"):
        (folder / name).unlink(missing_ok=True)
    settings = {"tokenizer_class": "Evil", "auto_map": {"AutoTokenizer": ["tokenization_evil.Evil", None]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    edited(folder / "config.json", model_type="vit")  # one that Transformers has no tokenizer of
    with pytest.raises(UserError, match="needs custom code"):
        load_tokenizer(folder)
    assert not marker.exists()


def test_causal_models_are_looked_at_too(tiny_decoder_folder, marker, tmp_path):
    bare = shutil.copytree(tiny_decoder_folder, tmp_path / "bare")
    for weights in bare.glob("*.safetensors"):
        weights.unlink()
    malice.torch_archive(bare / "pytorch_model.bin", marker)
    own = shutil.copytree(tiny_decoder_folder, tmp_path / "own")
    architecture_of_its_own(own, marker)
    for folder, message in ((bare, r"no .safetensors weights"), (own, r"needs custom code")):
        with pytest.raises(UserError, match=message):
            load_causal(folder)
    assert not marker.exists()


def test_the_fixtures_would_run(marker, folder, tmp_path):
    """Or nothing above would be tried."""
    torch.load(malice.torch_archive(tmp_path / "a.bin", marker), weights_only=False)
    assert marker.exists()
    marker.unlink()
    with suppress(RuntimeError):
        torch.load(malice.pickled(tmp_path / "b.bin", marker), weights_only=False)
    assert marker.exists()
    marker.unlink()
    class_in_the_folder(folder, marker)
    SentenceTransformer(str(folder), device="cpu", trust_remote_code=True)
    assert marker.exists()
