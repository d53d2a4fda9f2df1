"""The environments agree with one another, and name no address."""

import os
import re
import subprocess
import tomllib

import pytest
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
    for name, packages in (
        ("requirements.txt", 50),
        ("dev.txt", 20),
        ("oldest.txt", 20),
        ("audit.txt", 20),
        ("uv.txt", 1),
    ):
        text = (PROJECT / "envs" / name).read_text()
        assert "://" not in text
        # Each an exact version, and hashes until the next.
        entries = re.split(r"\n(?=\S)", text.strip())
        assert len(entries) >= packages
        whole = r"[\w.-]+==[\w.+!-]+( ; [^\\\n]+)?( \\\n    --hash=sha256:[0-9a-f]{64})+"
        assert not [entry for entry in entries if not re.fullmatch(whole, entry)]


def test_only_torch_has_no_hash():
    """One version of it has several files."""
    files = {path.name for path in (PROJECT / "envs").glob("*.txt")}
    assert files == {"requirements.txt", "dev.txt", "oldest.txt", "audit.txt", "uv.txt", "torch.txt", "constraints.txt"}
    assert set(read("torch.txt")) == {"torch"}
    makefile = (PROJECT / "Makefile").read_text()
    installed = re.findall(r"^\t@sh envs/install.sh (\S+) envs/(\S+)$", makefile, re.MULTILINE)
    locks = [
        (".venv", "requirements.txt"),
        (".venv", "dev.txt"),
        (".venv-oldest", "oldest.txt"),
        (".venv-audit", "audit.txt"),
    ]
    assert installed == locks


@pytest.mark.parametrize("uv_works", [True, False])
@pytest.mark.parametrize("settings", [{}, {"PIP_NO_INDEX": "1"}, {"PIP_INDEX_URL": "file:///mirror"}])
def test_whoever_installs_a_lock_requires_its_hashes(tmp_path, uv_works, settings):
    """The commands of the environment record their arguments instead of installing anything."""
    for name, code in (("python", 0), ("uv", 0 if uv_works else 1)):
        command = tmp_path / "bin" / name
        command.parent.mkdir(exist_ok=True)
        command.write_text(f'#!/bin/sh\necho "{name} $* index=$UV_DEFAULT_INDEX" >> {tmp_path}/calls\nexit {code}\n')
        command.chmod(0o755)
    environment = {"PATH": os.environ["PATH"], **settings}
    subprocess.run(["sh", "envs/install.sh", tmp_path, "envs/dev.txt"], cwd=PROJECT, env=environment, check=True)
    calls = [call for call in (tmp_path / "calls").read_text().splitlines() if " config get " not in call]
    assert all("--require-hashes" in call for call in calls)
    tries_uv = "PIP_NO_INDEX" not in settings
    installers = ["python", "uv"] * tries_uv + ["python"] * (not (tries_uv and uv_works))
    assert [call.split()[0] for call in calls] == installers
    assert "-r envs/dev.txt" in calls[-1]
    assert "--no-deps" in calls[-1]
    assert calls[-1].endswith(f"index={settings.get('PIP_INDEX_URL', '')}")
