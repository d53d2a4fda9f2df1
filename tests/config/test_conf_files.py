"""Every file of conf/ composes and validates, the schema is complete, and names are those of files."""

import json

import pytest
import yaml

from conftest import PROJECT
from qatlab.commands.plan import schema
from qatlab.config.method import MethodConfig
from qatlab.config.model import ModelConfig
from qatlab.config.trainer import TrainerConfig
from qatlab.config.weights import SCHEMES, WeightsConfig
from qatlab.deployments.deployment import DEPLOYMENTS
from qatlab.errors import UserError
from qatlab.plan.compose import compose_runs
from qatlab.plan.configuration_files import CHOICES, ConfigurationFiles
from qatlab.sources.source import SOURCES
from qatlab.tasks.beir import HubTask
from qatlab.tasks.task import TASKS
from qatlab.text_sets import TEXT_SETS

CONF = PROJECT / "conf"
GROUPS = ConfigurationFiles(CONF).groups
# What each choice needs from a user before it is complete.
NEEDED = {
    ("data", "local"): ["data.path=pairs.csv"],
    ("data", "parallel"): ["data.paths=[corpus.en,corpus.fr]"],
    ("task", "beir"): ["task.beir.path=folder"],
    ("task", "hub_withheld"): ["task.hub_withheld.name=someone/records"],
    ("task", "mteb"): ["task.mteb.name=SciFact"],
    ("task", "parallel_texts"): ["task.parallel_texts.paths=[test.en,test.fr]"],
    ("task", "sentence_pairs"): ["task.sentence_pairs.path=pairs.csv"],
    ("task", "text_file"): ["task.text_file.path=articles.jsonl"],
    ("task", "withheld"): ["task.withheld.path=records.jsonl"],
    ("texts", "texts_file"): ["texts.texts_file.path=reviews.csv"],
}
NEED_A_SCHEME = ("from_baseline_taught", "late_start", "lora_merged")


# Causal language models are shipped by torch, and learn by the clock if they are to.
CAUSAL = ["study.matrix.method=[baseline]", "deploy=[torch_fp32]", "study.decomposition=[]"]
CHOSEN_WITH = {
    **{("model", choice): CAUSAL for choice in GROUPS["model"] if choice.startswith(("byte_decoder", "gemma3"))},
    ("trainer", "wall_clock"): ["model=byte_decoder", *CAUSAL],
    ("trainer", "wall_clock_short"): ["model=byte_decoder", *CAUSAL],
    ("data", "package_texts"): ["model=byte_decoder", *CAUSAL],
    ("data", "fineweb"): ["model=byte_decoder", *CAUSAL],
    ("method", "tanh_int8"): ["evaluate.ranges=[model]"],
}


def choices():
    return [(group, choice) for group, options in GROUPS.items() for choice in options]


# Only choices of the group `study` are fast: the other groups have hundreds of choices.
MARKED = [
    pytest.param(group, choice, marks=[] if group == "study" else pytest.mark.slow(0.4)) for group, choice in choices()
]
ONE_METHOD = ["study.matrix.method=[baseline]", "study.decomposition=[]"]  # what all runs have alike is composed once


@pytest.mark.parametrize(("group", "choice"), MARKED)
def test_composes_and_validates(group, choice):
    needed = [*ONE_METHOD, *NEEDED.get((group, choice), [])]
    if group == "study":
        runs = compose_runs(CONF, choice)
    elif group == "method":
        scheme = ":int4" if choice in NEED_A_SCHEME else ""
        overrides = [f"study.matrix.method=[{choice}{scheme}]", *CHOSEN_WITH.get((group, choice), [])]
        runs = compose_runs(CONF, "quickstart", overrides=overrides)
    elif group == "deploy":
        runs = compose_runs(CONF, "quickstart", overrides=[f"deploy=[torch_fp32,{choice}]", *ONE_METHOD])
    elif group in ("task", "texts"):
        runs = compose_runs(CONF, "quickstart", overrides=[f"{group}=[{choice}]", *needed])
    else:
        overrides = [f"{group}={choice}", *needed, *CHOSEN_WITH.get((group, choice), [])]
        runs = compose_runs(CONF, "quickstart", overrides=overrides)
    assert runs


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data=package_texts"], r"data 'package_texts' has one column \(text\), and an embedding model"),
        (
            ["+trainer.prompts.question=ask"],
            "trainer.prompts names 'question', which is not a column of the data .anchor, positive",
        ),
        (["trainer=wall_clock"], "trainer.max_seconds is for causal language models"),
        (
            ["model=byte_decoder"],
            "is a causal language model and has no embeddings: deployment 'onnx_int8' does not serve it",
        ),
        (["model=byte_decoder", "+model.normalize=false", *CAUSAL], "normalize is for embedding models"),
        (["model=static_minilm", "model.num_hidden_layers=2"], "a static model has none"),
        (["model=byte_decoder", *CAUSAL, "texts=[imdb]"], "has no embeddings: leave texts empty"),
        (["model=byte_decoder", *CAUSAL[1:], "study.matrix.method=[ste]"], "method 'ste' cannot train it"),
        (
            ["model=byte_decoder", "trainer=wall_clock", *CAUSAL[1:], "study.matrix.method=[baseline_longer]"],
            "method 'baseline_longer' has extra_steps, but trainer.max_seconds ends a training after a time",
        ),
    ],
)
def test_keys_of_the_other_kind_of_model_raise_a_one_line_error(overrides, message):
    with pytest.raises(UserError, match=message):
        compose_runs(CONF, "quickstart", overrides=overrides)


def test_codes_of_the_tanh_are_scored_on_its_grid_or_not_at_all():
    chosen = ["study.matrix.method=[tanh_int8]", "study.decomposition=[]"]
    message = r"'tanh_int8' stores int8 on the fixed grid of its tanh, .* \(corpus\) fits another.*set evaluate.ranges=\[model\]"
    for more in ([], ["evaluate.precisions=[binary]", "evaluate.rescoring=[int8]"]):
        with pytest.raises(UserError, match=message):
            compose_runs(CONF, "quickstart", overrides=[*chosen, *more])
    for more in (["evaluate.ranges=[model]"], ["evaluate.precisions=[float32,binary]"]):
        assert compose_runs(CONF, "quickstart", overrides=[*chosen, *more])


def test_parallel_texts_are_those_of_files_or_of_packages():
    chosen = ["model=byte_decoder", *CAUSAL, "data=parallel"]
    with pytest.raises(UserError, match="set either paths or packages"):
        compose_runs(CONF, "quickstart", overrides=chosen)
    of_packages = ["data.packages=[django]", "data.language=fr"]
    ((_, config),) = compose_runs(CONF, "quickstart", overrides=[*chosen, *of_packages])
    assert (config.data.packages, config.data.language, config.data.paths) == (["django"], "fr", None)
    with pytest.raises(UserError, match="set either paths or packages"):
        compose_runs(CONF, "quickstart", overrides=[*chosen, *of_packages, "data.paths=[a.en,b.en]"])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["+method.extra_steps=0.05"], "train is false, so extra_steps would have no effect"),
        (["+method.extra_steps=-0.05", "study.matrix.method=[baseline]"], "greater than or equal to 0"),
    ],
)
def test_invalid_extra_steps_are_refused(overrides, message):
    with pytest.raises(UserError, match=message):
        compose_runs(CONF, "quickstart", overrides=overrides)


@pytest.mark.parametrize("choice", GROUPS["method"])
def test_a_method_has_the_name_of_its_file(choice):
    assert yaml.safe_load((CONF / "method" / f"{choice}.yaml").read_text())["name"] == choice


@pytest.mark.parametrize("choice", [choice for choice in GROUPS["deploy"] if choice not in CHOICES["deploy"]])
def test_a_deployment_has_the_name_of_its_file(choice):
    assert list(yaml.safe_load((CONF / "deploy" / f"{choice}.yaml").read_text())) == [choice]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_has_a_method_and_a_deployment(scheme):
    """Training for a scheme therefore has a PTQ counterpart."""
    deployment = "onnx_int8" if scheme == "onnx_int8" else f"torchao:{scheme}"
    overrides = [f"study.matrix.method=[baseline:{scheme}]", f"deploy=[{deployment}]", f"drift.reference={deployment}"]
    ((_, config),) = compose_runs(CONF, "quickstart", overrides=overrides)
    assert config.method.name == f"baseline:{scheme}"
    assert config.method.weights == WeightsConfig(name=scheme, **SCHEMES[scheme].fields)
    assert config.deploy[deployment].ships(config.method.weights)


SECTIONS = {
    "method": lambda values: MethodConfig,
    "model": lambda values: ModelConfig,
    "trainer": lambda values: TrainerConfig,
    "data": lambda values: SOURCES.get(values["source"]),
    "deploy": lambda values: DEPLOYMENTS.get(values["backend"]),
    "task": lambda values: TASKS.get(values["source"]),
    "texts": lambda values: TEXT_SETS.get(values["source"]),
}


@pytest.mark.parametrize(("group", "choice"), [pair for pair in choices() if pair[0] in SECTIONS])
def test_a_file_contains_only_values_that_differ_from_the_defaults(group, choice):
    """A file that inherits from another one may reset its values to the defaults."""
    in_code = CHOICES.get(group, {})
    file = CONF / group / f"{choice}.yaml"
    values = {choice: in_code[choice]} if choice in in_code else yaml.safe_load(file.read_text()) or {}
    if "defaults" in values:
        return
    for section in values.values() if group in ("deploy", "task", "texts") else [values]:
        fields = SECTIONS[group](section).model_fields
        defaults = {name: fields[name].get_default(call_default_factory=True) for name in section if name in fields}
        same = [name for name, default in defaults.items() if section[name] == default]
        assert not same, f"conf/{group}/{choice}.yaml repeats the default of {', '.join(same)}"


@pytest.mark.parametrize("choice", GROUPS["study"])
def test_a_study_has_the_name_of_its_file(choice):
    assert yaml.safe_load((CONF / "study" / f"{choice}.yaml").read_text())["study"]["name"] == choice


def test_the_schema_describes_every_section():
    described = schema()
    assert {"study", "model", "data", "method", "trainer", "deploy", "task", "evaluate"} <= set(described["properties"])
    assert "Every combination is a run" in json.dumps(described)


def test_onnx_int8_has_the_seed_studys_parameters():
    (_, config), *_ = compose_runs(CONF, "quickstart")
    assert config.deploy["onnx_int8"].quantization.model_dump() == {
        "per_channel": True,
        "reduce_range": False,
        "weight_type": "QInt8",
        "activation_type": "QUInt8",
        "mode": "IntegerOps",
        "enable_subgraph": True,
        "matmul_const_b_only": True,
        "nodes_to_exclude": [],
    }


def test_nanobeir_is_thirteen_sets_at_one_commit_each():
    """mteb has a task for each name under which results are written."""
    import mteb

    names = [choice for choice in GROUPS["task"] if choice.startswith("nano_")]
    assert len(names) == 13
    (_, config), *_ = compose_runs(CONF, "quickstart", overrides=[f"task=[{','.join(names)}]", *ONE_METHOD])
    assert list(config.task) == names
    for name in names:
        task = config.task[name]
        assert isinstance(task, HubTask)
        assert task.name.startswith("zeta-alpha-ai/Nano")
        assert len(task.revision) == 40
        assert mteb.get_task(task.mteb_name).metadata.main_score == "ndcg_at_10"


def test_a_task_without_a_file_is_offered_and_changed_like_one_with_a_file():
    with pytest.raises(UserError, match=r"unknown task 'nano_scifakt' .*valid: .*nano_arguana, .*nano_scifact"):
        compose_runs(CONF, "quickstart", overrides=["task=[nano_scifakt]", *ONE_METHOD])
    changed = ["task=[nano_scifact]", "task.nano_scifact.revision=main", *ONE_METHOD]
    (_, config), *_ = compose_runs(CONF, "quickstart", overrides=changed)
    assert config.task["nano_scifact"].revision == "main"
