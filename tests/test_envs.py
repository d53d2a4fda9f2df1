"""The environments agree with one another, and name no address."""

import re
import tomllib

import yaml
from packaging.requirements import Requirement

from conftest import PROJECT

PYTHON = {"python_version": "3.11", "python_full_version": "3.11.9"}  # pinned in envs/qatlab.yaml


def pins(lines):
    """Name → version of each pinned requirement that applies to PYTHON."""
    versions = {}
    for line in lines:
        text = re.sub(r"\s*\\?$", "", line)
        if "==" in text and not text.startswith((" ", "#")):
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate(PYTHON):
                versions[requirement.name.lower()] = str(requirement.specifier).removeprefix("==")
    return versions


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
    extras = project["optional-dependencies"]
    lines = [*project["dependencies"], *extras["workflow"], *extras["onnx"]]
    needed = {Requirement(line).name.lower() for line in lines}
    assert {name for name in needed if not name.startswith(("snakemake", "qatlab"))} == set(pins(conda))


def test_locks_have_hashes_and_no_addresses():
    for name in ("requirements.txt", "dev.txt", "oldest.txt", "audit.txt"):
        text = (PROJECT / "envs" / name).read_text()
        assert "://" not in text
        # Each an exact version, and hashes until the next.
        entries = re.split(r"\n(?=\S)", text.strip())
        assert len(entries) > 20
        whole = r"[\w.-]+==[\w.+!-]+( ; [^\\\n]+)?( \\\n    --hash=sha256:[0-9a-f]{64})+"
        assert not [entry for entry in entries if not re.fullmatch(whole, entry)]


def test_only_torch_has_no_hash():
    """One version of it has several files."""
    files = {path.name for path in (PROJECT / "envs").glob("*.txt")}
    assert files == {"requirements.txt", "dev.txt", "oldest.txt", "audit.txt", "torch.txt", "constraints.txt"}
    assert set(read("torch.txt")) == {"torch"}
    makefile = (PROJECT / "Makefile").read_text()
    assert makefile.count("--require-hashes -r envs/") == 4
