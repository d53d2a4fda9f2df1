"""Jobs in forked processes: for the person and for Snakemake, the same as jobs that run by themselves."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from conftest import PROJECT
from qatlab import fork_server
from qatlab.fork_server import ADDRESS

# A server of which a job is Python code; one that begins with "refuse" makes preparing fail.
SERVER = """
import numpy, socket, sys
from qatlab.fork_server import ForkServer

def run(arguments):
    scope = {"code": 0}
    exec(arguments[0], scope)
    return scope["code"]

def prepare(arguments):
    if arguments[0].startswith("refuse"):
        raise ImportError("as if a library were broken")

def in_advance():
    global steps
    for steps in range(1, 4):
        yield

steps = 0
ForkServer(socket.socket(fileno=int(sys.argv[1])), run, prepare, in_advance()).serve()
print("served", flush=True)
"""
JOB = """
import signal, sys
from qatlab import fork_server
signal.signal(signal.SIGINT, signal.default_int_handler)  # it is ignored where tests run in the background
{before}
code = fork_server.run_in_server(sys.argv[1:])
sys.exit(99 if code is None else code)
"""
ALONE = 99  # exit code of a job that had to run by itself
WAITING = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
SECONDS = 30  # that anything here may take


@pytest.fixture
def server(tmp_path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        process = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(listener.fileno())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(PROJECT / "workflow"), "PYTHONUNBUFFERED": ""},
            pass_fds=[listener.fileno()],
            start_new_session=True,
            text=True,
        )
    process.address = tmp_path / "s"
    yield process
    process.kill()
    process.communicate()


def begin(address: Path, code: str, before: str = "", **options) -> subprocess.Popen[str]:
    more = options.pop("environment", {})
    return subprocess.Popen(
        [sys.executable, "-c", JOB.format(before=before), code],
        env={**os.environ, "PYTHONPATH": str(PROJECT / "workflow"), **more, ADDRESS: str(address)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def run(*arguments, **options) -> tuple[int, str, str]:
    job = begin(*arguments, **options)
    printed, error = job.communicate(timeout=SECONDS)
    return job.returncode, printed, error


def ends(pid: int) -> bool:
    """Return whether a process ends within SECONDS; one that nobody has waited for is a zombie then."""
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False


def test_a_job_has_its_own_streams_folder_environment_and_exit_code(server, tmp_path):
    code = (
        "import os, sys; print(os.getcwd(), os.environ['COLOUR'], os.environ.get('QATLAB_FORK_SERVER'));"
        "print(input(), os.getppid(), file=sys.stderr); code = 3"
    )
    job = begin(server.address, code, cwd=tmp_path, environment={"COLOUR": "blue"}, stdin=subprocess.PIPE)
    printed, error = job.communicate("typed\n", timeout=SECONDS)
    assert (job.returncode, printed) == (3, f"{tmp_path} blue None\n")
    assert error == f"typed {server.pid}\n"


def test_jobs_run_beside_one_another(server):
    jobs = [begin(server.address, "import time; time.sleep(1)") for _ in range(6)]
    began = time.monotonic()
    assert [job.wait(SECONDS) for job in jobs] == [0] * 6
    assert time.monotonic() - began < 5
    for job in jobs:
        job.communicate()


def test_while_no_job_waits_the_server_takes_its_steps_in_advance(server):
    until, printed = time.monotonic() + SECONDS, ""
    while printed != "3\n" and time.monotonic() < until:  # the first job may come before the last step
        _, printed, _ = run(server.address, "import __main__; print(__main__.steps)")
    assert printed == "3\n"


def test_steps_in_advance_import_what_jobs_with_torch_need_last():
    code = (
        "import sys; from qatlab import fork_server; steps = fork_server.preload_in_advance()\n"
        "for _ in fork_server.PRELOADED: next(steps)\n"
        "assert 'pandas' in sys.modules and 'torch' not in sys.modules\n"
        "next(steps)\nassert 'torch' in sys.modules and 'transformers' not in sys.modules"
    )
    subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(PROJECT / "workflow")}, check=True
    )


def test_an_error_of_a_job_is_a_traceback_and_an_exit_code(server):
    code, _, error = run(server.address, "raise OSError('no such luck')")
    assert code == 1
    assert error.endswith("OSError: no such luck\n")
    assert run(server.address, "import sys; sys.exit(5)")[0] == 5


def test_exit_handlers_of_a_job_run(server):
    code = "import atexit; atexit.register(print, 'left in order'); print('unflushed', end=' ')"
    assert run(server.address, code) == (0, "unflushed left in order\n", "")


def test_threads_of_a_job_finish_and_what_c_has_printed_is_shown(server):
    code = (
        "import ctypes, threading, time; ctypes.CDLL(None).puts(b'printed in C');"
        "threading.Thread(target=lambda: (time.sleep(0.2), print('from a thread'))).start(); code = 3"
    )
    assert run(server.address, code) == (3, "from a thread\nprinted in C\n", "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_passed_on(server, number):
    code = (
        f"import signal, sys, time; signal.signal({int(number)}, lambda *_: (print('heard'), sys.exit(7)));"
        "print('ready', flush=True); time.sleep(60)"
    )
    job = begin(server.address, code)
    assert job.stdout.readline() == "ready\n"
    job.send_signal(number)
    assert job.communicate(timeout=SECONDS)[0] == "heard\n"
    assert job.returncode == 7


def test_a_signal_right_behind_the_request_is_passed_on(server, tmp_path):
    """A job may receive a signal before the server, busy with imports, has read its request."""
    request = {
        "arguments": ["import time; time.sleep(60)"],
        "environment": {},
        "folder": str(tmp_path),
        "installation": fork_server._installation(),
    }
    body = json.dumps(request).encode()
    with socket.socket(socket.AF_UNIX) as connection, Path(os.devnull).open("r+b") as nothing:
        connection.settimeout(SECONDS)
        connection.connect(str(server.address))
        socket.send_fds(connection, [fork_server.LENGTH.pack(len(body))], [nothing.fileno()] * 3)
        connection.sendall(body + bytes([signal.SIGTERM]))
        with connection.makefile() as answers:
            assert int(answers.readline()) > 0
            assert os.waitstatus_to_exitcode(int(answers.readline())) == -signal.SIGTERM


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_a_job_ends_as_its_process_did(server, number):
    assert run(server.address, f"import os; os.kill(os.getpid(), {int(number)})")[0] == -number


def test_a_killed_job_ends_its_process_and_no_other(server):
    one, other = begin(server.address, WAITING), begin(server.address, WAITING)
    ones, others = int(one.stdout.readline()), int(other.stdout.readline())
    one.kill()
    assert ends(ones)
    assert psutil.pid_exists(others)
    other.kill()
    assert ends(others)
    assert run(server.address, "code = 4")[0] == 4
    for job in (one, other):
        job.communicate()


def test_with_a_killed_server_a_job_fails_and_its_process_ends(server):
    job = begin(server.address, WAITING)
    process = int(job.stdout.readline())
    server.kill()
    job.communicate(timeout=SECONDS)
    assert job.returncode == 1
    assert ends(process)


def test_a_server_that_is_killed_with_a_signal_unread_is_no_traceback(server):
    """As when all processes are terminated at once: the server ends before it has read the signal that the job passed on."""
    job = begin(server.address, WAITING)
    process = int(job.stdout.readline())
    server.send_signal(signal.SIGSTOP)
    job.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    server.kill()
    _, errors = job.communicate(timeout=SECONDS)
    assert job.returncode == 1
    assert not errors
    assert ends(process)


def test_the_server_outlives_its_workflow_until_its_jobs_have_ended(server):
    job = begin(server.address, "import time; print('begun', flush=True); time.sleep(1); code = 6")
    assert job.stdout.readline() == "begun\n"
    server.stdin.close()
    assert job.wait(SECONDS) == 6
    assert server.stdout.readline() == "served\n"
    assert server.wait(SECONDS) == 0
    assert run(server.address, "")[0] == ALONE
    job.communicate()
    server.stdin = None


def test_a_job_of_another_installation_runs_by_itself(server):
    assert run(server.address, "", "fork_server._installation = lambda: ['another', 'Python']")[0] == ALONE
    assert run(server.address, "code = 4")[0] == 4


@pytest.mark.parametrize("message", [b"", b"\0\0", b"\0\0\0\4{}", b"\0\0\0\2{}", b"\0\0\0\2[]"])
def test_an_invalid_request_is_refused_and_others_are_served(server, message):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(server.address))
        connection.sendall(message)
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""
    assert run(server.address, "code = 4")[0] == 4


def test_where_preparing_fails_a_job_runs_by_itself(server):
    assert run(server.address, "refuse")[0] == ALONE


@pytest.mark.parametrize("address", ["", "/nowhere/socket"])
def test_without_a_server_a_job_runs_by_itself(address):
    assert run(address, "")[0] == ALONE


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_libraries_that_are_loaded_compute_with_the_threads_of_the_job(server, threads):
    code = "from threadpoolctl import threadpool_info; print({pool['num_threads'] for pool in threadpool_info()})"
    assert run(server.address, code, environment={"OMP_NUM_THREADS": str(threads)})[1] == f"{{{threads}}}\n"


STARTING = """
import os, subprocess, sys
from qatlab import fork_server
fork_server.start()
print(os.environ.get(fork_server.ADDRESS, "none"), flush=True)
print(fork_server.run_in_server(["score", "--help"]), flush=True)
"""


def start(**more: str) -> list[str]:
    environment = {name: value for name, value in os.environ.items() if name != ADDRESS}
    environment |= {"PYTHONPATH": str(PROJECT / "workflow"), **more}
    result = subprocess.run(
        [sys.executable, "-c", STARTING], env=environment, capture_output=True, text=True, timeout=2 * SECONDS
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


@pytest.mark.skipif(sys.platform != "linux", reason="forks on Linux alone")
def test_a_started_server_runs_stages_and_ends_with_who_started_it():
    address, *shown, code = start()
    assert shown[0].startswith("usage: qatlab score")
    assert code == "0"
    folder = Path(address).parent
    until = time.monotonic() + SECONDS
    while folder.exists() and time.monotonic() < until:
        time.sleep(0.05)
    assert not folder.exists()


def test_no_server_is_started_if_the_environment_disables_it():
    assert start(**{ADDRESS: ""}) == ["", "None"]


def test_none_is_started_where_a_socket_cannot_be(tmp_path):
    long = tmp_path / ("long" * 30)
    long.mkdir()
    assert start(TMPDIR=str(long)) == ["none", "None"]
    assert list(long.iterdir()) == []
