"""Command bundle: a study runs from a bundle on a machine that has none of its inputs."""

import hashlib
import json
import shutil
import zipfile

import pytest

from checkouts import snakemake, tiny_study
from conftest import PROJECT
from qatlab.__main__ import main
from qatlab.artifact import sha256_of
from qatlab.bundle import KINDS
from qatlab.commands import bundle
from qatlab.plan.plan import load_study

pytestmark = pytest.mark.slow(18)


@pytest.fixture(scope="module")
def sources(tiny_model, tiny_files, tmp_path_factory):
    """Copies of the model and files, which can be taken away."""
    folder = tmp_path_factory.mktemp("sources")
    shutil.copytree(tiny_model, folder / "model")
    shutil.copytree(tiny_files, folder / "files")
    return folder


@pytest.fixture(scope="module")
def project(sources, tmp_path_factory):
    """A copy of the project with a study of them."""
    return tiny_study(tmp_path_factory.mktemp("bundle") / "project", sources / "model", sources / "files")


@pytest.fixture(scope="module")
def gathered(project, sources):
    """Two bundles of the study, of which the second is in half precision."""
    folders = [project.parent / name for name in ("whole", "half")]
    for folder, more in zip(folders, ([], ["--half"]), strict=True):
        assert gather(project, folder, *more) == 0
    return folders


@pytest.fixture
def away(gathered, sources):
    """The two bundles, while the model and the files that they were made from are moved away."""
    sources.rename(sources.with_name("gone"))
    yield gathered
    sources.with_name("gone").rename(sources)


@pytest.fixture(autouse=True)
def no_bundle_in_use(monkeypatch):
    """A command in this process sets the environment of others."""
    for name in ("QATLAB_BUNDLE", "HF_HUB_OFFLINE"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def gather(project, folder, *more):
    """Runs the command; returns its exit code."""
    return main(["bundle", "--study", "tiny", "--conf", str(project / "conf"), "--output", str(folder), *more])


def plan(project, *more):
    """Runs qatlab plan; returns its exit code."""
    return main(["plan", "--study", "tiny", "--conf", str(project / "conf"), *more])


def test_a_study_runs_from_it_alone(project, away):
    whole, _ = away
    result = snakemake(project, "--cores", "2", "--until", *KINDS[:3], bundle=str(whole))
    assert result.returncode == 0, result.stdout
    index = json.loads((whole / "bundle.json").read_text())
    assert {path.partition("/")[0] for path in index["artifacts"]} == {"model", "data", "task"}
    for path in index["artifacts"]:
        built, kept = project / "results" / path, whole / path
        (built / ".snakemake_timestamp").unlink(missing_ok=True)
        assert sha256_of(built) == sha256_of(kept)


def test_names_are_those_of_the_machine_that_gathered_it(project, away, capsys):
    whole, half = away
    assert plan(project, "--bundle", str(whole)) == 0
    first = capsys.readouterr().out
    index = json.loads((whole / "bundle.json").read_text())
    assert {p for p in index["artifacts"] if p.startswith("model/")} <= set(first.split())
    assert plan(project, "--bundle", str(half)) == 0
    assert capsys.readouterr().out != first  # rounded weights are another model


def test_without_it_the_sources_are_missed(project, away, capsys):
    assert plan(project) == 2
    assert "does not exist (model.name is a local folder or a hub id" in capsys.readouterr().err


def test_a_missing_artifact_is_one_line_before_any_job(project, away):
    whole, _ = away
    result = snakemake(project, "--cores", "1", bundle=str(whole), overrides="++data.shuffle_seed=7")
    assert result.returncode != 0
    (line,) = (line for line in result.stdout.splitlines() if "lacks" in line)
    assert (
        "lacks data 'local' as the study configures it (it was made for: tiny); make one with the study, scale" in line
    )
    assert "Traceback" not in result.stdout


def test_an_existing_folder_is_not_changed(project, gathered, capsys):
    whole, _ = gathered
    before = sha256_of(whole)
    assert gather(project, whole) == 2
    assert capsys.readouterr().err == f"qatlab: --output: '{whole}' exists; remove it, or name another folder\n"
    assert sha256_of(whole) == before


def test_a_stage_that_fails_leaves_no_bundle(project, sources, tmp_path, capsys):
    study = (project / "conf" / "study" / "tiny.yaml").read_text()
    conf = tmp_path / "conf"
    shutil.copytree(project / "conf", conf)
    (conf / "study" / "tiny.yaml").write_text(
        study.replace("max_seq_length: 32", "max_seq_length: 32, num_hidden_layers: 9")
    )
    assert gather(tmp_path, tmp_path / "bundle") == 2
    assert "failed: model.num_hidden_layers=9, but the model has 2" in capsys.readouterr().err
    assert not (tmp_path / "bundle").exists()


def test_models_are_gathered_before_the_tasks_that_are_mined_with_them():
    plan = load_study(PROJECT / "conf", "quickstart", overrides=["task=[networkx_withheld,stdlib]"])
    kinds = [artifact.kind for artifact in bundle.outside(plan)]
    assert kinds == sorted(kinds, key=KINDS.index)
    assert set(kinds) == {"model", "data", "task"}


# Packages


def wheel(folder, name, version):
    """A wheel with nothing in it but its name."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-{version}.dist-info"
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        file.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        file.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A folder of wheels that is pip's only source, and a project that is locked to them."""
    wheels = tmp_path / "wheels"
    one = wheel(wheels, "one", "1.0")
    for name, version in (("torch", "2.13.0"), ("setuptools", "80.0"), ("wheel", "0.45")):
        wheel(wheels, name, version)
    envs = tmp_path / "project" / "envs"
    envs.mkdir(parents=True)
    digest = hashlib.sha256(one.read_bytes()).hexdigest()
    (envs / "requirements.txt").write_text(f"one==1.0 --hash=sha256:{digest}\n")
    (envs / "torch.txt").write_text("torch==2.13.0\n")
    monkeypatch.setattr(bundle, "project", lambda: tmp_path / "project")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    return wheels


def test_packages_of_another_machine(index, project, sources, tmp_path, capsys):
    more = ("--python-packages", "--python", "3.12", "--platform", "manylinux_2_28_aarch64")
    assert gather(project, tmp_path / "bundle", *more) == 0
    gathered = {path.name for path in (tmp_path / "bundle" / "packages").iterdir()}
    assert gathered == {path.name for path in index.iterdir()}
    assert "4 packages" in capsys.readouterr().out


def test_a_package_that_the_index_lacks(index, project, sources, tmp_path, capsys):
    (index / "one-1.0-py3-none-any.whl").unlink()
    assert gather(project, tmp_path / "bundle", "--python-packages") == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith("qatlab: --python-packages: No matching distribution found for one==1.0")
    assert not (tmp_path / "bundle").exists()


def test_a_platform_takes_the_wheels_of_older_ones(monkeypatch):
    assert bundle.target(None, None) == []
    assert bundle.target("3.12", "win_amd64") == ["--python-version", "3.12", "--platform", "win_amd64"]
    tags = bundle.target(None, "manylinux_2_28_x86_64")[1::2]
    assert tags[:1] == ["manylinux_2_28_x86_64"]
    assert {"manylinux_2_17_x86_64", "manylinux2014_x86_64", "manylinux1_x86_64"} <= set(tags)
    assert "manylinux_2_31_x86_64" not in tags


def test_options_without_effect_are_refused(project, tmp_path, capsys):
    assert gather(project, tmp_path / "bundle", "--python", "3.12") == 2
    assert "add --python-packages" in capsys.readouterr().err
