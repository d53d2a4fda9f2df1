"""The environments agree with one another, and name no address."""

import re
import tomllib

import yaml
from packaging.requirements import Requirement

from conftest import PROJECT

PYTHON = {"python_version": "3.11", "python_full_version": "3.11.9"}  # of envs/qatlab.yaml


def pins(lines):
    """Name → version of each pinned requirement that applies to PYTHON."""
    found = {}
    for line in lines:
        text = re.sub(r"\s*\\?$", "", line)
        if "==" in text and not text.startswith((" ", "#")):
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate(PYTHON):
                found[requirement.name.lower()] = str(requirement.specifier).removeprefix("==")
    return found


def read(name):
    return pins((PROJECT / "envs" / name).read_text().splitlines())


def test_one_version_everywhere():
    lock = read("requirements.txt") | read("torch.txt")
    conda = yaml.safe_load((PROJECT / "envs/qatlab.yaml").read_text())["dependencies"][-1]["pip"]
    for other in (pins(conda), read("constraints.txt")):
        assert len(other) >= 12
        assert {name: lock[name] for name in other} == other
    dev = read("dev.txt")
    assert {name: dev[name] for name in lock if name != "torch"} == {n: v for n, v in lock.items() if n != "torch"}


def test_jobs_have_all_that_they_import():
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    conda = yaml.safe_load((PROJECT / "envs/qatlab.yaml").read_text())["dependencies"][-1]["pip"]
    needed = {Requirement(line).name.lower() for line in project["dependencies"]}
    assert {name for name in needed if not name.startswith("snakemake")} == set(pins(conda))


def test_locks_have_hashes_and_no_addresses():
    for name in ("requirements.txt", "dev.txt"):
        text = (PROJECT / "envs" / name).read_text()
        assert "://" not in text
        assert not [line for line in text.splitlines() if "==" in line and not line.endswith("\\")]
