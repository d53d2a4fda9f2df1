"""The wheel, installed away from any checkout: the command, the library, and a folder to run studies in."""

import os
import re
import shutil
import subprocess
import sys

import pytest

from conftest import PROJECT
from qatlab.commands import init

pytestmark = pytest.mark.slow(28)

SOURCES = ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "workflow", *init.PARTS)
MODEL = "sentence-transformers/all-MiniLM-L6-v2"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder of packages with the wheel of this project alone, built by way of the source archive."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        source, target = PROJECT / name, folder / "source" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(
                source, target, ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"), dirs_exist_ok=True
            )
        else:
            shutil.copyfile(source, target)
    run = {"check": True, "capture_output": True, "text": True}
    subprocess.run([sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, folder / "source"], **run)
    (wheel,) = folder.glob("*.whl")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", folder / "site"]
    subprocess.run([*pip, wheel], **run)
    return folder / "site"


def away(site, tmp_path, *command):
    """Runs a command of that installation in an empty folder."""
    return subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(site), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
    )


def test_the_command_is_installed(site, tmp_path):
    for command in ((site / "bin" / "qatlab",), ("-m", "qatlab")):
        result = away(site, tmp_path, *command, "--help")
        assert result.returncode == 0, result.stderr
        assert re.search("^  init +write the workflow", result.stdout, re.MULTILINE)


def test_the_loss_of_the_readme_runs(site, tmp_path, tiny_model):
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    (example,) = (
        block for block in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if "QuantizationAwareLoss" in block
    )
    assert MODEL in example
    (tmp_path / "example.py").write_text(example.replace(MODEL, str(tiny_model)) + "print(trainer.state.global_step)\n")
    result = away(site, tmp_path, "example.py")
    assert result.returncode == 0, result.stderr[-2000:]
    assert result.stdout.splitlines()[-1] == "3"


def test_the_templates_of_pages_are_installed(site, tmp_path):
    code = "from qatlab.pages.page import studies_page; print(studies_page([]))"
    result = away(site, tmp_path, "-c", code)
    assert result.returncode == 0, result.stderr
    assert "No study has tables yet." in result.stdout
    roots = (site, PROJECT / "workflow")
    names = [{path.name for path in (root / "qatlab" / "pages" / "templates").iterdir()} for root in roots]
    assert names[0] == names[1] >= {"study.html", "page.css", "page.js"}


def test_studies_run_in_a_folder_that_it_writes(site, tmp_path):
    result = away(site, tmp_path, "-m", "qatlab", "init", "my studies")
    assert result.returncode == 0, result.stderr
    assert "cd 'my studies' && snakemake --cores all" in result.stdout
    where = ("-c", "import qatlab; print(qatlab.__file__)")
    assert away(site, tmp_path / "my studies", *where).stdout.startswith(str(site))
    planned = away(site, tmp_path / "my studies", "-m", "snakemake", "-n", "--cores", "1")
    assert planned.returncode == 0, planned.stdout + planned.stderr
    assert re.search(r"\d+ jobs: .*\btrain\b", planned.stdout + planned.stderr)


def test_nothing_is_overwritten(site, tmp_path):
    (tmp_path / "conf").mkdir()
    result = away(site, tmp_path, "-m", "qatlab", "init", ".")
    assert (result.returncode, result.stderr) == (2, "qatlab: 'conf' exists; name another folder\n")
    assert [path.name for path in tmp_path.iterdir()] == ["conf"]


def test_everything_that_studies_need_is_written(tmp_path):
    """Compare the copied files with those that git tracks."""
    init.copy_project(init.project(), tmp_path)
    tracked = subprocess.run(["git", "ls-files", *init.PARTS], cwd=PROJECT, capture_output=True, text=True)
    if tracked.returncode:
        pytest.skip("no git repository")
    wanted = {name for name in tracked.stdout.splitlines() if not name.rpartition("/")[2].startswith(".")}
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()} >= wanted
