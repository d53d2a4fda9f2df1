"""The workflow as a module of another one, from a folder and from a commit of a repository, and without the Snakefile in the root."""

import re
import shutil
import subprocess

import pytest

from checkouts import STUDY, copy_project, snakemake
from conftest import PROJECT

pytestmark = pytest.mark.slow(20)

SNAKEFILE = """
configfile: "config/config.yaml"


rule all:
    input:
        "results/summary.txt",


module qatlab:
    snakefile:
        "{snakefile}"
    config:
        config


use rule * from qatlab as qatlab_*


onsuccess:
    qatlab.onsuccess()
    print("the handler of the module has run")


rule summary:
    input:
        "results/studies/tiny/tables/scores.csv",
    output:
        "results/summary.txt",
    shell:
        "wc -l {{input}} > {{output}}"
"""
CHAIN = {"model", "data", "task", "train", "deploy", "encode", "score", "tables"}


@pytest.fixture(scope="module")
def conf(tmp_path_factory, tiny_files):
    """A folder of configuration files with a study of one's own, as `qatlab init` and a user write it. Its model is never loaded."""
    folder = tmp_path_factory.mktemp("mine") / "conf"
    shutil.copytree(PROJECT / "conf", folder)
    values = {"methods": "[untrained, baseline]", "deploy": "[torch_fp32]"}
    study = STUDY.format(model="sentence-transformers/all-MiniLM-L6-v2", files=tiny_files, **values)
    (folder / "study" / "tiny.yaml").write_text(study)
    return folder


def other_workflow(folder, snakefile, conf):
    """Write a workflow as Snakedeploy does, with a rule of its own; return its folder."""
    (folder / "workflow").mkdir(parents=True)
    (folder / "workflow" / "Snakefile").write_text(SNAKEFILE.format(snakefile=snakefile))
    (folder / "config").mkdir()
    (folder / "config" / "config.yaml").write_text(f"study: tiny\nconf: {conf}\n")
    return folder


def rules_of(output):
    """Return the rules in the table of jobs that Snakemake prints."""
    return set(re.findall(r"^(\w+) +\d+$", output, re.MULTILINE)) - {"total"}


def test_another_workflow_uses_it_from_a_folder(tmp_path, conf):
    """The other workflow's own target is made, by rules of both; jobs run, and find the configurations that the module has written."""
    folder = other_workflow(tmp_path / "other", PROJECT / "workflow" / "Snakefile", conf)
    planned = snakemake(folder, "--cores", "2", "-n")
    assert planned.returncode == 0, planned.stdout
    assert {"all", "summary", *(f"qatlab_{rule}" for rule in CHAIN)} == rules_of(planned.stdout)
    assert not (folder / "results" / "data").exists()
    without_server = {"NAME": "value"}  # with another environment, no process imports PyTorch for the jobs in advance
    result = snakemake(folder, "--cores", "2", "--until", "qatlab_data", more=without_server)
    assert result.returncode == 0, result.stdout
    assert "the handler of the module has run" in result.stdout
    (data,) = (folder / "results" / "data").iterdir()
    assert (data / "train.parquet").is_file()


def test_another_workflow_uses_it_from_a_commit(tmp_path, conf):
    """The rules come from a repository, everything else from the installed package."""
    repository = copy_project(tmp_path / "repository")
    identity = ("-c", "user.name=A", "-c", "user.email=a@b.example")
    for words in (("init", "--quiet"), ("add", "."), (*identity, "commit", "--quiet", "--message", "All")):
        subprocess.run(["git", *words], cwd=repository, check=True)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=repository, check=True, capture_output=True, text=True)
    address = f"git+file://{repository}/workflow/Snakefile@{commit.stdout.strip()}"
    folder = other_workflow(tmp_path / "other", address, conf)
    planned = snakemake(folder, "--cores", "2", "-n", more={"PYTHONPATH": str(PROJECT / "workflow")})
    assert planned.returncode == 0, planned.stdout
    assert {"summary", "qatlab_train", "qatlab_tables"} <= rules_of(planned.stdout)


def test_the_workflow_runs_without_the_snakefile_in_the_root(tmp_path, conf):
    """Snakemake finds workflow/Snakefile itself; config/config.yaml sets the study, and the command line takes precedence."""
    folder = copy_project(tmp_path / "project")
    (folder / "Snakefile").unlink()
    (folder / "config").mkdir()
    (folder / "config" / "config.yaml").write_text(f"study: quickstart\nconf: {conf}\n")
    planned = snakemake(folder, "--cores", "2", "-n")
    assert planned.returncode == 0, planned.stdout
    assert "tiny: " in planned.stdout
    assert "train" in planned.stdout
    refused = snakemake(folder, "-n", conf="nowhere")
    assert refused.returncode != 0
    assert "conf=nowhere: no config.yaml" in refused.stdout


def test_an_installation_without_qatlab_is_one_line(tmp_path):
    folder = copy_project(tmp_path / "project")
    shutil.rmtree(folder / "workflow" / "qatlab")
    (tmp_path / "without" / "qatlab").mkdir(parents=True)
    (tmp_path / "without" / "sitecustomize.py").write_text("import sys\nsys.modules['qatlab'] = None\n")
    result = snakemake(folder, "-n", more={"PYTHONPATH": str(tmp_path / "without")})
    assert result.returncode != 0
    assert "the Python that runs Snakemake has no qatlab" in result.stdout
    assert "Traceback" not in result.stdout
