"""The guide to a study of one's own translations, followed as printed; tests/test_tutorials.py runs a study of one's own pairs."""

import re
import sys
from pathlib import Path

import pandas as pd
import pytest

from checkouts import copy_project, environment, forked
from conftest import PROJECT
from failing import check_nothing_is_blank, read, shown_without
from qatlab.plan.plan import load_study

pytestmark = pytest.mark.slow(80)

GUIDE = (PROJECT / "docs" / "how_to" / "own_study_and_method.md").read_text(encoding="utf-8")
SENTENCES = [
    ("the cat sleeps", "le chat dort"),
    ("the dog eats", "le chien mange"),
    ("a bird sings", "un oiseau chante"),
]


def block(path: str) -> str:
    """The YAML that the guide gives for a file."""
    (content,) = re.findall(rf"```yaml\n((?:# @package _global_\n)?# {re.escape(path)}\n.*?)```", GUIDE, re.DOTALL)
    assert len(content.splitlines()) <= 15
    return content


@pytest.fixture
def project(tmp_path):
    return copy_project(tmp_path)


def write(project: Path, path: str) -> None:
    (project / path).write_text(block(path), encoding="utf-8")


def run(project: Path, study: str, *config: str) -> Path:
    """Run the guide's command with further configuration; return the folder of the study's tables."""
    command = f"snakemake --cores all --config study={study}"
    result = forked(project, [sys.executable, "-m", *command.split(), *config], environment())
    assert result.returncode == 0, result.stdout
    return project / "results" / "studies" / study / "tables"


def test_translations_of_ones_own(project, monkeypatch):
    for part, copies in (("train", 30), ("test", 1)):
        for language, side in (("en", 0), ("fr", 1)):
            text = "".join(pair[side] + "\n" for pair in SENTENCES * copies)
            (project / f"{part}.{language}").write_text(text, encoding="utf-8")
    write(project, "conf/study/translate.yaml")
    overrides = "trainer.batch_size=30 trainer.max_steps=3 predict.max_new_tokens=20"
    tables = run(project, "translate", f"overrides={overrides}")
    scores = pd.read_csv(tables / "scores.csv")
    assert set(scores["metric"]) == {"chrf", "bleu"}
    assert set(scores["deploy"]) == {"torch_fp32", "torchao:int4"}
    assert "baseline:int4" in (tables / "qat_minus_ptq.md").read_text()
    assert set(pd.read_csv(tables / "cost.csv")["method"]) == {"baseline", "baseline:int4"}
    monkeypatch.chdir(project)
    plan = load_study(project / "conf", "translate", overrides=overrides.split())
    trained = next(path for path in plan.artifacts if path.startswith("train") and "baseline-int4" in path)
    shown = shown_without(plan, project / "results", trained, project / "shown")
    check_nothing_is_blank(shown, read(tables.parent))
    assert set(shown["qat_minus_ptq"]["verdict"]) == {"failed"}
