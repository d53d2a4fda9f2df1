"""Configuration that would run code, read secrets or fill memory is refused in one line, which names file and line, or key."""

import re
import shutil
import time

import pytest

from qatlab.errors import UserError
from qatlab.plan.compose import compose_runs
from qatlab.plan.plan import published_studies
from qatlab.plan.safe_files import DEEPEST, LARGEST_FILE, check_files, has_resolver

STUDY = """\
# @package _global_
defaults:
  - override /task: [stdlib]
study:
  name: mine
  title: Mine
  matrix:
    method: [baseline]
"""
LAUGHS = "a: &a [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n" + "".join(
    f"{this}: &{this} [{', '.join([f'*{before}'] * 9)}]\n" for before, this in zip("abcdefgh", "bcdefghi", strict=True)
)
HOSTILE = {
    "a Python object": ("model: !!python/object/apply:os.system ['touch {marker}']\n", r"line 9: tag '!!python/object"),
    "a Python name": ("model: {{name: !!python/name:os.system }}\n", r"line 9: tag '!!python/name:os.system'"),
    "a tag of its own": ("model: !evil {{name: x}}\n", r"line 9: tag '!evil'"),
    "_target_": ("model:\n  _target_: os.system\n  _args_: ['touch {marker}']\n", r"line 10: '_target_'"),
    "other files": ("hydra: {{searchpath: ['pkg://antigravity']}}\n", r"line 9: 'searchpath'"),
    "the environment": (
        "model: {{revision: '${{oc.env:HF_TOKEN}}'}}\n",
        r"line 9: '\$\{oc\.env:HF_TOKEN\}' would look up",
    ),
    "an interpolated resolver": ("model: {{revision: '${{${{a}}:HF_TOKEN}}'}}\n", r"line 9: .* would look up"),
    "a million laughs": (LAUGHS, r"line \d+: more than 100,000 values"),
    "an alias of itself": ("texts: &loop {{a: *loop}}\n", r"line 9: \*loop refers to a value that contains it"),
    "deep lists": ("texts: " + "[" * 5000 + "]" * 5000 + "\n", rf"line 9: nested more than {DEEPEST} deep"),
    "deep maps": ("texts: " + "{{a: " * 5000 + "1" + "}}" * 5000 + "\n", rf"line 9: nested more than {DEEPEST} deep"),
    "a huge file": ("# " + "x" * LARGEST_FILE + "\n", r"mine\.yaml has 1,\d+,\d+ bytes; .* at most 1,000,000"),
    "no YAML": ("model: [\n", r"mine\.yaml is not YAML"),
    "control characters": ("model: {{revision: \x07}}\n", r"mine\.yaml is not YAML"),
}


@pytest.fixture
def conf(project, tmp_path):
    return shutil.copytree(project / "conf", tmp_path / "conf")


def refused(conf, *overrides, study="mine"):
    with pytest.raises(UserError) as caught:
        compose_runs(conf, study, overrides=overrides)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 600
    return message


def test_a_plain_study_is_taken(conf):
    (conf / "study" / "mine.yaml").write_text(STUDY)
    ((_, config),) = compose_runs(conf, "mine", overrides=["model.revision='v1'"])
    assert config.model.revision == "v1"


@pytest.mark.parametrize("content", HOSTILE)
def test_a_hostile_file_is_refused_at_its_line(conf, tmp_path, content, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_planted")
    text, message = HOSTILE[content]
    marker = tmp_path / "marker"
    (conf / "study" / "mine.yaml").write_text(STUDY + text.format(marker=marker))
    began = time.monotonic()
    error = refused(conf)
    assert time.monotonic() - began < 5
    assert re.search(message, error), error
    assert error.startswith("conf/study/mine.yaml")
    assert "hf_planted" not in error
    assert not marker.exists()
    with pytest.raises(UserError):  # which reads study files by itself
        published_studies(conf)


def test_a_byte_order_mark_is_named(conf):
    (conf / "study" / "mine.yaml").write_text("\ufeff" + STUDY, encoding="utf-8")
    assert refused(conf) == "conf/study/mine.yaml begins with a byte-order mark; save it as UTF-8 without one"


def test_files_of_any_group_are_looked_at(conf):
    (conf / "method" / "evil.yaml").write_text("name: evil\n_target_: os.system\n")
    with pytest.raises(UserError, match=r"^conf/method/evil\.yaml, line 2: '_target_'"):
        check_files(conf)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.revision=${oc.env:HF_TOKEN}", r"^model\.revision: .* would look up something outside"),
        ("model.revision='${oc.env:HF_TOKEN}'", r"^model\.revision: .* would look up something outside"),
        (r"model.revision=$\{oc.env\:HF_TOKEN\}", r"^override not understood|^model\.revision: .* would look up"),
        ("study.title={a: [x, '${oc.decode:1}']}", r"^study\.title\.a\[1\]: .* would look up"),
        ("+model._target_=os.system", r"^model\._target_: '_target_'"),
        ("+model.x={_target_: os.system}", r"^model\.x: '_target_'"),
        ("hydra.searchpath=[pkg://antigravity]", r"a setting of Hydra itself"),
        ("+hydra/launcher=basic", r"a setting of Hydra itself"),
        ("model.revision=" + "x" * 20_000, r"has 20,015 characters; at most 10,000"),
        ("model.revision=" + "[" * 4000 + "]" * 4000, r"nested more than"),
    ],
)
def test_a_hostile_override_is_refused_by_its_key(conf, override, message, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_planted")
    error = refused(conf, override, study="quickstart")
    assert re.search(message, error), error
    assert "hf_planted" not in error


def test_a_hostile_override_of_a_scale_is_refused(conf, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_planted")
    scales = '  scales:\n    small: ["model.revision=$\\\\{oc.env\\\\:HF_TOKEN\\\\}"]\n'
    (conf / "study" / "mine.yaml").write_text(STUDY + scales)
    with pytest.raises(UserError) as caught:
        compose_runs(conf, "mine", "small")
    assert "hf_planted" not in str(caught.value)


def test_only_calls_are_resolvers():
    assert all(map(has_resolver, ["${oc.env:HOME}", "a ${b:c} d", "${${x}:y}", "${a.${oc.env:X}}"]))
    assert not any(map(has_resolver, ["${model.name}: x", "{source}: y", "a: ${b}", "${a}${b}:", "a}:b"]))


@pytest.mark.parametrize("study", ["../x", "a;b", "$(touch marker)", "a\x1b[31mb", "/etc/passwd", ""])
def test_a_study_is_named_by_name_alone(conf, study):
    assert re.match(r"unknown study '", refused(conf, study=study))


NAMES = ["a;b", "../x", "a/../b", "a b", "$(id)", "`id`", "-rf", ".hidden", "a..b", "x" * 97, "a\nb", "=1+1", "é"]


@pytest.mark.parametrize(
    ("key", "name"), [*(("method.name", name) for name in NAMES), ("data.name", "a;b"), ("study.baseline", "../x")]
)
def test_names_are_only_names(conf, key, name):
    quoted = name.replace("\\", "\\\\").replace("'", "\\'")
    (conf / "study" / "mine.yaml").write_text(STUDY.replace("method: [baseline]", "seed: [0]"))
    error = refused(conf, f"++{key}='{quoted}'")
    assert error.startswith(f"{key}: a name consists of ASCII letters, digits"), error


@pytest.mark.parametrize("group", ["task", "deploy", "texts"])
def test_what_runs_are_shown_by_are_names(conf, group):
    source = {"task": "stdlib", "deploy": "torch_fp32", "texts": "imdb"}[group]
    content = (conf / group / f"{source}.yaml").read_text()
    assert f"{source}:" in content
    (conf / group / "odd.yaml").write_text(content.replace(f"{source}:", "'a;b':"))
    (conf / "study" / "mine.yaml").write_text(STUDY)
    assert re.match(rf"{group}\.a;b: a name consists of ASCII letters", refused(conf, f"{group}=[odd]"))


@pytest.mark.parametrize("name", ["a/b/c", "../x", "a/..", "a b/c", "a;b", "owner/na$me", "owner/"])
def test_hub_ids_are_an_owner_and_a_name(conf, name):
    (conf / "study" / "mine.yaml").write_text(STUDY)
    error = refused(conf, "data=gooaq", f"data.name='{name}'")
    assert error.startswith("data.name: a hub id is OWNER/NAME"), error


def test_a_title_is_a_line(conf):
    (conf / "study" / "mine.yaml").write_text(STUDY.replace("title: Mine", 'title: "Mi\\e[31mne"'))
    assert refused(conf) == "study.title: it must be one line without control characters, not 'Mi\\x1b[31mne'"


def test_overrides_with_an_open_quote_are_one_line():
    from qatlab.plan.safe_files import split_overrides

    assert split_overrides("a=1 b='c d'") == ["a=1", "b=c d"]
    with pytest.raises(UserError, match='overrides "a=\'b": no closing quotation'):
        split_overrides("a='b")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a.b=[x, y] c=1", ["a.b=[x, y]", "c=1"]),
        ("a={b: 1, c: [2, 3]} d=[4,5]", ["a={b: 1, c: [2, 3]}", "d=[4,5]"]),
        ("+task.mine={source: local, path: 'my file.csv'}", ["+task.mine={source: local, path: my file.csv}"]),
        ("a=[x b=y]", ["a=[x", "b=y]"]),
        ("a=[x y", ["a=[x", "y"]),
        ("a=x) b=(y z)", ["a=x)", "b=(y z)"]),
    ],
)
def test_overrides_are_not_split_inside_brackets(text, parts):
    from qatlab.plan.safe_files import split_overrides

    assert split_overrides(text) == parts


@pytest.mark.parametrize(
    "value",
    ["a=1", "a='b c'", 'a="b c"', "a=\"'b (c), d'\"", "a='\"b c\"'", 'a="b\\"c"', "a='it' b='c d'", "", "a=b\\'c"],
)
def test_quotes_that_snakemake_strips_from_the_end_are_put_back(value):
    from snakemake.cli import parse_config

    from qatlab.plan.safe_files import split_overrides, with_closing_quotes

    arrived = parse_config([f"overrides={value}"])["overrides"] or ""
    assert split_overrides(with_closing_quotes(arrived)) == split_overrides(value)
    assert with_closing_quotes(value) == value
