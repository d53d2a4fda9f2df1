"""The whole line through real Snakemake: a tiny study from raw files to tables, plots and report, and what makes it run again."""

import base64
import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
from huggingface_hub import ModelCard

from checkouts import NOTHING, PARTS, Checkout, command, environment, forked, snakemake
from failing import check_nothing_is_blank, read, shown_without
from hub_server import serve
from hub_uploads import READER, WRITER, UploadHub
from planted import PLANTED, files_with_secrets
from qatlab.commands.gate import main as gate
from qatlab.plan.plan import load_study
from qatlab.study.record import read_conclusion, terminal_lines

pytestmark = pytest.mark.slow(300)

STUDY = """
# @package _global_
defaults:
  - override /data: local
  - override /task: [beir]
study:
  name: tiny
  title: A tiny study
  matrix:
    method: [untrained, ste_warmup, baseline:int8]
    seed: [0]
model: {{name: "{model}", max_seq_length: 32}}
data: {{path: "{files}/pairs.jsonl"}}
task: {{beir: {{path: "{files}/task"}}}}
trainer: {{batch_size: 16, learning_rate: 1.0e-3, threads: 1}}
encode: {{threads: 1}}
evaluate: {{bit_axes: [centred]}}
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny_model, tiny_files):
    checkout = Checkout(tmp_path_factory.mktemp("checkout"), STUDY.format(model=tiny_model, files=tiny_files))
    result = checkout.snakemake()
    assert result.returncode == 0, result.stdout
    checkout.screen = result.stdout
    return checkout


@pytest.fixture
def edited():
    """Appends a line to a file of the checkout and takes it back afterwards."""
    before = {}

    def edit(path: Path, line: str) -> None:
        before[path] = (path.read_bytes(), path.stat())
        path.write_bytes(before[path][0] + line.encode())

    yield edit
    for path, (content, status) in before.items():
        path.write_bytes(content)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_a_study_says_how_many_cores_its_jobs_compute_with(finished):
    """So that two cores train two models at once, where there is no GPU."""
    words = ("-n", "-p", "--workflow-profile", "none", "--forceall")
    for overrides, cores in (("trainer.threads=null encode.threads=null", "2"), ("", "1")):
        shown = finished.snakemake(*words, overrides=overrides)
        assert shown.returncode == 0, shown.stdout
        commands = re.findall(r"python -m qatlab (train|encode) .*--threads (\d+)", shown.stdout)
        assert {stage for stage, _ in commands} == {"train", "encode"}
        assert {threads for _, threads in commands} == {cores}


@contextmanager
def without_messages(rules):
    """Rules without messages, in whose place Snakemake prints the resources of each job."""
    files = {file: file.read_text() for file in rules.glob("*.smk")}
    for file, text in files.items():
        file.write_text(re.sub(r" +message:\n.*\n", "", text))
    yield
    for file, text in files.items():
        file.write_text(text)


def test_jobs_on_a_machine_with_gpus_share_its_cores(finished, tmp_path):
    """One job per GPU runs at a time, each with an equal share of the cores; jobs of ONNX files have all cores."""
    program = tmp_path / "nvidia-smi"
    program.write_text('#!/bin/sh\n[ "$1" = --query-gpu=compute_cap ] && printf "9.0\\n9.0\\n"\n')
    program.chmod(0o755)
    path = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    words = ("-n", "-p", "--workflow-profile", "none", "--forceall")
    shown = finished.snakemake(*words, environment=path, overrides="trainer.threads=null encode.threads=null")
    assert shown.returncode == 0, shown.stdout
    threads = {}
    for stage, name, count in re.findall(r"qatlab (train|encode) .*--output \S+/(\S+) --threads (\d+)", shown.stdout):
        threads.setdefault((stage, "onnx" in name), set()).add(count)
    assert threads == {("train", False): {"1"}, ("encode", False): {"1"}, ("encode", True): {"2"}}
    with without_messages(finished.folder / "workflow" / "rules"):
        shared = finished.snakemake(*words, environment=path, overrides="trainer.distributed.processes=2")
    assert shared.returncode == 0, shared.stdout
    assert set(re.findall(r"qatlab train .*--threads (\d+)", shared.stdout)) == {"2"}
    gpus = dict.fromkeys(re.findall(r"rule (train|encode):(?:\n +.*)*?\n +resources: .*gpu=(\d)", shared.stdout))
    assert {count for rule, count in gpus if rule == "train"} == {"2"}
    assert {count for rule, count in gpus if rule == "encode"} == {"0", "1"}


def test_a_batch_that_processes_cannot_share_is_one_line(finished):
    refused = finished.snakemake("-n", overrides="trainer.distributed.processes=3")
    assert refused.returncode != 0
    assert (
        "trainer: batch_size=16 cannot be divided equally among 3 processes; set a multiple of 3, such as 15 or 18"
        in refused.stdout
    )


def test_scores_are_in_the_documented_form(finished):
    scores = pd.read_csv(finished.tables() / "scores.csv")
    documented = (
        "study,run,model,data,method,seed,deploy,task,query_precision,doc_precision,scoring,metric,value,queries"
    )
    assert list(scores.columns[:14]) == documented.split(",")
    assert scores.loc[scores["deploy"] == "onnx_int8", "integer_kernel"].nunique(dropna=False) == 1
    assert scores.loc[scores["deploy"] == "onnx_int8", "reduce_range"].eq(False).all()
    assert scores.loc[scores["deploy"] != "onnx_int8", ["integer_kernel", "reduce_range"]].isna().all(axis=None)
    assert len(scores) == 3 * 3 * 1 * 4 * 5  # methods × deployments × tasks × (precisions and centred bits) × metrics
    assert list(scores.columns[-2:]) == ["status", "fitted_on"]
    assert set(zip(scores["rotation"], scores["fitted_on"], strict=True)) == {("none", "none"), ("centred", "corpus")}
    assert scores["value"].between(0, 1).all()
    assert set(scores["queries"]) == {40}
    float32 = scores[(scores["query_precision"] == "float32") & (scores["metric"] == "ndcg@10")].set_index(
        ["method", "deploy"]
    )["value"]
    assert float32["ste_warmup", "torch_fp32"] != float32["untrained", "torch_fp32"]


def test_drift_and_cost_are_in_the_documented_form(finished):
    drift = pd.read_csv(finished.tables() / "drift.csv")
    assert list(drift.columns[:11]) == [
        "run",
        "method",
        "seed",
        "reference",
        "deploy",
        "task",
        "min",
        "max",
        "mean",
        "mean_distance",
        "n",
    ]
    assert set(drift["reference"]) == {"torch_fp32", "simulated:int8"}
    against_torch = drift[drift["reference"] == "torch_fp32"]
    assert against_torch["top10_overlap"].between(0, 1).all()
    assert against_torch["kendall_tau"].between(-1, 1).all()
    mean = against_torch.groupby("deploy")["mean"].mean()
    assert mean["onnx_fp32"] > 0.999999
    assert 0.9 < mean["onnx_int8"] < 0.999999
    cost = pd.read_csv(finished.tables() / "cost.csv").set_index(["method", "deploy"])
    assert cost.loc[("ste_warmup", "torch_fp32"), "seconds_per_step"] > 0
    assert cost["texts_per_second"].gt(0).all()
    assert cost["bytes_on_disk"]["untrained", "onnx_int8"] < 0.6 * cost["bytes_on_disk"]["untrained", "onnx_fp32"]


def test_what_a_search_costs_is_in_the_documented_form(finished):
    search = pd.read_csv(finished.tables() / "search.csv")
    documented = (
        "run,method,seed,deploy,task,rotation,query_precision,doc_precision,scoring,ranges,rescoring,dimensions,"
        "doc_bytes,stored_bytes,queries_per_second,threads,index,status,fitted_on"
    )
    assert list(search.columns) == documented.split(",")
    assert len(search) == 3 * 3 * 1 * 4  # methods × deployments × tasks × (precisions and centred bits)
    assert search["queries_per_second"].gt(0).all()
    assert set(search["threads"]) == {1}
    assert "queries_per_second" not in pd.read_csv(finished.tables() / "scores.csv").columns
    pareto = pd.read_csv(finished.tables() / "pareto.csv")
    assert set(pareto["bytes per document"]) == {128, 32, 4}
    assert set(pareto["deploy"]) == set(search["deploy"])


@pytest.mark.parametrize(
    "slug",
    [
        "model/",
        "task/",
        "train/model-local-baseline-int8",
        "deploy/untrained-onnx-",
        "encode/ste_warmup",
        "score/untrained",
    ],
)
def test_whatever_fails_no_table_is_blank_and_every_plot_is_drawn(finished, tmp_path, slug):
    plan = load_study(finished.folder / "conf", "tiny")
    failed = next(path for path in plan.artifacts if path.startswith(slug))
    shown = shown_without(plan, finished.folder / "results", failed, tmp_path / "shown")
    whole = read(finished.tables().parent)
    check_nothing_is_blank(shown, whole)
    assert all((shown["scores"].loc[shown["scores"]["status"] == "failed", "value"] == "").tolist())
    is_complete = shown["scores"]["status"] == "ok"
    pd.testing.assert_frame_equal(shown["scores"][is_complete], whole["scores"][is_complete])
    assert (
        shown["scores"]
        .drop(columns=["value", "stderr", "queries", "doc_bytes", "status", "integer_kernel"])
        .equals(whole["scores"].drop(columns=["value", "stderr", "queries", "doc_bytes", "status", "integer_kernel"]))
    )


def test_a_trained_folder_loads_without_qatlab(finished):
    (trained,) = (finished.folder / "results" / "train").glob("*baseline-int8*")
    code = (
        "import sys; from sentence_transformers import SentenceTransformer as S; "
        "print(S(sys.argv[1]).encode('a').shape, 'qatlab' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(trained / "model")], capture_output=True, text=True, check=True
    )
    assert result.stdout.split("\n")[-2] == "(32,) False"


def test_the_training_log_follows_the_schedule_and_shows_live_quantizers(finished):
    (trained,) = (finished.folder / "results" / "train").glob("*ste_warmup*")
    log = pd.read_csv(trained / "log.csv")
    assert list(log["step"]) == [1, 2, 3, 4, 5]
    assert log["weight_binary"].tolist() == pytest.approx([0.5 * min(1, step / (0.9 * 5)) for step in range(5)])
    assert log["changed_binary"].iloc[1:].eq(1).all()
    assert log["changed_int8"].iloc[1:].gt(0.9).all()


def test_the_screen_ends_with_the_conclusion(finished):
    folder = finished.tables().parent
    conclusion = read_conclusion(folder)
    block = "\n".join(terminal_lines(folder)).replace(str(folder), "results/studies/tiny")
    screen = re.sub(r"Elapsed time: \S+\s*$", "", finished.screen)
    assert " ".join(screen.split()).endswith(" ".join(block.split()))
    assert conclusion.complete
    assert [offer.grade for offer in conclusion.offers] == ["safest", "balanced", "smallest"]


def test_the_code_of_every_offer_runs_where_the_results_are(finished, monkeypatch):
    monkeypatch.chdir(finished.folder)
    for offer in read_conclusion(finished.tables().parent).offers:
        names: dict[str, object] = {}
        exec(offer.load, names)
        assert names["codes"][0].nbytes == offer.doc_bytes


def test_the_gate_judges_the_finished_study(finished, monkeypatch, capsys):
    monkeypatch.chdir(finished.folder)
    assert (
        gate(
            ["tiny", "--method", "baseline:int8", "--deploy", "onnx_int8", "--precision", "binary", "--max-loss", "100"]
        )
        == 0
    )
    assert gate(
        ["tiny", "--precision", "float32", "--method", "untrained", "--max-loss", "0", "--confidence", "99%"]
    ) in (0, 1, 3)
    assert capsys.readouterr().out.count("\n") == 2


def test_runs_csv_names_artifacts_that_exist(finished):
    runs = pd.read_csv(finished.folder / "results" / "studies" / "tiny" / "runs.csv")
    for column in ("trained", "deployed", "encode", "score", "drift"):
        for path in " ".join(runs[column].dropna()).split():
            assert (finished.folder / "results" / path / "config.json").is_file()


def test_views_and_plots_are_there(finished):
    for name in (
        "scores_by_precision",
        "all_metrics",
        "pareto",
        "against_float",
        "parity",
        "drift_summary",
        "drift_and_loss",
        "cost_summary",
        "cost_of_training",
    ):
        for form in ("csv", "md", "tex"):
            assert (finished.tables() / f"{name}.{form}").stat().st_size > 100
    for name in ("forest", "scores", "training_loss", "gradient", "drift", "pareto"):
        assert (finished.tables().parent / "plots" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_each_trained_model_has_a_folder_with_its_metrics(finished):
    folders = {path.name: path for path in (finished.tables().parent / "models").iterdir() if path.is_dir()}
    assert set(folders) == {"ste_warmup-seed=0", "baseline+int8-seed=0"}
    scores = pd.read_csv(finished.tables() / "scores.csv").query("deploy == 'torch_fp32' and metric == 'ndcg@10'")
    scores = scores[scores["rotation"] == "none"]
    for run, folder in folders.items():
        assert {path.name for path in (folder / "onnx").iterdir()} == {"model.onnx", "model_qint8_quantized.onnx"}
        results = ModelCard.load(folder / "README.md").data.eval_results
        expected = scores[scores["run"] == run.replace("+", ":")].set_index("doc_precision")["value"].to_dict()
        assert {result.metric_config: result.metric_value for result in results} == expected


def test_models_are_pushed_on_request_and_the_token_is_in_no_file(finished, tmp_path):
    pushed = finished.tables().parent / "pushed.json"
    for config, message in (
        ({}, "error: the owner of the uploaded models is missing: snakemake push --config push=OWNER"),
        ({"push": "me"}, "error: pushing needs a hub token with write access: export HF_TOKEN=…"),
        (
            {"push": "me/you"},
            "error: push=me/you: give the user or organization on the hub to which models are uploaded",
        ),
        ({"push": "me", "push_public": "perhaps"}, "error: push_public=perhaps: give true or false"),
    ):
        result = finished.snakemake("push", environment={"HF_TOKEN": ""}, **config)
        assert result.returncode != 0
        assert result.stdout.strip().splitlines()[-1] == message
    with serve(UploadHub(folder=tmp_path)) as hub:
        network = {"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "0"}
        network["HF_HUB_DISABLE_XET"] = "1"  # whose storage the hub on loopback does not have
        result = finished.snakemake("push", environment={**network, "HF_TOKEN": READER}, push="me")
        assert result.returncode != 0
        assert "qatlab: the token in HF_TOKEN has no write access to 'me/tiny-baseline-int8-seed-0'" in result.stdout
        assert not pushed.exists()
        result = finished.snakemake("push", environment={**network, "HF_TOKEN": WRITER}, push="me")
        assert result.returncode == 0, result.stdout
        assert hub.private == {"me/tiny-ste_warmup-seed-0": True, "me/tiny-baseline-int8-seed-0": True}
        assert {
            pushed_model["repository"]: pushed_model["commit"]
            for pushed_model in json.loads(pushed.read_text()).values()
        } == hub.main
        again = finished.snakemake("push", environment={**network, "HF_TOKEN": WRITER}, push="me")
        assert NOTHING in again.stdout
    files = [path for path in finished.folder.rglob("*") if path.is_file()]
    assert {".snakemake", "results"} <= {path.relative_to(finished.folder).parts[0] for path in files}
    for path in files:
        assert not {token for token in (WRITER, READER) if token.encode() in path.read_bytes()}, path


def test_the_screen_says_which_run_is_training_and_what_remains(finished):
    assert re.search(r"^\[\d+ of \d+ done\] train model-local-ste_warmup-seed-0-", finished.screen, re.MULTILINE)
    assert re.search(
        r"^train ste_warmup-seed=0: step 5 of 5, loss [\d.]+ \(.*\), 0:00 left$", finished.screen, re.MULTILINE
    )
    assert "rule " not in finished.screen
    assert "Warning" not in finished.screen


def test_a_second_run_does_nothing(finished):
    result = finished.snakemake()
    assert result.returncode == 0
    assert NOTHING in result.stdout


def test_a_forked_dry_run_prints_what_a_process_of_its_own_does(finished):
    words, variables = command("-n", "--cores", "2"), environment()
    alone = subprocess.run(words, cwd=finished.folder, env=variables, capture_output=True, text=True)
    fork = forked(finished.folder, words, variables)
    assert fork.returncode == alone.returncode == 0
    assert sorted(fork.stdout.splitlines()) == sorted((alone.stdout + alone.stderr).splitlines())


def test_touching_configuration_or_data_does_nothing(finished, tiny_files):
    touched = [*(finished.folder / "conf").rglob("*.yaml"), *tiny_files.rglob("*.*")]
    for kind in ("data", "task", "model", "train"):
        # .snakemake_timestamp is Snakemake's own record of when a folder was written.
        touched += [path for path in (finished.folder / "results" / kind).rglob("*") if not path.name.startswith(".")]
    assert len(touched) > 30
    for path in touched:
        path.touch()
    assert finished.would_run() == set()


def test_a_key_of_drift_reruns_drift_and_what_follows(finished):
    assert finished.would_run("drift.limit=10") == {"drift", "tables", "plots", "page", "models", "index"}


def test_a_key_of_training_reruns_training_and_what_follows(finished):
    follows = {"train", "deploy", "encode", "score", "drift", "tables", "plots", "page", "models", "index"}
    assert finished.would_run("trainer.learning_rate=1e-4") == follows


@pytest.mark.parametrize(
    ("module", "rules"),
    [
        ("stages/drift.py", {"drift", "tables", "plots", "page", "models", "index"}),
        ("evaluation/task_metrics.py", {"score", "tables", "plots", "page", "models", "index"}),
        (
            "metrics.py",
            {"score", "drift", "tables", "plots", "page", "models", "index"},
        ),  # drift reads the section that names metrics
        ("tables/wide.py", {"tables", "plots", "page", "models", "index"}),
        ("plots/diagnostics.py", {"plots", "page", "index"}),
        ("stages/page.py", {"page", "index"}),
        ("pages/templates/page.css", {"page", "index"}),
        ("stages/encode.py", {"encode", "score", "drift", "tables", "plots", "page", "models", "index"}),
        (
            "deployments/backends/onnx_runtime.py",
            {"deploy", "encode", "score", "drift", "tables", "plots", "page", "models", "index"},
        ),
        ("deployments/openvino.py", set()),  # no deployment of the study
        ("tasks/mteb.py", set()),
        ("tables/decomposition.py", {"tables", "plots", "page", "models", "index"}),
        (
            "losses/quantization_aware.py",
            {"train", "deploy", "encode", "score", "drift", "tables", "plots", "page", "models", "index"},
        ),
    ],
)
def test_editing_a_module_reruns_its_stage_and_what_follows(finished, edited, module, rules):
    edited(finished.folder / "workflow" / "qatlab" / module, "\nEDITED = 1\n")
    assert finished.would_run() == rules


def test_rewording_modules_reruns_nothing(finished, edited):
    for module in ("stages/drift.py", "evaluation/task_metrics.py", "losses/quantization_aware.py", "study/config.py"):
        edited(finished.folder / "workflow" / "qatlab" / module, "\n# A comment.\n")
    assert finished.would_run() == set()


def test_another_lock_reruns_everything(finished, edited):
    edited(finished.folder / "envs" / "requirements.txt", "# edited\n")
    assert {"model", "data", "task", "train", "plots"} <= finished.would_run()


# Only jobs have another date: Snakemake compares its clock with the times of files.
ANOTHER_DAY = """
import sys, time
if "qatlab" in sys.orig_argv:
    shift, now = 86400 * 4000.25, time.time
    time.time = lambda: now() + shift
    for name in ("localtime", "gmtime"):
        setattr(time, name, lambda seconds=None, call=getattr(time, name): call(time.time() if seconds is None else seconds))
"""
ELSEWHERE = {
    "LC_ALL": "C",
    "TZ": "Pacific/Kiritimati",
    "PYTHONHASHSEED": "4711",
    "COLUMNS": "40",
    "HOME": "/nonexistent",
}


def test_the_same_study_from_scratch_elsewhere_gives_the_same_bytes(finished, tmp_path, tiny_model, tiny_files):
    """Clock, locale, hash seed, working directory, order of jobs and cores change no table and no plot."""
    folder = tmp_path / "a path with spaces, ümlauts & more" / "project"
    Checkout(folder, STUDY.format(model=tiny_model, files=tiny_files))
    (tmp_path / "clock").mkdir()
    (tmp_path / "clock" / "sitecustomize.py").write_text(ANOTHER_DAY)
    results = tmp_path / "working directory"
    surroundings = {**ELSEWHERE, "PYTHONPATH": str(tmp_path / "clock"), "MPLCONFIGDIR": str(tmp_path / "matplotlib")}
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})  # what this process starts has the same
    try:
        where = ("--snakefile", str(folder / "Snakefile"), "--directory", str(results))
        first = snakemake(folder.parent, "--cores", "1", *where, "--until", "drift", more=surroundings)
        assert first.returncode == 0, first.stdout
        result = snakemake(folder.parent, "--cores", "1", "--scheduler", "greedy", *where, more=surroundings)
        assert result.returncode == 0, result.stdout
    finally:
        os.sched_setaffinity(0, cores)
    assert sorted(path.name for path in folder.iterdir()) == sorted(PARTS)  # nothing is written beside the code
    timed = ("cost", "search")  # what they hold is never the same
    names = sorted(path.name for path in finished.tables().iterdir() if not path.name.startswith(timed))
    assert len(names) == 2 + 3 * 10
    other_tables = results / "results" / "studies" / finished.name
    for name in names:
        assert (other_tables / "tables" / name).read_bytes() == (finished.tables() / name).read_bytes(), name
    drawn = [plot for plot in (other_tables / "plots").iterdir() if plot.stem != "pareto"]  # shows timings
    assert len(drawn) == 2 * 5
    for plot in drawn:
        assert plot.read_bytes() == (finished.tables().parent / "plots" / plot.name).read_bytes(), plot.name


def test_a_failing_job_shows_its_own_words_and_its_log(finished):
    before = finished.files()
    result = finished.snakemake(overrides="+model.num_hidden_layers=9")
    assert result.returncode != 0
    assert re.search(
        r"^model \S+ failed: model.num_hidden_layers=9, but the model has 2 \(log: results/logs/model/\S+\.log\)$",
        result.stdout,
        re.MULTILINE,
    )
    assert "Traceback" not in result.stdout
    assert len(result.stdout.splitlines()) < 15, result.stdout
    assert re.search("^tiny: tables show 3 of 3 runs as failed ", result.stdout, re.MULTILINE)
    of_artifacts = [path for path in before if not path.startswith(("logs", "plan", "studies"))]
    after = finished.files()
    assert {path: after[path] for path in of_artifacts} == {path: before[path] for path in of_artifacts}


MISTAKES = [
    (
        {"study": "quickstrt"},
        "error: unknown study 'quickstrt' (did you mean 'quickstart'?); valid: binary_gradient, binary_heads, ",
    ),
    (
        {"overrides": "trainer.batchsize=4"},
        "error: unknown key 'trainer.batchsize'; did you mean 'trainer.batch_size'?",
    ),
    ({"overrides": "data.path=nowhere.csv"}, "error: data file 'nowhere.csv' does not exist"),
    ({"overrides": "model.name=nobody/nothing"}, "error: model 'nobody/nothing' is not in the local cache"),
    ({"study": "../x"}, "error: unknown study '../x'"),
    ({"study": "a;b\x1b[2J"}, "error: unknown study 'a;b\\x1b[2J'"),
    (
        {"overrides": "model.name='\"a;b/c\"' trainer.batch_size=16"},
        "error: model.name 'a;b/c' is neither a folder that exists nor a hub id",
    ),
    (
        {"overrides": "method.name='\"../x\"' trainer.batch_size=16"},
        "error: method.name: a name consists of ASCII letters",
    ),
    ({"overrides": "model.revision=${oc.env:HF_TOKEN}"}, "error: model.revision: '${oc.env:HF_TOKEN}' would look up"),
    ({"overrides": "data.path='no where.csv'"}, "error: data file 'no where.csv' does not exist"),
    ({"overrides": "data.path=\"'no (w), here.csv'\""}, "error: data file 'no (w), here.csv' does not exist"),
    ({"overrides": "trainer.report_to=[trackio]"}, "error: trainer.report_to names trackio, which is not installed"),
]


@pytest.mark.parametrize(("mistake", "message"), MISTAKES)
def test_a_mistake_is_one_line_before_any_job(finished, mistake, message):
    before = finished.files()
    result = finished.snakemake(**mistake)
    assert result.returncode != 0
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("error: ")]
    assert line.startswith(message)
    assert "Traceback" not in result.stdout
    assert 'File "' not in result.stdout
    assert finished.files() == before


def test_an_unknown_key_of_config_is_refused(finished):
    result = finished.snakemake("-n", sceale="small")
    assert result.returncode != 0
    assert "--config takes study, scale, overrides, conf, bundle, push and push_public, not 'sceale'" in result.stdout


def test_a_stage_runs_by_hand(finished, tmp_path):
    descriptions = finished.folder / "results" / "plan"
    planned = (descriptions / "drift").glob("*untrained-onnx_int8*.json")  # includes those of other tests' overrides
    config = next(path for path in planned if (finished.folder / "results" / "drift" / path.stem).is_dir())
    inputs = json.loads(config.read_text())["inputs"]
    arguments = [
        part for role, path in inputs.items() for part in ("--input", f"{role}={finished.folder / 'results' / path}")
    ]
    command = [
        sys.executable,
        "-m",
        "qatlab",
        "drift",
        "--config",
        str(config),
        *arguments,
        "--output",
        str(tmp_path / "drift"),
    ]
    subprocess.run(command, check=True)
    result = finished.folder / "results" / "drift" / config.stem / "drift.json"
    assert (tmp_path / "drift" / "drift.json").read_bytes() == result.read_bytes()


def test_the_report_is_one_page_without_addresses_to_load_from(finished):
    result = finished.snakemake("--report", "report.html")
    assert result.returncode == 0, result.stdout
    page = (finished.folder / "report.html").read_text()
    for expected in (
        "training loss by component",
        "scores by precision",
        "drift distributions",
        "bytes, quality and speed",
    ):
        assert expected in page
    assert not re.search(r'<(script|link|img)[^>]+(src|href)="https?://', page)


def test_tokens_of_the_environment_are_in_no_file(finished):
    assert finished.snakemake("--report", "tokens.html").returncode == 0
    places = {path.relative_to(finished.folder).parts[0] for path in finished.folder.rglob("*")}
    assert {"results", ".snakemake", "tokens.html"} <= places
    assert not files_with_secrets(finished.folder)


@pytest.mark.parametrize("before", ["", "a", "ab", "abc"])
def test_a_token_would_be_found(before, tmp_path):
    words = f"{before}{PLANTED['HF_TOKEN']}, and more".encode()
    (tmp_path / "plain").write_bytes(words)
    (tmp_path / "encoded").write_bytes(base64.b64encode(words))
    assert len(files_with_secrets(tmp_path)) == 2


def test_paths_with_characters_of_a_shell_are_only_paths(tiny_model, tiny_files, tmp_path):
    """Models and data may lie anywhere: their paths reach stages in a file."""
    odd = tmp_path / "$(touch evil)`touch evil`; touch evil' \" & touch evil #"
    shutil.copytree(tiny_model, odd / "model")
    shutil.copytree(tiny_files, odd / "files")
    quoted = str(odd).replace('"', '\\"')
    checkout = Checkout(tmp_path / "checkout", STUDY.format(model=f"{quoted}/model", files=f"{quoted}/files"))
    result = checkout.snakemake("--until", "data", "model", "task")
    assert result.returncode == 0, result.stdout
    assert {"data", "model", "task"} <= {path.name for path in (checkout.folder / "results").iterdir()}
    assert not list(checkout.folder.rglob("evil*"))
    shown = checkout.snakemake("-n", "-p", "--workflow-profile", "none", "--forceall")
    assert shown.returncode == 0, shown.stdout
    assert "python -m qatlab train" in shown.stdout
    assert "evil" not in shown.stdout


def test_a_crashing_job_shows_the_end_of_its_log(finished, edited):
    edited(finished.folder / "workflow" / "qatlab" / "stages" / "plots.py", "\nraise RuntimeError('the plot broke')\n")
    result = finished.snakemake()
    assert result.returncode != 0
    assert "plots tiny failed; the last lines of results/logs/plots/tiny.log:" in result.stdout
    assert "    RuntimeError: the plot broke" in result.stdout
    assert len(result.stdout.splitlines()) < 25, result.stdout


def test_a_study_of_one_deployment_has_its_tables_and_plots(finished):
    """Nothing to compare a deployment with: no drift, and no table or plot of it. A baseline brings comparisons of bits."""
    overrides = "deploy=[torch_fp32] ++study.baseline=untrained"
    assert "bit_changes" in finished.would_run(overrides)
    result = finished.snakemake(overrides=overrides)
    assert result.returncode == 0, result.stdout
    assert not (finished.tables() / "drift_summary.csv").exists()
    assert (finished.tables() / "scores_by_precision.csv").exists()
    bits = pd.read_csv(finished.tables() / "bits_changed.csv").set_index("method")
    assert list(bits.index) == ["ste_warmup", "baseline:int8"]
    assert bits["bits changed (%)"].between(0.01, 60).all()
    runs = pd.read_csv(finished.tables().parent / "runs.csv").set_index("run")
    path = finished.folder / "results" / runs.loc["ste_warmup-seed=0", "bit_changes"] / "bit_changes.json"
    share = json.loads(path.read_text())["documents"]
    assert bits.loc["ste_warmup", "bits changed (%)"] == pytest.approx(100 * share, abs=0.005)
    gradient = (finished.tables().parent / "plots" / "gradient.svg").read_text()
    assert "differ from those of untrained, same seed (%)" in gradient
    restored = finished.snakemake()
    assert restored.returncode == 0, restored.stdout
    assert (finished.tables() / "drift_summary.csv").exists()


def test_the_benchmark_of_the_int8_file_trains_deploys_and_measures(finished):
    code = """
import sys
from qatlab.bench import evaluation
study, *overrides = sys.argv[1:]
for row in evaluation.measure_onnx_int8(1, (*evaluation.OVERRIDES, *overrides), study=study):
    print(row.name, row.ours, row.reference, row.bound)
"""
    environment = {**os.environ, "PYTHONPATH": str(finished.folder / "workflow")}
    result = subprocess.run(
        [sys.executable, "-c", code, "tiny", "study.matrix.seed=[0]"],
        cwd=finished.folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    time, loss = (line.split() for line in result.stdout.splitlines() if line.startswith("onnx_int8"))
    assert time[0] == "onnx_int8_encode_time"
    assert min(float(time[1]), float(time[2])) > 0
    assert float(time[3]) == 1 / 3.2
    assert loss[0] == "onnx_int8_relative_loss"
    assert 0 <= float(loss[1]) < 1


def test_a_report_of_several_studies_says_whose_a_plot_is(finished):
    studies = finished.folder / "conf" / "study"
    (studies / "other.yaml").write_text((studies / "tiny.yaml").read_text().replace("name: tiny", "name: other"))
    finished_run = finished.snakemake(study="tiny,other")
    assert finished_run.returncode == 0, finished_run.stdout
    result = finished.snakemake("--report", "both.html", study="tiny,other")
    assert result.returncode == 0, result.stdout
    (shown,) = re.findall(r"categories = (\{.*?\});?$", (finished.folder / "both.html").read_text(), re.MULTILINE)
    categories = json.loads(shown)
    for category, folder in (("Plots", "plots"), ("Tables", "tables")):
        assert set(categories[category]) == {"tiny", "other"}
        for study, paths in categories[category].items():
            assert {path.split(f"/{folder}/")[0] for path in paths} == {f"results/studies/{study}"}
