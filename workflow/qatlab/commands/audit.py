"""audit: known vulnerabilities of the lock, and what is done about each. Asks OSV through pip-audit; fails for what is not decided.

Every version in the lock is asked for, those for other platforms and Pythons too.
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

from qatlab.base import FullLine, Name, Strict
from qatlab.config.mistakes import describe
from qatlab.errors import UserError, printable

LOCKS = [Path("envs") / name for name in ("requirements.txt", "torch.txt", "dev.txt", "audit.txt")]
DECISIONS = Path("envs/audit.yaml")
PIN = re.compile(r"([A-Za-z0-9._-]+)==([^\s;\\]+)")
OSV = "https://api.osv.dev/v1/query"


class Decision(Strict):
    """What is done about a vulnerability that a version in the lock has."""

    id: FullLine = Field(description="CVE-…, GHSA-… or PYSEC-…, whichever of its names")
    package: Name
    decision: FullLine = Field(description="Why it does not matter here, or what is waited for")


class Vulnerability(NamedTuple):
    """One that is known of a version in the lock."""

    package: str
    version: str
    names: tuple[str, ...]
    fixed: tuple[str, ...]


def main(arguments: list[str]) -> int:
    """Prints every known vulnerability with its decision; 1 if one has none."""
    parser = argparse.ArgumentParser(prog="qatlab audit", description="List known vulnerabilities of the lock.")
    parser.add_argument("--pip-audit", default=".venv-audit/bin/pip-audit", help="the program (make audit installs it)")
    parser.add_argument("--locks", type=Path, nargs="+", default=LOCKS, help="files with name==version")
    parser.add_argument("--decisions", type=Path, default=DECISIONS)
    parser.add_argument("--osv-url", default=OSV, help="of the database that is asked, or of a mirror of it")
    options = parser.parse_args(arguments)
    decisions = read_decisions(options.decisions)
    found: list[Vulnerability] = []
    sets = version_sets(line for lock in options.locks for line in lock.read_text(encoding="utf-8").splitlines())
    for versions in sets:
        found += look_up(versions, options.pip_audit, options.osv_url)
    print(f"{sum(map(len, sets))} versions looked up, {len(found)} known vulnerabilities")
    undecided = 0
    for each in found:
        decision = decision_on(each, decisions)
        undecided += decision is None
        print(
            f"  {each.package} {each.version}: {', '.join(each.names)} (fixed in: {', '.join(each.fixed) or 'nothing yet'})"
        )
        print(
            f"    {decision.decision if decision else f'NOT DECIDED: update it, or write into {options.decisions} why not'}"
        )
    for decision in decisions:
        if not any(applies(decision, each) for each in found):
            print(f"  {decision.id} of {decision.package}: no longer in the lock; remove it from {options.decisions}")
    return int(undecided > 0)


def read_decisions(path: Path) -> list[Decision]:
    """The decisions of a YAML file; raises UserError for one that is not such a list."""
    values = yaml.safe_load(path.read_text(encoding="utf-8")) or []
    try:
        return TypeAdapter(list[Decision]).validate_python(values)
    except ValidationError as error:
        raise UserError(f"{path}: {describe(error, Decision, values)}") from None


def version_sets(lines: Iterable[str]) -> list[dict[str, str]]:
    """Versions by name. A package that has several, for different platforms, has the others in the sets after the first."""
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
    """What is known of versions; raises UserError where the database cannot be asked about all of them."""
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
        last = (result.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise UserError(f"known vulnerabilities cannot be looked up at {osv_url} ({printable(last)[:160]})") from None
    return vulnerabilities(report, versions)


def vulnerabilities(report: dict[str, Any], versions: dict[str, str]) -> list[Vulnerability]:
    """Those of a report of pip-audit's; raises UserError for versions that it left out, which would pass as harmless."""
    answered = {_normal(entry["name"]): entry for entry in report["dependencies"] if "vulns" in entry}
    missing = [name for name in versions if _normal(name) not in answered]
    if missing:
        raise UserError(f"{len(missing)} of {len(versions)} packages could not be looked up, such as {missing[0]}")
    return [
        Vulnerability(entry["name"], entry["version"], (found["id"], *found["aliases"]), tuple(found["fix_versions"]))
        for entry in answered.values()
        for found in entry["vulns"]
    ]


def decision_on(found: Vulnerability, decisions: Iterable[Decision]) -> Decision | None:
    """What is done about it, if anything was decided."""
    return next((decision for decision in decisions if applies(decision, found)), None)


def applies(decision: Decision, found: Vulnerability) -> bool:
    """Whether a decision is about a vulnerability, under whichever of its names."""
    return _normal(decision.package) == _normal(found.package) and decision.id in found.names


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
