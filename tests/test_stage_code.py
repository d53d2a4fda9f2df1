"""A stage's sources are what it imports, and no more."""

import shutil
import subprocess
import sys

import pytest

from conftest import PROJECT
from qatlab import remembered, stage_code
from qatlab.__main__ import STAGES
from qatlab.job import FAMILIES, FAMILY_STAGES, part_name
from qatlab.stage_code import PACKAGE, meaning, stage_modules

# By name, a stage and the modules of its code that it does not import by name: those of model families.
JOBS = {stage: (stage, ()) for stage in STAGES if stage not in FAMILY_STAGES} | {
    f"{stage} of {family}": (stage, (part_name(family, stage),)) for stage in FAMILY_STAGES for family in FAMILIES
}


def names(job, *registered):
    stage, modules = JOBS.get(job, (job, ()))
    modules_of_stage = stage_modules(stage, (*modules, *registered))
    return {f"{module.removeprefix('qatlab.').replace('.', '/')}.py" for module in modules_of_stage}


def test_each_stage_has_its_own_module_and_configuration():
    for job, (stage, _) in JOBS.items():
        assert f"stages/{stage}.py" in names(job)


def test_training_does_not_depend_on_what_follows():
    training = names("train of embedding")
    assert {
        "losses/quantization_aware.py",
        "quantization/grids.py",
        "weights/prepare.py",
        "config/method.py",
    } <= training
    for other in ("drift", "score", "deploy", "encode", "tables", "plots"):
        assert f"stages/{other}.py" not in training
    assert not {name for name in training if name.startswith(("plan/", "tables/", "plots/", "deployments/"))}


def test_rows_and_encodings_do_not_depend_on_how_models_are_trained():
    for job in (
        names("data", "qatlab.sources.packages"),
        names("task", "qatlab.tasks.texts"),
        names("encode of embedding"),
    ):
        assert (
            not {
                "config/method.py",
                "config/embedding_quantization.py",
                "config/trainer.py",
                "losses/quantization_aware.py",
            }
            & job
        )


def test_another_wording_of_a_card_is_no_other_training():
    trainings = names("train of embedding") | names("train of causal_lm")
    assert not {name for name in trainings if name.startswith("cards/")}
    assert {"cards/training_card.py", "cards/recipe.py"} <= names("models")


def test_a_family_does_not_depend_on_the_other():
    for stage in FAMILY_STAGES:
        assert not {name for name in names(f"{stage} of embedding") if "causal" in name}
        assert not {name for name in names(f"{stage} of causal_lm") if name.startswith("families/embedding")}


def test_modules_named_in_strings_count():
    assert "deployments/backends/onnx_runtime.py" in names("encode of embedding", "qatlab.deployments.onnx")
    assert not {"deployments/backends/onnx_runtime.py", "deployments/torch.py"} & names("encode of embedding")


def test_scoring_never_imports_torch():
    """Nor anything else that takes long to import, so that it starts in a fraction of a second."""
    code = "import sys, qatlab.__main__, qatlab.stages.score, qatlab.families.embedding.score; print(*sys.modules)"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    )
    assert "qatlab.stages.score" in loaded
    assert not {"torch", "pandas", "scipy", "statsmodels", "sentence_transformers", "transformers", "mteb"} & loaded
    assert not {"quantization/estimators.py"} & names("score of embedding")


@pytest.fixture(scope="module")
def cache_folder(tmp_path_factory):
    """Return the folder of the cache of parsed modules, which all tests of this file share."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def package(tmp_path, monkeypatch, cache_folder):
    """A copy of the package whose files may be edited."""
    shutil.copytree(PACKAGE, tmp_path / "qatlab", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(stage_code, "PACKAGE", tmp_path / "qatlab")
    monkeypatch.setattr(remembered, "cache_folder", lambda: cache_folder)
    yield tmp_path / "qatlab"
    stage_code._modules.cache_clear()


LOCK = PROJECT / "envs" / "requirements.txt"


def codes(lock=LOCK):
    stage_code._modules.cache_clear()
    return {job: stage_code.stage_code(stage, lock, modules) for job, (stage, modules) in JOBS.items()}


def changed(package, module, old, new):
    """The jobs that another version of a module reruns."""
    before = codes()
    file = package / module
    text = file.read_text()
    assert text.count(old) == 1, f"{old!r} is there {text.count(old)} times"
    file.write_text(text.replace(old, new))
    after = codes()
    file.write_text(text)
    return {job for job in JOBS if before[job] != after[job]}


REWORDED = [
    ("quantization/grids.py", '"""', '"""In other words. ', 1),
    ("stages/drift.py", "def run(", "# a comment\ndef run(", 1),
    ("stages/train.py", "-> None:", "-> object:", 1),
    ("evaluation/axes.py", "cannot be kept", "cannot stay", 1),
    ("config/trainer.py", "description=", "description='New: ' + ", 1),
    ("families/embedding/score.py", "are left out", "are not scored", 1),
]


@pytest.mark.parametrize(("module", "old", "new", "count"), REWORDED)
def test_rewording_reruns_nothing(package, module, old, new, count):
    before = codes()
    file = package / module
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, count))
    assert codes() == before


def test_a_constant_or_an_operator_reruns_exactly_the_stages_that_compute_with_it(package):
    users = {job for job in JOBS if "evaluation/axes.py" in names(job)}
    assert users >= {"score of embedding"}
    assert not users & {"train of embedding", "encode of embedding", "score of causal_lm", "model", "data"}
    assert changed(package, "evaluation/axes.py", "FITTED_ON = 1 << 16", "FITTED_ON = 1 << 15") == users
    assert (
        changed(package, "evaluation/axes.py", 'unit = similarity == "cosine"', 'unit = similarity != "dot"') == users
    )


def test_templates_are_code_of_the_stages_that_fill_them_in(package):
    (package / "pages" / "templates").mkdir(exist_ok=True)
    for name, text in (("page.css", "body {}"), ("page.css", "body { margin: 0 }"), ("new.html", "")):
        before = codes()
        (package / "pages" / "templates" / name).write_text(text)
        after = codes()
        assert {job for job in after if after[job] != before[job]} == {"page", "index"}


def test_code_changes_with_the_lock(package, tmp_path):
    first = codes()
    lock = tmp_path / "requirements.txt"
    lock.write_text("torch==2.12\n")
    assert all(first[stage] != code for stage, code in codes(lock).items())


def test_a_second_plan_parses_no_module(package, monkeypatch):
    first = codes()
    monkeypatch.setattr(stage_code, "meaning", None)
    assert codes() == first


def test_a_plan_after_an_edit_parses_the_modules_of_one_folder(package, monkeypatch):
    first = codes()
    parsed = []
    monkeypatch.setattr(stage_code, "meaning", lambda text: parsed.append(text) or meaning(text))
    file = package / "stages" / "drift.py"
    file.write_text(file.read_text() + "EDITED = 1\n")
    assert {job for job, code in codes().items() if code != first[job]} == {"drift"}
    assert sorted(parsed) == sorted(path.read_text() for path in file.parent.glob("*.py"))
