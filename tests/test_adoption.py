"""Files by which others find, cite, run and change the project: they name only what exists, and agree with one another."""

import re
from pathlib import Path

import pytest
import yaml

import qatlab
from conftest import PROJECT
from qatlab.commands.init import PARTS

WORKFLOWS = sorted((PROJECT / ".github" / "workflows").glob("*.yml"))
DOCUMENTS = [
    "AGENTS.md",
    "CODE_OF_CONDUCT.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "config/README.md",
    "profiles/README.md",
    ".github/PULL_REQUEST_TEMPLATE.md",
]


def read(name):
    return (PROJECT / name).read_text(encoding="utf-8")


def targets():
    """Return the targets of the Makefile."""
    return set(re.findall(r"^([\w./-]+):(?!=)", read("Makefile"), re.MULTILINE))


def targets_in(text):
    """Return the targets of commands `make [OPTION] TARGET… [VARIABLE=VALUE]`, at the start of lines or after other commands."""
    commands = re.findall(r"(?:^|[`\"]|run: |RUN |qatlab )make((?:[ \t]+[\w./=+-]+)+)", text, re.MULTILINE)
    return {word for command in commands for word in command.split() if "=" not in word and not word.startswith("-")}


def code_in(document):
    """Return the blocks and spans of code of a Markdown document, without its prose."""
    return "\n".join(part.strip("`") for part in re.findall(r"```.*?```|`[^`]+`", document, re.DOTALL))


def test_the_targets_of_commands_are_recognized():
    text = "make a branch\n- run: make lint PYTHON=python\n"
    assert targets_in(text) == {"a", "branch", "lint"}
    document = "make a branch, `make test` and\n```bash\nmake .venv/.dev   # comment\n```\n"
    assert targets_in(code_in(document)) == {"test", ".venv/.dev"}
    assert {"lint", "test", "test-all", "study", ".venv/.installed"} <= targets()
    assert "STUDY" not in targets()


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_of_github_names_what_exists(path):
    text = path.read_text(encoding="utf-8")
    workflow = yaml.safe_load(text)
    assert targets_in(text) <= targets()
    assert workflow["permissions"] == {}
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 120
        assert job["permissions"]
        for step in job["steps"]:
            assert bool(step.get("run")) != bool(step.get("uses"))
            for script in re.findall(r"bash (\S+)", step.get("run", "")):
                assert (PROJECT / script).is_file()
    assert set(re.findall(r"--file (\S+)", text)) <= {"Containerfile"}


def test_the_pages_of_the_documentation_are_where_the_makefile_writes_them():
    build = yaml.safe_load(read(".github/workflows/docs.yml"))["jobs"]["build"]["steps"]
    (path,) = {step["with"]["path"] for step in build if "path" in step.get("with", {})}
    assert f" {path}/index.html\n" in read("Makefile")  # in the description of the target


def test_actions_are_pinned_by_commit_with_one_version_each():
    lines = [line for path in WORKFLOWS for line in path.read_text().splitlines() if "uses:" in line]
    pins = [re.fullmatch(r"\s*(?:- )?uses: (actions/[\w-]+)@([0-9a-f]{40}) # (v\d+\.\d+\.\d+)", line) for line in lines]
    assert all(pins), lines
    assert len({pin[1] for pin in pins}) == len({pin.groups() for pin in pins}) >= 4


def test_the_tests_run_on_every_version_of_python_that_is_supported():
    versions = yaml.safe_load(read(".github/workflows/ci.yml"))["jobs"]["test"]["strategy"]["matrix"]["python"]
    (least,) = re.findall(r'requires-python = ">=([\d.]+)"', read("pyproject.toml"))
    (chosen,) = re.findall(r"foreach v,([\d. ]+),", read("Makefile"))
    assert versions[0] == least
    assert versions == chosen.split()
    others = {version for path in WORKFLOWS for version in re.findall(r'python-version: "([\d.]+)"', path.read_text())}
    assert others <= set(versions)


def test_dependabot_watches_folders_that_exist():
    updates = yaml.safe_load(read(".github/dependabot.yml"))["updates"]
    assert {update["package-ecosystem"] for update in updates} == {"pip", "github-actions"}
    for update in updates:
        folder = PROJECT / update["directory"].lstrip("/")
        pattern = ".github/workflows/*.yml" if update["package-ecosystem"] == "github-actions" else "requirements.txt"
        assert list(folder.glob(pattern))


@pytest.mark.parametrize("name", ["bug", "question"])
def test_a_form_for_issues_can_be_filled_in(name):
    form = yaml.safe_load(read(f".github/ISSUE_TEMPLATE/{name}.yml"))
    fields = [item for item in form["body"] if item["type"] != "markdown"]
    assert form["name"]
    assert form["description"]
    assert len({field["id"] for field in fields}) == len(fields) >= 2
    assert all(field["attributes"]["label"] for field in fields)
    assert any(field.get("validations", {}).get("required") for field in fields)


def test_the_workflow_is_one_of_standardized_usage_in_the_catalogue_of_snakemake():
    usage = yaml.safe_load(read(".snakemake-workflow-catalog.yml"))["usage"]
    assert usage["report"] is True
    assert usage["software-stack-deployment"].pop("report") is True
    assert set(usage["software-stack-deployment"]) == {"conda", "apptainer", "apptainer+conda"}
    assert {"desc", "flags"} == set(usage["mandatory-flags"])
    for name in ("workflow/Snakefile", "config/README.md", "config/config.yaml"):
        assert (PROJECT / name).is_file()
    assert {path.suffix for path in (PROJECT / "workflow" / "rules").iterdir()} == {".smk"}
    assert "snakemake" in read("README.md").lower()
    assert "workflow" in read("README.md").lower()


def test_the_keys_of_the_workflow_are_described():
    rules = read("workflow/rules/common.smk")
    (listed,) = re.findall(r'- \{("study", [^}]*)\}', rules)
    keys = re.findall(r'"(\w+)"', listed)
    assert re.search(rf"--config takes {', '.join(keys[:-1])} and {keys[-1]}, not", rules)
    table = re.findall(r"^\| (`.*?) \|", read("config/README.md"), re.MULTILINE)
    assert [key for row in table for key in re.findall(r"`(\w+)`", row)] == keys
    assert yaml.safe_load(read("config/config.yaml")) == {"study": "quickstart"}
    commented = "\n".join(line.removeprefix("# ") for line in read("config/config.yaml").splitlines())
    assert set(re.findall(r"^(\w+): ", commented, re.MULTILINE)) < set(keys)


def test_each_profile_is_described():
    profiles = {path.parent.name for path in (PROJECT / "profiles").glob("*/config.yaml")}
    assert set(re.findall(r"^\| `(\w+)` \|", read("profiles/README.md"), re.MULTILINE)) == profiles


def test_the_citation_is_complete_and_of_this_version():
    citation = yaml.safe_load(read("CITATION.cff"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["cff-version"] == "1.2.0"
    assert all(author.get("name") or author.get("family-names") for author in citation["authors"])
    assert citation["version"] == qatlab.__version__
    assert f'license = "{citation["license"]}"' in read("pyproject.toml")
    assert f"\n## {qatlab.__version__}" in read("CHANGELOG.md")


def test_the_image_is_built_from_the_lock_and_runs_a_study_without_root():
    lines = [line.split() for line in read("Containerfile").splitlines() if line and line[0].isupper()]
    instructions = [words[0] for words in lines]
    assert instructions[0] == "FROM"
    assert lines[instructions.index("USER")][1].split(":")[0].isdigit()
    assert instructions.count("USER") == 1
    assert instructions.index("USER") < instructions.index("COPY")
    assert targets_in(read("Containerfile")) >= {".venv/.installed", "study"}
    assert targets_in(read("Containerfile").replace('"make", "', '"make ')) <= targets()
    ignored = [line for line in read(".dockerignore").splitlines() if not line.startswith("#")]
    installed = ("Makefile", "pyproject.toml", "setup.py", "README.md", "LICENSE")  # besides what `qatlab init` writes
    for part in (*PARTS, *installed):
        assert part.split("/")[0] not in ignored
    assert "!results/published" in ignored
    assert {".git", ".venv*"} <= set(ignored)


def test_the_summary_for_assistants_is_short_and_names_what_exists():
    text = read("AGENTS.md")
    assert len(text.splitlines()) <= 80
    for row in re.findall(r"^\| (`.*?) \|", text, re.MULTILINE):
        (first, *others) = re.findall(r"`([^`]+)`", row)
        assert (PROJECT / first).exists(), first
        for name in others:
            assert any((folder / name).exists() for folder in (PROJECT, (PROJECT / first).parent)), name
    for file, word in re.findall(r"pytest (\S+)(?: -k (\w+))?", text):
        assert f"{word}" in "".join(re.findall(r"^def (test_\w+)", read(file), re.MULTILINE))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_names_targets_and_files_that_exist(name):
    text = read(name)
    assert targets_in(code_in(text)) <= targets()
    for link in re.findall(r"\]\(([^)]+)\)", text):
        if "://" not in link:
            assert ((PROJECT / name).parent / link.partition("#")[0]).exists(), link
    for path in re.findall(r"`((?:\.ci|\.github|conf|config|docs|envs|profiles|tests|workflow)/[\w./-]+)`", text):
        if "NAME" in path:
            path = str(Path(path).parent)
        folders = (PROJECT, (PROJECT / name).parent, PROJECT / "workflow" / "qatlab")  # the last in the file map
        assert any((folder / path).exists() for folder in folders), path
