"""Jobs that fail, through real Snakemake: tables show them as failed, and are whole again when what failed is mended."""

import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from checkouts import Checkout
from html_elements import Elements

pytestmark = pytest.mark.slow(90)

STUDY = """
# @package _global_
defaults:
  - override /data: local
  - override /task: [beir]
  - override /deploy: [torch_fp32]
study:
  name: tiny
  title: A study that fails
  question: Does training for int8 and binary embeddings pay?
  matrix: {{method: [baseline, hot], seed: [0, 1]}}
  answers: [{{method: hot, against: baseline, deploy: torch_fp32, precision: int8}}]
model: {{name: "{model}", max_seq_length: 32}}
data: {{path: "{files}/pairs.jsonl"}}
task: {{beir: {{path: "{files}/task"}}}}
trainer: {{batch_size: 16, learning_rate: 1.0e-3, threads: 1}}
encode: {{threads: 1}}
evaluate: {{bit_axes: [centred]}}
"""
TOO_HOT = "\nlearning_rate: 1.0e+30\n"
TIMINGS = ("cost", "search", "cost_summary", "cost_of_training", "pareto")  # all else is the same from run to run


class Frail(Checkout):
    """The tiny study with a method that can be made to diverge."""

    def __init__(self, folder: Path, model: Path, files: Path) -> None:
        super().__init__(folder, STUDY.format(model=model, files=files))
        conf = folder / "conf"
        self.method = conf / "method" / "hot.yaml"
        self.mended = (conf / "method" / "ste.yaml").read_text().replace("name: ste\n", "name: hot\n")
        self.method.write_text(self.mended)

    def shown(self) -> dict[str, bytes]:
        """What a person sees of the study, timings left out."""
        study = self.tables().parent
        files = [*study.glob("tables/*"), *study.glob("plots/*"), study / "runs.csv", study / "study.json"]
        pages = {str(file.relative_to(study)): file.read_bytes() for file in files if file.stem not in TIMINGS}
        index = re.sub(rb"[\d,]+ texts per second", b"", (study.parent / "index.html").read_bytes())
        return pages | {"index.html": index}

    def table(self, name: str) -> pd.DataFrame:
        return pd.read_csv(self.tables() / f"{name}.csv", dtype=str, keep_default_na=False)


@pytest.fixture(scope="module")
def frail(tmp_path_factory, tiny_model, tiny_files):
    """Went through undisturbed once."""
    study = Frail(tmp_path_factory.mktemp("frail"), tiny_model, tiny_files)
    result = study.snakemake()
    assert result.returncode == 0, result.stdout
    study.undisturbed = study.shown()
    return study


@pytest.fixture(scope="module")
def failed(frail):
    """Then the method `hot` diverges, as its learning rate is absurd, and a score of the baseline cannot be written."""
    for trained in frail.folder.glob("results/train/*hot*"):
        shutil.rmtree(trained)
    (score,) = frail.folder.glob("results/score/baseline-seed-1-*")
    shutil.rmtree(score)
    frail.in_the_way = score.with_name(f".{score.name}.partial")
    frail.in_the_way.write_text("a file where a folder should be")
    frail.method.write_text(frail.mended + TOO_HOT)
    frail.result = frail.snakemake("--keep-going")
    return frail


def test_the_screen_says_which_runs_the_tables_show_as_failed_and_why(failed):
    assert failed.result.returncode != 0
    lines = failed.result.stdout.splitlines()
    at = lines.index(
        "tiny: tables show 3 of 4 runs as failed (baseline-seed=1, hot-seed=0, hot-seed=1); "
        "correct the causes, and run the same command again to complete them"
    )
    reasons = sorted(lines[at + 1 : at + 4])
    assert reasons[0].startswith("tiny: score baseline-seed=1 · torch_fp32 · beir: FileExistsError: ")
    for seed in (0, 1):
        assert reasons[1 + seed].startswith(f"tiny: train hot-seed={seed}: diverged at step ")
    assert "Traceback" not in failed.result.stdout


def test_marks_say_why_and_hold_no_path_of_this_machine(failed):
    marks = {path.name: path.read_text() for path in failed.folder.glob("results/*/.*.failed.json")}
    assert len(marks) == 3
    (hot,) = [json.loads(text) for name, text in marks.items() if "hot-seed-0" in name]
    assert (hot["stage"], hot["label"]) == ("train", "hot-seed=0")
    assert hot["step"] >= 1
    assert hot["reason"].startswith(f"diverged at step {hot['step']}: embeddings contain NaN")
    assert not [name for name, text in marks.items() if str(failed.folder) in text]


def test_tables_show_failed_and_nothing_of_the_run_before(failed):
    runs = pd.read_csv(failed.tables().parent / "runs.csv").set_index("run")
    assert runs["status"].to_dict() == {
        "baseline-seed=0": "ok", "baseline-seed=1": "failed", "hot-seed=0": "failed", "hot-seed=1": "failed",
    }  # fmt: skip
    assert runs.loc["hot-seed=1", "failure"].startswith("train hot-seed=1: diverged at step ")
    scores = failed.table("scores")
    assert len(scores) == 4 * 4 * 5  # runs × outputs (three precisions, and binary once more: centred) × metrics
    assert set(scores.loc[scores["run"] != "baseline-seed=0", "value"]) == {""}
    assert (scores["status"] == "failed").equals(scores["run"] != "baseline-seed=0")
    wide = failed.table("scores_by_precision").set_index("method")
    assert set(wide.loc["hot"].drop("deploy")) == {"failed"}
    first = scores.query("run == 'baseline-seed=0' and metric == 'ndcg@10' and doc_precision == 'int8'")["value"].item()
    assert wide.loc["baseline", "beir · int8"] == f"{float(first):.4f} (1 of 2 seeds failed)"
    against = failed.table("against_baseline")
    assert set(against["verdict"]) == set(against["difference"]) == {"failed"}
    assert against["to tell them apart"].tolist() == ["hot: 2 of 2 seeds failed; baseline: 1 of 2 seeds failed"] * 3
    costs = failed.table("cost_of_training").set_index("method")
    assert set(costs.loc["hot", ["s/step", "peak memory (MB)"]]) == {"failed"}
    assert float(costs.loc["baseline", "s/step"]) > 0  # its training exists, though a score is missing


def test_the_page_of_studies_and_plots_name_what_failed(failed):
    for page in (failed.tables().parents[1] / "index.html", failed.tables().parent / "index.html"):
        words = Elements(page.read_text()).words()
        assert "3 of 4 runs are not complete:" in words
        assert "hot-seed=0 failed: train hot-seed=0: diverged at step " in words
        assert "hot against baseline, torch_fp32, int8" in words
    plot = (failed.tables().parent / "plots" / "scores.svg").read_text()
    words = " ".join(re.findall(r"<text[^>]*>([^<]*)</text>", plot))  # a long title has several lines
    assert re.search(r"failed: baseline-seed=1, hot-seed=0.*; what they lack is left out", words), words


def test_mended_the_same_command_makes_the_tables_of_an_undisturbed_run(failed):
    failed.in_the_way.unlink()
    failed.method.write_text(failed.mended)
    result = failed.snakemake("--keep-going")
    assert result.returncode == 0, result.stdout
    assert len([line for line in result.stdout.splitlines() if "done] train " in line]) == 2
    assert failed.shown() == failed.undisturbed
    assert not list(failed.folder.glob("results/score/.*.failed.json"))


def test_tables_of_failed_runs_are_never_up_to_date_though_all_their_inputs_exist(failed):
    """As where the method is mended by taking back what broke it, which had been trained before."""
    assert failed.would_run() == set()
    failed.method.write_text(failed.mended + TOO_HOT)
    assert failed.snakemake("--keep-going").returncode != 0
    assert failed.shown() != failed.undisturbed
    failed.method.write_text(failed.mended)
    assert failed.would_run() == {"tables", "plots", "page", "models", "index"}
