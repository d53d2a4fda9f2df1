"""A package that adds a source, a task, a set of texts, a backend, a loss, a metric and a table by entry points alone, used by a study."""

import json
import subprocess
import sys
import sysconfig

import pandas as pd
import pytest

from checkouts import Checkout, environment, forked

pytestmark = pytest.mark.slow(70)

PYPROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "counting-for-qatlab"
version = "1.2"

[project.entry-points."qatlab.sources"]
counted = "counting:Counted"

[project.entry-points."qatlab.tasks"]
next_number = "counting:NextNumber"

[project.entry-points."qatlab.text_sets"]
numbers = "counting:Numbers"

[project.entry-points."qatlab.deployments"]
halved = "counting:Halved"

[project.entry-points."qatlab.losses"]
symmetric = "counting:Symmetric"

[project.entry-points."qatlab.metrics"]
precision = "counting:Precision"

[project.entry-points."qatlab.tables"]
best_seeds = "counting:BestSeeds"

[tool.setuptools]
py-modules = ["counting"]
"""
PLUGIN = '''
"""Pairs of a number and the next one, in words; a backend that rounds embeddings to float16."""

from typing import Annotated, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from qatlab.deployments.deployment import Deployment
from qatlab.config.evaluate import Metric
from qatlab.sources.source import Source
from qatlab.tables.table import Table
from qatlab.tasks.task import Loaded, Task
from qatlab.text_sets import TextSet
from qatlab.training_losses import Loss

WORDS = "zero one two three four five six seven eight nine".split()


def words(number):
    return " ".join(WORDS[int(digit)] for digit in str(number))


class Counted(Source):
    source: Literal["counted"]
    columns: list[str] = ["anchor", "positive"]
    upto: Annotated[int, Field(gt=0)] = 100

    def origin(self):
        return "counted"

    def load(self):
        return pd.DataFrame([(words(n), words(n + 1)) for n in range(self.upto)], columns=self.columns), None

    def describe(self, manifest):
        return ", counted by a plugin"


class NextNumber(Task):
    source: Literal["next_number"]

    def origin(self):
        return "counted"

    def load(self, name, model):
        numbers = range(200, 220)
        documents = pd.DataFrame([(f"d{n}", words(n + 1)) for n in numbers], columns=["id", "text"])
        queries = pd.DataFrame([(f"q{n}", words(n)) for n in numbers], columns=["id", "text"])
        judged = pd.DataFrame([(f"q{n}", f"d{n}", 1) for n in numbers], columns=["query_id", "doc_id", "relevance"])
        return Loaded("retrieval", documents, queries, judged)


class Numbers(TextSet):
    source: Literal["numbers"]

    def origin(self):
        return "counted"

    def load(self, name):
        return [words(n) for n in range(300, 320)], None


class Rounding:
    """Rounds what another encoder gives."""

    def __init__(self, encoder):
        self.inner, self.device = encoder, encoder.device

    def encode(self, texts, batch_size, prompt=""):
        return self.inner.encode(texts, batch_size, prompt).astype(np.float16).astype(np.float32)


class Halved(Deployment):
    backend: Literal["halved"]

    @property
    def exported(self):
        return False

    def build(self, inputs, target, threads, label):
        from qatlab.artifact import link_or_copy_tree

        link_or_copy_tree(inputs["model"] / "model", target)

    def encoder(self, folder, threads):
        from qatlab.deployments.torch import TorchDeployment

        return Rounding(TorchDeployment(backend="torch").encoder(folder, threads))


class Symmetric(Loss):
    name: Literal["symmetric"]

    def build(self, model):
        from sentence_transformers.sentence_transformer.losses import MultipleNegativesSymmetricRankingLoss

        return MultipleNegativesSymmetricRankingLoss(model, scale=self.scale)

    def class_name(self):
        return "MultipleNegativesSymmetricRankingLoss"


class Precision(Metric):
    label = "Precision"

    def per_query(self, gains, judged, k):
        return (gains > 0).sum(axis=1) / k


class BestSeeds(Table):
    caption = "The best score of each method."

    def wanted(self, study):
        return len({run.method for run in study.runs}) > 1

    def title(self, gathered):
        return f"Best {gathered.label} of each method"

    def rows(self, gathered):
        main, _ = gathered.main
        return main.groupby("method", sort=False)["value"].max().reset_index()
'''
STUDY = """
# @package _global_
defaults:
  - override /data: counted
  - override /task: [next_number]
  - override /texts: [numbers]
  - override /deploy: [torch_fp32, halved]
study:
  name: plugged
  title: A study of plugins
  matrix: {{method: [untrained, baseline, both_ways], seed: [0]}}
  tables: [best_seeds]
model: {{name: "{model}", max_seq_length: 32}}
trainer: {{batch_size: 16, max_steps: 2, threads: 1}}
encode: {{threads: 1}}
evaluate: {{metrics: ["ndcg@10", "precision@2"]}}
"""
CHOICES = {
    "data": "source: counted\nname: numbers\nrows: 64\n",
    "task": "next_number:\n  source: next_number\n",
    "texts": "numbers:\n  source: numbers\n",
    "deploy": "halved:\n  backend: halved\n",
    "method": "name: both_ways\nloss: {name: symmetric, scale: 10}\n",
}


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """A scratch environment above this one, with the package installed."""
    folder = tmp_path_factory.mktemp("environment")
    package = folder / "package"
    package.mkdir()
    (package / "pyproject.toml").write_text(PYPROJECT)
    (package / "counting.py").write_text(PLUGIN)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    site = folder / "venv" / "lib" / version / "site-packages"
    (site / "below.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    python = folder / "venv" / "bin" / "python"
    install = ["-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation", package]
    subprocess.run([python, *install], check=True)
    return python


@pytest.fixture(scope="module")
def study(tiny_model, tmp_path_factory, python):
    """A finished study that names all of the package's classes."""
    checkout = Checkout(tmp_path_factory.mktemp("checkout"), STUDY.format(model=tiny_model), "plugged")
    for group, text in CHOICES.items():
        name = {
            "data": "counted",
            "task": "next_number",
            "texts": "numbers",
            "deploy": "halved",
            "method": "both_ways",
        }[group]
        (checkout.folder / "conf" / group / f"{name}.yaml").write_text(text)
    run = snakemake(python, checkout)
    assert run.returncode == 0, run.stdout
    return checkout


def snakemake(python, checkout, *arguments, **config):
    given = [f"{key}={value}" for key, value in config.items()]
    words = [python, "-m", "snakemake", "--cores", "2", *arguments, "--config", "study=plugged", *given]
    return forked(checkout.folder, words, environment())


def test_a_study_uses_them_all(study):
    scores = pd.read_csv(study.tables() / "scores.csv")
    assert set(scores["deploy"]) == {"torch_fp32", "halved"}
    assert set(scores["task"]) == {"next_number"}
    assert set(scores["data"].dropna()) == {"numbers"}
    assert set(scores["metric"]) == {"ndcg@10", "precision@2"}
    precision = scores.query("metric == 'precision@2'")
    assert precision["value"].between(0, 0.5).all()  # one document of each query is relevant
    assert precision["value"].max() > 0
    drift = pd.read_csv(study.tables() / "drift.csv").query("task == 'numbers' and deploy == 'halved'")
    assert ((drift["mean"] > 0.9999) & (drift["mean"] < 1)).all()  # rounded, and not the same


def test_their_package_is_part_of_what_artifacts_are(study):
    package = {"counting-for-qatlab": "1.2"}
    for kind in ("data", "task", "texts"):
        (folder,) = (study.folder / "results" / kind).iterdir()
        assert json.loads((folder / "config.json").read_text())["origin"]["plugin"] == package
    for kind, name, count in (("deploy", "halved", 3), ("train", "both_ways", 1), ("score", "halved", 3)):
        folders = [folder for folder in (study.folder / "results" / kind).iterdir() if name in folder.name]
        assert len(folders) == count
        assert all(json.loads((folder / "config.json").read_text())["origin"] == package for folder in folders)


def test_a_models_card_says_where_its_rows_come_from(study):
    (card,) = (study.folder / "results" / "studies" / "plugged" / "models").glob("both_ways*/README.md")
    assert "64 rows (anchor, positive), counted by a plugin" in card.read_text()
    assert "* Loss: MultipleNegativesSymmetricRankingLoss, similarities × 10." in card.read_text()
    assert "loss:MultipleNegativesSymmetricRankingLoss" in card.read_text()


def test_their_table_is_written_and_in_the_report(study, python):
    table = pd.read_csv(study.tables() / "best_seeds.csv")
    assert list(table["method"]) == ["untrained", "baseline", "both_ways"]
    assert (study.tables() / "best_seeds.md").read_text().startswith("**Best nDCG@10 of each method**")
    run = snakemake(python, study, "--report", "report.html")
    assert run.returncode == 0, run.stdout
    report = (study.folder / "report.html").read_text()
    assert "The best score of each method." in report
    assert "Scores by bytes per document" in report  # the caption of a table of qatlab


def test_their_configuration_is_validated(study, python):
    for override, message in (
        ("data.upto=-1", "upto: Input should be greater than 0"),
        ("study.matrix.method=[both_ways] method.loss.scale=-1", "scale: Input should be greater than 0"),
        (
            "evaluate.metrics=[precisoin@2]",
            "unknown metric 'precisoin@2'; valid: ndcg@k, mrr@k, recall@k, accuracy@k, precision@k",
        ),
        ("evaluate.scoring=[mteb_compat]", "mteb does not compute precision@2"),
        ("study.tables=[worst_seeds]", "unknown table 'worst_seeds' (did you mean 'best_seeds'?)"),
    ):
        run = snakemake(python, study, "-n", overrides=override)
        assert run.returncode != 0
        assert message in run.stdout
        assert "Traceback" not in run.stdout


def test_without_the_package_the_names_are_unknown(study):
    run = study.snakemake("-n")
    assert run.returncode != 0
    assert "unknown value 'counted'; valid: 'numerals', 'docstrings', 'package_texts'" in run.stdout
