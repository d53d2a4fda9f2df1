"""A stage's sources are what it imports, and no more."""

import shutil
import subprocess
import sys

from qatlab.__main__ import STAGES
from qatlab.plan import sources
from qatlab.plan.sources import PACKAGE, stage_sources


def names(stage):
    return {path.relative_to(PACKAGE).as_posix() for path in stage_sources(stage)}


def test_each_stage_has_its_own_module_and_configuration():
    for stage in STAGES:
        assert f"stages/{stage}.py" in names(stage)


def test_training_does_not_depend_on_what_follows():
    training = names("train")
    assert {
        "losses/quantization_aware.py",
        "quantization/grids.py",
        "weights/prepare.py",
        "config/method.py",
    } <= training
    for other in ("drift", "score", "deploy", "encode", "tables", "plots"):
        assert f"stages/{other}.py" not in training
    assert not {name for name in training if name.startswith(("plan/", "tables/", "plots/", "encoders/"))}


def test_another_wording_of_a_card_is_no_other_training():
    assert not {name for name in names("train") | names("train_causal_lm") if name.startswith("cards/")}
    assert {"cards/training_card.py", "cards/causal_card.py", "cards/words.py"} <= names("models")


def test_modules_named_in_strings_count():
    assert {"encoders/onnx.py", "encoders/torch.py"} <= names("encode")


def test_scoring_never_imports_torch():
    """Nor anything else that takes long to import, so that it starts in a fraction of a second."""
    code = "import sys, qatlab.__main__, qatlab.stages.score; print(*sys.modules)"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    )
    assert "qatlab.stages.score" in loaded
    assert not {"torch", "pandas", "scipy", "statsmodels", "sentence_transformers", "transformers", "mteb"} & loaded
    assert not {"quantization/fake.py", "quantization/estimators.py"} & names("score")


def test_code_changes_with_a_stages_files_and_the_lock_and_with_nothing_else(tmp_path, monkeypatch):
    package = tmp_path / "qatlab"
    shutil.copytree(PACKAGE, package)
    monkeypatch.setattr(sources, "PACKAGE", package)
    lock = tmp_path / "requirements.txt"
    lock.write_text("torch==2.11\n")

    def codes():
        sources._imports.cache_clear()
        return {stage: sources.stage_code(stage, lock) for stage in ("train", "drift")}

    first = codes()
    (package / "stages" / "drift.py").touch()
    assert codes() == first
    with (package / "stages" / "drift.py").open("a") as stream:
        stream.write("\n# edited\n")
    second = codes()
    assert second["train"] == first["train"]
    assert second["drift"] != first["drift"]
    lock.write_text("torch==2.12\n")
    assert {stage for stage, code in codes().items() if code != second[stage]} == {"train", "drift"}
    sources._imports.cache_clear()
