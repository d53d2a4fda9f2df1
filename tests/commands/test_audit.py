"""make audit: the real pip-audit against a database on loopback that implements OSV's protocol, and the decisions on its results."""

import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from conftest import PROJECT
from qatlab.commands.audit import Decision, Vulnerability, applies, main, read_decisions, version_sets, vulnerabilities
from qatlab.errors import UserError

LOCK = """\
# a comment
numpy==2.2.0 ; python_full_version < '3.12' \\
    --hash=sha256:0
numpy==2.4.0 ; python_full_version >= '3.12' \\
    --hash=sha256:0
typing-extensions==4.16.0
colorama==0.4.6 ; sys_platform == 'win32' \\
    --hash=sha256:0
"""


class Database(BaseHTTPRequestHandler):
    """numpy 2.2.0 has one vulnerability, colorama another; see https://google.github.io/osv.dev/post-v1-query/."""

    KNOWN = {
        ("numpy", "2.2.0"): ("GHSA-aaaa-bbbb-cccc", "CVE-2099-1"),
        ("colorama", "0.4.6"): ("PYSEC-2099-2", "CVE-2099-2"),
    }

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name, version = request["package"]["name"], request["version"]
        assert request["package"]["ecosystem"] == "PyPI"
        self.server.requests.append((name, version))
        answer = {}
        if (name, version) in self.KNOWN:
            own, alias = self.KNOWN[name, version]
            ranges = [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2.3.1"}]}]
            affected = {"package": {"name": name, "ecosystem": "PyPI"}, "ranges": ranges, "versions": [version]}
            answer = {
                "vulns": [{"id": own, "aliases": [alias], "summary": "s", "details": "d", "affected": [affected]}]
            }
        body = json.dumps(answer).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words):
        pass


@pytest.fixture
def database():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Database)
    server.requests, server.status = [], 200
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="session")
def pip_audit():
    """As make audit installs it."""
    result = subprocess.run(
        ["make", f"PYTHON={sys.executable}", ".venv-audit/.installed"], cwd=PROJECT, capture_output=True, text=True
    )
    if result.returncode:
        pytest.skip(f"pip-audit cannot be installed here: {result.stderr.strip().splitlines()[-1]}")
    return PROJECT / ".venv-audit" / "bin" / "pip-audit"


@pytest.fixture
def audit(database, pip_audit, tmp_path, capsys):
    """Audits LOCK; returns the exit code and what was printed."""
    (tmp_path / "lock.txt").write_text(LOCK)

    def run(decisions=""):
        (tmp_path / "audit.yaml").write_text(decisions)
        words = ["--pip-audit", pip_audit, "--locks", tmp_path / "lock.txt", "--decisions", tmp_path / "audit.yaml"]
        code = main([*map(str, words), "--osv-url", f"http://127.0.0.1:{database.server_port}/v1/query"])
        return code, capsys.readouterr().out.splitlines()

    return run


@pytest.mark.slow(18)
def test_a_known_vulnerability_without_a_decision_fails(audit, database):
    code, lines = audit()
    assert code == 1
    assert lines[0] == "4 versions looked up, 2 known vulnerabilities"
    assert {line.strip() for line in lines[1:]} >= {
        "numpy 2.2.0: CVE-2099-1, GHSA-aaaa-bbbb-cccc (fixed in: 2.3.1)",
        "colorama 0.4.6: PYSEC-2099-2, CVE-2099-2 (fixed in: 2.3.1)",
    }
    assert sum("NOT DECIDED: update it, or write the reason not to into" in line for line in lines) == 2
    # Versions for other Pythons and platforms too.
    everything = [("colorama", "0.4.6"), ("numpy", "2.2.0"), ("numpy", "2.4.0"), ("typing-extensions", "4.16.0")]
    assert sorted(database.requests) == everything


@pytest.mark.slow(2)
def test_a_vulnerability_with_a_decision_is_listed_and_passes(audit):
    decisions = """
- {id: CVE-2099-1, package: NumPy, decision: never called here}
- {id: PYSEC-2099-2, package: colorama, decision: Windows is not supported}
- {id: CVE-2098-9, package: torch, decision: waited for 2.12}
"""
    code, lines = audit(decisions)
    assert code == 0
    assert "    never called here" in lines
    assert "    Windows is not supported" in lines
    assert lines[-1].startswith("  CVE-2098-9 of torch: no longer in the lock; remove it from ")
    assert not [line for line in lines if "NOT DECIDED" in line]


@pytest.mark.slow(1)
def test_a_database_that_is_out_of_reach_or_broken_is_one_line(audit, database):
    database.status = 503
    with pytest.raises(UserError, match=r"^known vulnerabilities cannot be looked up at http.* \(") as caught:
        audit()
    assert "\n" not in str(caught.value)


@pytest.mark.slow(3)
def test_a_missing_network_is_one_line(pip_audit, tmp_path):
    (tmp_path / "lock.txt").write_text(LOCK)
    words = ["--pip-audit", pip_audit, "--locks", tmp_path / "lock.txt", "--osv-url", "http://127.0.0.1:9/v1/query"]
    result = subprocess.run(
        [sys.executable, "-m", "qatlab", "audit", *words], cwd=PROJECT, capture_output=True, text=True
    )
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("qatlab: known vulnerabilities cannot be looked up at http://127.0.0.1:9/v1/query (")
    assert not result.stdout


def test_a_missing_program_is_one_line(tmp_path):
    (tmp_path / "lock.txt").write_text(LOCK)
    with pytest.raises(UserError, match="'nowhere' is not installed; make audit installs it"):
        main(["--pip-audit", "nowhere", "--locks", str(tmp_path / "lock.txt")])


def test_versions_left_out_do_not_pass_as_harmless():
    """The report of pip-audit for a package that it could not find."""
    skipped = {"dependencies": [{"name": "numpy", "skip_reason": "Dependency not found"}], "fixes": []}
    with pytest.raises(UserError, match=r"1 of 1 packages could not be looked up, such as numpy"):
        vulnerabilities(skipped, {"numpy": "2.2.0"})


def test_a_decision_is_about_one_package():
    vulnerability = Vulnerability("ruamel.yaml", "1", ("GHSA-1", "CVE-1"), ())
    assert applies(Decision(id="CVE-1", package="ruamel_yaml", decision="x"), vulnerability)
    assert not applies(Decision(id="CVE-1", package="pyyaml", decision="x"), vulnerability)
    assert not applies(Decision(id="CVE-2", package="ruamel.yaml", decision="x"), vulnerability)


@pytest.mark.parametrize("text", ["- {id: CVE-1}", "id: CVE-1", "- {id: CVE-1, package: a, decision: ''}"])
def test_a_decision_without_a_reason_is_one_line(tmp_path, text):
    (tmp_path / "audit.yaml").write_text(text)
    with pytest.raises(UserError, match=r"audit\.yaml: ") as caught:
        read_decisions(tmp_path / "audit.yaml")
    assert "\n" not in str(caught.value)


def test_the_projects_own_lock_is_read_completely():
    read_decisions(PROJECT / "envs" / "audit.yaml")
    texts = [
        (PROJECT / "envs" / name).read_text()
        for name in ("requirements.txt", "torch.txt", "dev.txt", "audit.txt", "uv.txt")
    ]
    lines = [line for text in texts for line in text.splitlines()]
    first, *others = version_sets(lines)
    pinned = {line.split("==")[0] for line in lines if "==" in line and not line.startswith((" ", "#"))}
    assert set(first) == pinned
    assert {"torch", "numpy", "pip-audit", "pytest"} <= set(first)
    assert all(set(other) < set(first) for other in others)
