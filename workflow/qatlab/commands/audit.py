"""Command audit: list known vulnerabilities of the locked packages with the decision on each, and fail if one has no decision.

It queries OSV through pip-audit for every version in the lock files, including those for other platforms and Python versions.
"""

import argparse
import json
import re
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic import Field, TypeAdapter, ValidationError

from qatlab.errors import UserError, printable
from qatlab.plan.compose import describe
from qatlab.registry import FullLine, Name, Strict

LOCKS = [Path("envs") / name for name in ("requirements.txt", "torch.txt", "dev.txt", "audit.txt", "uv.txt")]
DECISIONS = Path("envs/audit.yaml")
PIN = re.compile(r"([A-Za-z0-9._-]+)==([^\s;\\]+)")
OSV = "https://api.osv.dev/v1/query"


class Decision(Strict):
    """Decision on a known vulnerability of a locked version."""

    id: FullLine = Field(description="Any name of the vulnerability: CVE-…, GHSA-… or PYSEC-….")
    package: Name = Field(description="Name of the package.")
    decision: FullLine = Field(description="Why the vulnerability does not matter here, or which release will fix it.")


class Vulnerability(NamedTuple):
    """Known vulnerability of a locked version."""

    package: str
    version: str
    names: tuple[str, ...]
    fixed: tuple[str, ...]


def main(arguments: list[str]) -> int:
    """Print every known vulnerability with its decision, and return 1 if one has no decision, else 0."""
    parser = argparse.ArgumentParser(prog="qatlab audit", description="List known vulnerabilities of the lock.")
    parser.add_argument(
        "--pip-audit", default=".venv-audit/bin/pip-audit", help="path of pip-audit (make audit installs it)"
    )
    parser.add_argument("--locks", type=Path, nargs="+", default=LOCKS, help="lock files with lines name==version")
    parser.add_argument("--decisions", type=Path, default=DECISIONS, help="YAML file of decisions")
    parser.add_argument("--osv-url", default=OSV, help="address of the vulnerability database or a mirror")
    options = parser.parse_args(arguments)
    decisions = read_decisions(options.decisions)
    known: list[Vulnerability] = []
    sets = version_sets(line for lock in options.locks for line in lock.read_text(encoding="utf-8").splitlines())
    for versions in sets:
        known += look_up(versions, options.pip_audit, options.osv_url)
    print(f"{sum(map(len, sets))} versions looked up, {len(known)} known vulnerabilities")
    undecided = 0
    for vulnerability in known:
        decision = decision_on(vulnerability, decisions)
        undecided += decision is None
        print(
            f"  {vulnerability.package} {vulnerability.version}: {', '.join(vulnerability.names)} "
            f"(fixed in: {', '.join(vulnerability.fixed) or 'no version yet'})"
        )
        print(
            f"    {decision.decision if decision else f'NOT DECIDED: update it, or write the reason not to into {options.decisions}'}"
        )
    for decision in decisions:
        if not any(applies(decision, vulnerability) for vulnerability in known):
            print(f"  {decision.id} of {decision.package}: no longer in the lock; remove it from {options.decisions}")
    return int(undecided > 0)


def read_decisions(path: Path) -> list[Decision]:
    """Return the decisions of a YAML file; raise a UserError if it is not a list of decisions."""
    values = yaml.safe_load(path.read_text(encoding="utf-8")) or []
    try:
        return TypeAdapter(list[Decision]).validate_python(values)
    except ValidationError as error:
        raise UserError(f"{path}: {describe(error, Decision, values)}") from None


def version_sets(lines: Iterable[str]) -> list[dict[str, str]]:
    """Return versions by package name; further versions of a package, for other platforms, are in further dictionaries."""
    sets: list[dict[str, str]] = []
    for line in lines:
        pinned = PIN.match(line)
        if not pinned or any(known.get(pinned[1]) == pinned[2] for known in sets):
            continue
        free = next((known for known in sets if pinned[1] not in known), None)
        if free is None:
            sets.append({pinned[1]: pinned[2]})
        else:
            free[pinned[1]] = pinned[2]
    return sets


def look_up(versions: dict[str, str], program: str, osv_url: str) -> list[Vulnerability]:
    """Look up the known vulnerabilities of versions.

    Args:
        versions: versions by package name.
        program: path of pip-audit.
        osv_url: address of the vulnerability database.

    Raises:
        UserError: if pip-audit is not installed, or the database does not answer for all packages.
    """
    with tempfile.TemporaryDirectory() as folder:
        pins = Path(folder) / "pins.txt"
        pins.write_text("".join(f"{name}=={version}\n" for name, version in versions.items()), encoding="utf-8")
        command = [program, "--requirement", str(pins), "--no-deps", "--disable-pip", "--format", "json"]
        command += [
            "--vulnerability-service",
            "osv",
            "--osv-url",
            osv_url,
            "--progress-spinner",
            "off",
            "--desc",
            "off",
        ]
        try:
            result = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            raise UserError(f"'{program}' is not installed; make audit installs it") from None
    try:
        report = json.loads(result.stdout)
    except ValueError:
        last = (result.stderr.strip().splitlines() or ["no message"])[-1]
        raise UserError(f"known vulnerabilities cannot be looked up at {osv_url} ({printable(last)[:160]})") from None
    return vulnerabilities(report, versions)


def vulnerabilities(report: dict[str, Any], versions: dict[str, str]) -> list[Vulnerability]:
    """Return the vulnerabilities in a report of pip-audit; raise a UserError if it lacks a version, whose safety is then unknown."""
    answered = {_normal(entry["name"]): entry for entry in report["dependencies"] if "vulns" in entry}
    missing = [name for name in versions if _normal(name) not in answered]
    if missing:
        raise UserError(f"{len(missing)} of {len(versions)} packages could not be looked up, such as {missing[0]}")
    return [
        Vulnerability(entry["name"], entry["version"], (known["id"], *known["aliases"]), tuple(known["fix_versions"]))
        for entry in answered.values()
        for known in entry["vulns"]
    ]


def decision_on(vulnerability: Vulnerability, decisions: Iterable[Decision]) -> Decision | None:
    """Return the decision on a vulnerability, or None."""
    return next((decision for decision in decisions if applies(decision, vulnerability)), None)


def applies(decision: Decision, vulnerability: Vulnerability) -> bool:
    """Return whether a decision is about a vulnerability, by any of its names."""
    return _normal(decision.package) == _normal(vulnerability.package) and decision.id in vulnerability.names


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
