"""gate: its three exit codes on given scores, the line of reason, and mistakes in its options."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from conftest import PROJECT
from qatlab.artifact import write_json
from qatlab.commands.gate import main
from qatlab.errors import UserError
from qatlab.study.record import CONCLUSION_FILE, Conclusion
from qatlab.tables.gathered import Gathered
from qatlab.tables.recommendation import conclude
from shipped import write_study

pytestmark = pytest.mark.slow(11)

QUERIES = np.random.default_rng(0).uniform(0.6, 1.0, size=400)
WAVE = np.where(np.arange(400) % 2, 1.0, -1.0)  # its mean is 0, and a mean of its values has a standard error of 1/20


def lost(loss, spread=0.0):
    """One seed of scores that lose `loss` on average; the 95 % interval is about ± spread / 10."""
    return [QUERIES - loss + spread * WAVE]


SCORES = {
    ("baseline", "torch_fp32", "float32"): lost(0),
    ("baseline", "torch_fp32", "int8"): lost(0.001, 0.02),  # ± 0.002
    ("baseline", "torch_fp32", "binary"): lost(0.04, 0.1),  # ± 0.01
    ("baseline", "torchao:int8", "float32"): lost(0.008, 0.05),  # ± 0.005
    ("baseline", "torchao:int8", "int8"): lost(0.008, 0.05),
    ("baseline", "torchao:int8", "binary"): lost(0.05, 0.1),
    ("ste", "torch_fp32", "float32"): lost(0.001),
    ("ste", "torch_fp32", "int8"): lost(-0.1),
    ("ste", "torch_fp32", "binary"): lost(0.02),
}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gate") / "results"
    study = write_study(folder, SCORES)
    (folder / "studies" / "tiny").mkdir(parents=True)
    conclusion = conclude(Gathered(study, folder))
    write_json(folder / "studies" / "tiny" / CONCLUSION_FILE, conclusion.model_dump(mode="json"))
    return folder


def gate(results, *options):
    return main(["tiny", "--results", str(results), *options])


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--precision", "int8", "--max-loss", "1%"], 0),
        (["--precision", "int8", "--max-loss", "0.0035"], 0),
        (["--precision", "int8", "--max-loss", "0.0025"], 3),
        (["--precision", "int8", "--max-loss", "0.0025", "--confidence", "80%"], 0),
        (["--precision", "binary", "--max-loss", "1 %"], 1),
        (["--precision", "binary", "--max-loss", "5%"], 3),
        (["--precision", "binary", "--max-loss", "0.05"], 3),
        (["--precision", "binary", "--max-loss", "0.06"], 0),
        (["--deploy", "torchao:int8", "--max-loss", "1%"], 3),
        (["--deploy", "torchao:int8", "--max-loss", "2%"], 0),
        (["--deploy", "torchao:int8", "--max-loss", "0.002"], 1),
        (["--method", "ste", "--max-loss", "0"], 1),
        (["--method", "ste", "--precision", "int8", "--max-loss", "0"], 0),
        (["--method", "baseline", "--max-loss", "0"], 0),  # the best float result itself
        (["--precision", "int8"], 0),  # within study.budget
    ],
)
def test_the_exit_code_follows_the_ends_of_the_interval(results, capsys, options, code):
    assert gate(results, *options) == code
    line = capsys.readouterr().out
    assert line.startswith({0: "passes: ", 1: "worse: ", 3: "undecided: "}[code])
    assert line.count("\n") == 1


def test_the_line_names_what_is_judged_and_all_figures(results, capsys):
    gate(results, "--precision", "binary", "--confidence", "0.9")
    line = capsys.readouterr().out
    assert line.startswith("worse: the loss of binary embeddings of `baseline` as `torch_fp32` is 0.0400 of 0.8")
    assert "nDCG@10 (90 % interval 0.03" in line
    assert line.endswith("at most 1 % is allowed, which is 0.0081\n")


def test_without_names_the_balanced_recommendation_is_judged(results, capsys):
    assert gate(results) == 0
    assert "the loss of int8 embeddings of `ste` as `torch_fp32` is −0.10" in capsys.readouterr().out
    assert gate(results, "--max-loss", "0%") == 0  # it is better than the best float result


def test_a_study_that_recommends_nothing_cannot_tell(results, tmp_path, capsys):
    shutil.copytree(results, tmp_path / "results")
    file = tmp_path / "results" / "studies" / "tiny" / CONCLUSION_FILE
    nothing = Conclusion.model_validate_json(file.read_text()).model_copy(update={"offers": ()})
    write_json(file, nothing.model_dump(mode="json"))
    assert gate(tmp_path / "results") == 3
    assert "name what is shipped" in capsys.readouterr().out
    file.unlink()
    with pytest.raises(UserError, match=r"conclusion.json does not exist; run the study, or name what is shipped"):
        gate(tmp_path / "results")


def test_scores_that_are_missing_are_undecided(results, tmp_path, capsys):
    shutil.copytree(results, tmp_path / "results")
    shutil.rmtree(tmp_path / "results" / "score" / "ste-0-torch_fp32")
    shutil.rmtree(tmp_path / "results" / "encode" / "ste-0-torch_fp32")
    assert gate(tmp_path / "results", "--method", "ste", "--precision", "int8") == 3
    assert "int8 embeddings of `ste` as `torch_fp32`: 1 of 1 seeds have no scores" in capsys.readouterr().out
    assert gate(tmp_path / "results", "--precision", "int8") == 0
    shutil.rmtree(tmp_path / "results" / "score" / "baseline-0-torch_fp32")
    assert gate(tmp_path / "results", "--deploy", "torchao:int8") == 3
    assert "no complete float results in `torch_fp32`" in capsys.readouterr().out


def test_one_query_cannot_tell(tmp_path, capsys):
    write_study(tmp_path, {(m, d, o): [values[:1] for values in lists] for (m, d, o), lists in SCORES.items()})
    assert gate(tmp_path, "--precision", "int8") == 3
    assert "no interval from one query" in capsys.readouterr().out


def test_lower_bits_per_byte_are_better(tmp_path):
    scores = {
        ("baseline", "torch_fp32", "text"): lost(0),
        ("baseline", "torchao:int8", "text"): lost(-0.02, 0.01),  # more bits
        ("qat", "torch_fp32", "text"): lost(-0.3),
        ("qat", "torchao:int8", "text"): lost(0.1),
    }
    write_study(tmp_path, scores, metric="bits_per_byte", kind="language_modelling")
    assert gate(tmp_path, "--deploy", "torchao:int8", "--max-loss", "0.01") == 1
    assert gate(tmp_path, "--deploy", "torchao:int8", "--max-loss", "0.03") == 0
    assert gate(tmp_path, "--deploy", "torchao:int8", "--method", "qat", "--max-loss", "0") == 0


def test_a_share_of_a_negative_result_is_refused_and_a_number_is_not(tmp_path):
    scores = {key: [values - 2 for values in lists] for key, lists in SCORES.items()}
    write_study(tmp_path, scores)
    assert gate(tmp_path, "--precision", "int8", "--max-loss", "1%") == 3
    assert gate(tmp_path, "--precision", "int8", "--max-loss", "0.01") == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--method", "st"], r"unknown method 'st' \(did you mean 'ste'\?\); valid: baseline, ste"),
        (["--deploy", "onnx"], "unknown deployment 'onnx'; valid: torch_fp32, torchao:int8"),
        (["--precision", "int4"], r"unknown precision 'int4' \(did you mean 'int8'\?\); valid: binary, float32, int8"),
        (["--axes", "itq"], "unknown axes 'itq'; valid: none"),
        (
            ["--method", "ste", "--deploy", "torchao:int8"],
            "the study has no scores of ste, torchao:int8, float32, none together",
        ),
        (["--where", "batch"], "--where takes KEY=VALUE, not 'batch'"),
        (["--where", "batch=3"], "unknown key of the matrix 'batch'"),
        (
            ["--max-loss", "-1"],
            "--max-loss takes a percentage or a number that is not negative, such as 1% or 0.01, not '-1'",
        ),
        (["--max-loss", "little"], "not 'little'"),
        (["--confidence", "95"], "--confidence is a share between 0 and 1, such as 95% or 0.95, not '95'"),
    ],
)
def test_mistakes_are_one_line(results, options, message):
    joined = [f"{name}={value}" for name, value in zip(options[::2], options[1::2], strict=True)]
    with pytest.raises(UserError, match=message):
        gate(results, *joined)


def test_unknown_studies_and_records_of_other_versions(results, tmp_path):
    with pytest.raises(UserError, match=r"unknown study 'tine' \(did you mean 'tiny'\?\); valid: tiny"):
        main(["tine", "--results", str(results)])
    with pytest.raises(UserError, match=r"holds no study; run one, or give the folder of the results"):
        main(["tiny", "--results", str(tmp_path)])
    shutil.copytree(results / "plan", tmp_path / "plan")
    file = tmp_path / "plan" / "study" / "tiny.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, "config": {**content["config"], "version": 0}}))
    with pytest.raises(UserError, match="is of another version of qatlab; run the study again"):
        gate(tmp_path)


def test_a_study_without_its_baseline_needs_a_method(results, tmp_path):
    shutil.copytree(results, tmp_path / "results")
    file = tmp_path / "results" / "plan" / "study" / "tiny.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, "config": {**content["config"], "baseline": "other"}}))
    with pytest.raises(
        UserError, match="the study has no method 'other'; name what is shipped with --method: baseline, ste"
    ):
        gate(tmp_path / "results", "--precision", "int8")
    assert gate(tmp_path / "results", "--method", "ste", "--precision", "int8") == 0


def test_all_cells_that_match_must_pass(tmp_path, capsys):
    study = write_study(tmp_path, SCORES)
    runs = [
        run.model_copy(
            update={
                "varied": {"matrix.trainer.batch_size": 32 if run.method == "baseline" else 64},
                "method": "baseline",
            }
        )
        for run in study.runs
    ]
    file = tmp_path / "plan" / "study" / "tiny.json"
    record = study.model_copy(update={"runs": tuple(runs)}).model_dump(mode="json")
    file.write_text(json.dumps({"kind": "study", "name": "tiny", "config": record}))
    assert gate(tmp_path, "--precision", "binary", "--max-loss", "3%") == 1  # the run with batches of 32
    assert "binary embeddings of `baseline` (32)" in capsys.readouterr().out
    assert gate(tmp_path, "--precision", "binary", "--max-loss", "3%", "--where", "trainer.batch_size=64") == 0
    with pytest.raises(UserError, match=r"unknown value of trainer\.batch_size '16'; valid: 32, 64"):
        gate(tmp_path, "--where", "trainer.batch_size=16")


@pytest.mark.parametrize(("limit", "code"), [("1%", 0), ("0.0001", 1), ("0.002", 3), ("much", 2)])
def test_the_command_exits_with_the_code(results, limit, code):
    command = [sys.executable, "-m", "qatlab", "gate", "tiny", "--max-loss", limit, "--precision", "int8"]
    if code == 1:
        command[-1] = "binary"
    environment = os.environ | {"PYTHONPATH": str(PROJECT / "workflow")}
    result = subprocess.run(command, cwd=results.parent, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == code, result.stderr
    assert (result.stdout if code != 2 else result.stderr).count("\n") == 1
