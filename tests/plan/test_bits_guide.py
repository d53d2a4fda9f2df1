"""The guide to training for bits: its commands are plans without mistakes, and its file is a method."""

import re
import shlex

import pytest
import yaml

from conftest import PROJECT
from qatlab.config.method import MethodConfig
from qatlab.plan.checks import check_models
from qatlab.plan.plan import load_study

GUIDE = (PROJECT / "docs" / "how_to" / "train_for_bits.md").read_text(encoding="utf-8")
OF_STUDIES = "snakemake -n --config study="
BLOCKS = re.findall(r"```bash\n(.*?)```", GUIDE, re.DOTALL)
COMMANDS = [shlex.split(block) for block in BLOCKS if not block.startswith(OF_STUDIES)]


@pytest.mark.parametrize("words", COMMANDS)
def test_a_command_plans_what_it_says(words, tmp_path):
    assert words[:3] == ["snakemake", "-n", "--config"]
    settings = dict(word.split("=", 1) for word in words[3:])
    assert set(settings) == {"overrides"}
    study_plan = load_study(PROJECT / "conf", "quickstart", overrides=settings["overrides"].split())
    check_models(study_plan, tmp_path)
    (methods,) = re.findall(r"study\.matrix\.method=\[(.*?)\]", settings["overrides"])
    assert [run.config.method.name for run in study_plan.runs] == methods.split(",")


def test_every_recipe_for_bits_is_in_a_command():
    planned = {name for words in COMMANDS for name in re.findall(r"\w+", " ".join(words))}
    recipes = {"binary_spread_out", "binary_decorrelated", "bpr", "tanh_int8", "head_pairs", "head_corpus", "head_both"}
    recipes |= {"from_baseline", "binary_two_stage"}
    assert recipes <= planned
    assert all((PROJECT / "conf" / "method" / f"{name}.yaml").is_file() for name in recipes)


def test_its_method_is_valid():
    (text,) = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)
    method = MethodConfig.model_validate(yaml.safe_load(text))
    assert method.head.start.bits == 1024


def test_its_table_has_the_studies_of_its_command_with_their_scales():
    """`test_recipe_studies` plans each of them."""
    (block,) = [block for block in BLOCKS if block.startswith(OF_STUDIES)]
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", GUIDE, re.MULTILINE))
    assert set(block.strip().removeprefix(OF_STUDIES).split(",")) == set(rows)
    for study, words in rows.items():
        values = yaml.safe_load((PROJECT / "conf" / "study" / f"{study}.yaml").read_text(encoding="utf-8"))["study"]
        assert re.findall(r"`(\w+)`", words.partition("Scale")[2]) == list(values["scales"])
