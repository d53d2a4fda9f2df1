"""The tutorials and how-to guides, executed as they are printed.

A tutorial becomes one shell script: blocks of `bash` are commands, and a block of `python` or `yaml` whose first line is a comment with
a file's name is written to this file, as its reader would do. The script runs in an empty folder and without network. Blocks of `text`
are what the commands print: each of their lines must occur in the output, except for its numbers and verdicts, which depend on the
machine and on the model.

One thing differs from what a reader does, because it would take CI too long: after the first block of commands, which creates and enters
a folder, the tiny model of these tests is copied into the folder `sentence-transformers/all-MiniLM-L6-v2` in it. A folder of that name is
used in place of the package or the hub, so that every later command runs unchanged. `TUTORIALS=printed` in the environment omits the
copy, and then everything is as printed.
"""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import NamedTuple

import pandas as pd
import pytest

from checkouts import environment, shared_job_server
from conftest import PROJECT

pytestmark = pytest.mark.slow(200)

DOCS = PROJECT / "docs"
MODEL = "sentence-transformers/all-MiniLM-L6-v2"
FENCED = re.compile(r"^( *)```(\w+)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)  # may be indented in a list
NAMED = re.compile(r"(?:# @package _global_\n)?# ([\w/]+\.(?:py|yaml))\n")
FINGERPRINT = re.compile(r"-[0-9a-f]{12}\b")
WORD = re.compile(r"[A-Za-z_][\w:@./×]*")
VERDICTS = {"better", "worse", "not", "separable", "queries", "over", "times", "as", "much", "seeds"}
MARK = "=== block"
PATIENCE = 1800  # seconds
GUIDES = (
    "choose_a_precision",
    "ship_onnx_int8",
    "several_gpus",
    "gate_a_release",
    "resume_clean_compare",
    "publish_to_hub",
    "read_scores_in_pandas",
)


class Finished(NamedTuple):
    """Folder in which a page was executed, and what its blocks printed."""

    folder: Path
    printed: list[str]

    @property
    def last(self) -> str:
        """The output of the last block that printed anything."""
        return [text for text in self.printed if text.strip()][-1]


def blocks(page: str) -> list[tuple[str, str]]:
    """The language and the content of each fenced block of a page."""
    fenced = FENCED.findall((DOCS / f"{page}.md").read_text(encoding="utf-8"))
    return [(language, dedent(content)) for _, language, content in fenced]


def commands(page: str, language: str, content: str) -> str:
    """The shell commands of a block that is not of output."""
    if language == "bash":
        return content
    name = NAMED.match(content)
    assert name, f"{page}: a block of {language} has no file name in its first line"
    return f"cat > {name[1]} <<'END OF FILE'\n{content}END OF FILE\n"


@pytest.fixture(scope="module", autouse=True)
def jobs():
    """One server of jobs for all commands, each of which would otherwise start one that imports PyTorch."""
    with shared_job_server(PROJECT) as variables, pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        yield


def executed(folder: Path, page: str, parts: list[str]) -> Finished:
    """Run the commands of a page in one shell, which ends at the first failure."""
    script = "".join(f"echo; echo '{MARK}'\n{part}" for part in parts)
    bin_folder, workflow = Path(sys.executable).parent, PROJECT / "workflow"
    variables = environment({"PYTHONPATH": str(workflow), "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}"})
    shell = subprocess.run(
        ["bash", "-eu", "-o", "pipefail", "-c", f"exec 2>&1\n{script}\necho '{MARK}'; pwd"],
        cwd=folder,
        env=variables,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        timeout=PATIENCE,
    )
    assert shell.returncode == 0, f"{page}:\n{shell.stdout[-6000:]}"
    _, *printed, ending = shell.stdout.split(f"{MARK}\n")
    return Finished(Path(ending.strip()), printed)


def words(line: str) -> tuple[str, ...]:
    """The words of a line without numbers, fingerprints of artifacts and verdicts; a p-value may be `&lt; 0.001`."""
    text = FINGERPRINT.sub("", line).replace("&lt;", "")
    return tuple(word for word in WORD.findall(text) if word.lower() not in VERDICTS)


def check_output(page: str, printed: list[str]) -> None:
    """Check that every line of a block of text was printed by the last block of commands before it."""
    at = -1
    for language, content in blocks(page):
        if language != "text":
            at += 1
            continue
        output = {words(line) for line in printed[at].splitlines()}
        for line in content.splitlines():
            assert not words(line) or words(line) in output, f"{page} shows a line that was not printed: {line}"


def run_tutorial(name: str, folder: Path, model: Path) -> Finished:
    """Run a tutorial in an empty folder, and check what it shows."""
    page = f"tutorials/{name}"
    parts = [commands(page, *block) for block in blocks(page) if block[0] != "text"]
    if os.environ.get("TUTORIALS") != "printed":
        parts[0] += f"mkdir -p {Path(MODEL).parent}; cp -R {shlex.quote(str(model))} {MODEL}\n"
    finished = executed(folder, page, parts)
    check_output(page, finished.printed)
    return finished


@pytest.fixture(scope="module")
def trained(tiny_model, tmp_path_factory):
    """The folder of the study `mine` after the tutorial that makes it."""
    return run_tutorial("train_for_what_you_ship", tmp_path_factory.mktemp("train"), tiny_model)


def test_can_i_store_bits(tmp_path, tiny_model):
    folder = run_tutorial("can_i_store_bits", tmp_path, tiny_model).folder
    studies = folder / "results" / "studies"
    documents = studies / "score_all_minilm_l6_v2_documents"
    for name in ("against_float.md", "pareto.md", "search.csv"):
        assert (documents / "tables" / name).stat().st_size
    assert json.loads((documents / "study.json").read_text(encoding="utf-8"))["study"] == documents.name
    assert not (folder / "conf").exists()
    agreement = pd.read_csv(documents / "tables" / "scores.csv")
    plain = (agreement["rotation"] == "none") & agreement["dimensions"].isna()
    exact = agreement[plain & (agreement["doc_precision"] == "float32")]
    assert set(exact["metric"]) == {"overlap@10", "kendall@100"}
    assert exact["value"].tolist() == pytest.approx([1, 1])
    assert agreement["dimensions"].nunique() == 2
    assert agreement["queries"].gt(400).all()
    binary = agreement[(agreement["doc_precision"] == "binary") & (agreement["metric"] == "overlap@10")]
    assert (binary["value"] < 1).all()
    judged = pd.read_csv(studies / "score_judged" / "tables" / "scores.csv").query("metric == 'ndcg@10'")
    assert judged["value"].between(0, 1).all()
    assert judged["rotation"].nunique() > 3  # bits on axes that need no training
    assert "agreement with the float search" in (studies / "index.html").read_text(encoding="utf-8")


def test_train_for_what_you_ship(trained):
    study = trained.folder / "results" / "studies" / "mine"
    scores = pd.read_csv(study / "tables" / "scores.csv")
    assert set(scores["method"]) == {"untrained", "baseline", "int8_and_bits"}
    assert set(scores["deploy"]) == {"torch_fp32", "onnx_int8"}
    assert set(scores["queries"]) == {300}
    assert len(list((study / "models").glob("*/onnx/*.onnx"))) == 2
    assert re.match(r"(passes|worse|undecided): the loss of int8 embeddings of `baseline`", trained.last)


def test_the_loss_in_your_trainer(tmp_path, tiny_model):
    folder = run_tutorial("the_loss_in_your_trainer", tmp_path, tiny_model).folder
    assert {"checkpoint-5", "checkpoint-10"} <= {path.name for path in (folder / "checkpoints").iterdir()}
    assert (folder / "trained" / "modules.json").is_file()


@pytest.mark.skipif("TUTORIALS" not in os.environ, reason="trains for minutes: make tutorials runs it")
def test_reproduce_a_published_table(tmp_path, tiny_model):
    folder = run_tutorial("reproduce_a_published_table", tmp_path, tiny_model).folder
    published = pd.read_csv(folder / "results" / "studies" / "pr3655_gooaq" / "tables" / "published.csv")
    ours = published[(published["data.rows"] == 90000) & (published["trainer.batch_size"] == 64)]
    assert len(ours) == 12
    assert ours["ours"].notna().all()


def run_guide(name: str, folder: Path) -> Finished:
    """Run a guide in a folder. Its blocks of Python are one program, of which each block runs with those before it."""
    page, parts, program = f"how_to/{name}", [], ""
    for language, content in blocks(page):
        if language == "python":
            program += content
        parts.append(content if language == "bash" else f"python - <<'END OF FILE'\n{program}END OF FILE\n")
    return executed(folder, page, parts)


@pytest.mark.parametrize("name", GUIDES)
def test_a_guide_runs_in_the_folder_of_the_tutorial(trained, name):
    printed = run_guide(name, trained.folder).printed
    assert len([text for text in printed if text.strip()]) >= len(printed) - 1, printed  # `cp` prints nothing


def test_the_extension_is_the_one_that_is_tested():
    example = (PROJECT / "tests" / "workflow" / "test_plugins.py").read_text(encoding="utf-8")
    shown = blocks("how_to/extend")
    assert [language for language, _ in shown].count("python") == 8
    for language, content in shown:
        text = repr(content)[1:-1] if language == "yaml" else content
        assert text in example, f"test_plugins.py does not contain:\n{content}"
