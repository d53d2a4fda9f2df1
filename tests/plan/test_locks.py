"""A killed workflow's locks are cleared; those of one that runs are not."""

import signal
import subprocess
import sys

import pytest

HOLDER = """
import sys, time
from pathlib import Path
from qatlab.plan.workflow import clear_stale_locks
print(clear_stale_locks(Path(sys.argv[1])), flush=True)
time.sleep(60)
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "locks").mkdir()
    (tmp_path / "locks" / "0.output.lock").write_text("results/train/x\n")
    return tmp_path


def start(folder):
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(folder)], text=True, stdout=subprocess.PIPE)
    return process, process.stdout.readline().strip()


def locks(folder):
    return [path.name for path in (folder / "locks").iterdir()]


def test_locks_without_a_process_are_cleared_once(folder):
    first, cleared = start(folder)
    try:
        assert cleared == "True"
        assert locks(folder) == []
    finally:
        first.kill()
        first.wait()


@pytest.mark.parametrize("kill_with", [signal.SIGKILL, signal.SIGTERM])
def test_locks_of_a_running_workflow_stay_until_it_is_killed(folder, kill_with):
    first, _ = start(folder)
    (folder / "locks" / "0.output.lock").write_text("results/train/x\n")  # as Snakemake does once it is started
    second, cleared = start(folder)
    assert cleared == "False"
    assert locks(folder) == ["0.output.lock"]
    second.kill()
    second.wait()
    third, cleared = start(folder)
    assert cleared == "False"
    for process in (first, third):
        process.send_signal(kill_with)
        process.wait()
    fourth, cleared = start(folder)
    fourth.kill()
    fourth.wait()
    assert cleared == "True"
    assert locks(folder) == []


def test_a_first_workflow_finds_no_locks(tmp_path):
    process, cleared = start(tmp_path / ".snakemake")
    process.kill()
    process.wait()
    assert cleared == "False"
