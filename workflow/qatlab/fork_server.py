"""Runs jobs in processes forked from one that has imported PyTorch, so that a job need not import it.

The workflow starts the server for its own jobs (`start`), and each job asks it to run the stage (`run_there`); so does each
process of a distributed training. Jobs run by
themselves where there is no server: on clusters, beside GPUs (a forked process cannot use CUDA that its parent has looked
at), on other systems than Linux, in other environments than the workflow's, and where QATLAB_FORK_SERVER is empty.

A job connects to a Unix socket and sends its arguments, environment, working directory and standard streams; then one byte
for each signal that it gets. The server answers with the process's number and, at its end, with its wait status. A job that
is killed ends its process; a workflow that is killed leaves its jobs to end by themselves, as without a server.
"""

import gc
import importlib
import json
import os
import selectors
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO

ADDRESS = "QATLAB_FORK_SERVER"  # environment variable: the socket's path
OF_JOB = "QATLAB_FORK_SERVER_OF_JOB"  # the same in a forked job, for the processes that it starts itself
WORKER = "worker"  # the first argument of a process of a distributed training
FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
TORCH_STAGES = ("model", "train", "deploy", "encode", WORKER)
# A forked process lacks the threads of its parent. Those of OpenBLAS and Arrow start again in it; ONNX Runtime, which also starts
# one when it is imported, is left to the jobs.
PRELOADED = ("faiss", "numpy", "pandas", "pyarrow.parquet", "pydantic.main", "pydantic.type_adapter", "scipy.stats")
PRELOADED_WITH_TORCH = (
    "torch",
    "transformers.modeling_utils",
    "transformers.trainer",
    "sentence_transformers",
    "sentence_transformers.sentence_transformer.trainer",
)
SOCKET = "socket"
LENGTH = struct.Struct("!I")
NO_HANDLER = -1
PATIENCE = 10.0  # seconds for a request, which is sent as a whole

_started: subprocess.Popen[bytes] | None = None


def start() -> None:
    """Start a server for the jobs of this process, which find it by their environment; it ends after this process does.

    Nothing is started on other systems than Linux, and where the environment names a server already, or none.
    """
    global _started
    if sys.platform != "linux" or ADDRESS in os.environ:
        return
    folder = Path(tempfile.mkdtemp(prefix="qatlab-jobs-"))
    address = folder / SOCKET
    with socket.socket(socket.AF_UNIX) as listener:
        try:
            listener.bind(str(address))  # before any job looks for it
        except OSError:  # such as a path that is too long for a socket
            folder.rmdir()
            return
        listener.listen(128)
        _started = subprocess.Popen(
            [sys.executable, "-m", "qatlab.fork_server", str(listener.fileno()), str(folder)],
            stdin=subprocess.PIPE,  # closed when this process ends, however it ends
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[listener.fileno()],
            # huggingface_hub reads this when it is imported. Jobs write to logs, where progress bars are thousands of lines.
            env={"HF_HUB_DISABLE_PROGRESS_BARS": "1", **os.environ},
            start_new_session=True,  # Ctrl-C is for the jobs, which pass it on
        )
    os.environ[ADDRESS] = str(address)


def run_there(arguments: Sequence[str]) -> int | None:
    """Return the exit code of a stage that the server ran; None where there is none, or none that can run it."""
    address = os.environ.get(ADDRESS)
    if not address:
        return None
    request = {
        "arguments": list(arguments),
        "environment": {OF_JOB if name == ADDRESS else name: value for name, value in os.environ.items()},
        "folder": str(Path.cwd()),
        "installation": _installation(),
    }
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(address)
            body = json.dumps(request).encode()
            socket.send_fds(connection, [LENGTH.pack(len(body))], [0, 1, 2])
            connection.sendall(body)
        except OSError:
            return None
        return _wait(connection)


def _wait(connection: socket.socket) -> int | None:
    """Wait for the process to end, passing signals on; None where the server refuses to make one."""

    def pass_on(number: int, frame: FrameType | None) -> None:
        with suppress(OSError):
            connection.send(bytes([number]))

    before = {
        number: signal.signal(number, pass_on) for number in FORWARDED if signal.getsignal(number) != signal.SIG_IGN
    }
    try:
        with connection.makefile("rb") as answers:
            process = _line(answers)
            if not process:
                return None
            status = _line(answers)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if not status:  # the server was killed, and cannot say how the process ended
        with suppress(ProcessLookupError):
            os.kill(int(process), signal.SIGKILL)
        return 1
    code = os.waitstatus_to_exitcode(int(status))
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


def _line(answers: BinaryIO) -> bytes:
    """Return the server's next line; nothing where it has ended, even if it had not read the signals that it was sent."""
    with suppress(ConnectionError):
        return answers.readline()
    return b""


def _installation() -> list[str]:
    """Identify the Python environment and the copy of qatlab: a server runs jobs of its own installation only."""
    return [sys.prefix, sys.version, str(Path(__file__).resolve())]


class ForkServer:
    """Serves the jobs of one workflow until its process has ended and all of them have.

    Args:
        listener: a listening Unix socket.
        run: given the arguments of a job, in its process: returns the exit code.
        prepare: given the same, in the server, before it forks: imports what the job would.
    """

    def __init__(
        self, listener: socket.socket, run: Callable[[list[str]], int], prepare: Callable[[list[str]], None]
    ) -> None:
        self.listener, self.run, self.prepare = listener, run, prepare
        self.jobs: dict[int, socket.socket] = {}  # by the process's number
        self.selector = selectors.DefaultSelector()
        self.ended, self.wake = socket.socketpair()

    def serve(self) -> int | None:
        """Return, in the process of a job, its exit code; in the server, None."""
        self.ended.setblocking(False)
        self.wake.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(self.wake.fileno())
        for stream in (self.listener, self.ended, sys.stdin):
            self.selector.register(stream, selectors.EVENT_READ)
        serving = True
        while serving or self.jobs:
            for key, _ in self.selector.select():
                if key.fileobj is self.listener:
                    if (code := self._accept()) is not None:
                        return code
                elif key.fileobj is self.ended:
                    self._reap()
                elif key.fileobj is sys.stdin:  # the workflow has ended
                    serving = False
                    self.selector.unregister(sys.stdin)
                    self.selector.unregister(self.listener)
                    self.listener.close()
                elif key.data in self.jobs:
                    self._forward_signals(key.data)
        return None

    def _accept(self) -> int | None:
        """Fork a process for a job; returns its exit code there, and None in the server."""
        connection, _ = self.listener.accept()
        connection.settimeout(PATIENCE)
        streams: list[int] = []
        try:
            length, streams, _, _ = socket.recv_fds(connection, LENGTH.size, 3)
            request = _request(connection, length)
            self.prepare(request["arguments"])
            gc.freeze()  # what is shared is not collected, so not copied
            process: int | None = os.fork()
        except Exception:  # the job then runs by itself, and says what is wrong
            process, request = None, {}
        if process == 0:
            connection.close()
            return self._run_as_job(request, streams)
        for stream in streams:
            os.close(stream)
        if process is None:
            connection.close()
            return None
        self.jobs[process] = connection
        self.selector.register(connection, selectors.EVENT_READ, process)
        with suppress(OSError):  # the job has gone, which is seen next
            connection.sendall(b"%d\n" % process)
        return None

    def _run_as_job(self, request: dict[str, Any], streams: list[int]) -> int:
        """Take over a job's streams, environment and folder in the forked process, and run its stage; returns the exit code."""
        signal.set_wakeup_fd(NO_HANDLER)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self.selector.close()
        for held in (self.listener, self.ended, self.wake, *self.jobs.values()):
            held.close()
        os.setsid()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        os.environ.clear()
        os.environ.update(request["environment"])
        os.chdir(request["folder"])
        _limit_threads()
        sys.argv[1:] = request["arguments"]
        return self.run(request["arguments"])

    def _forward_signals(self, process: int) -> None:
        """Send a job's signals to its process; kill the process if the job has closed its connection."""
        try:
            numbers = self.jobs[process].recv(64)
        except OSError:
            numbers = b""
        for number in numbers or [signal.SIGKILL]:
            with suppress(ProcessLookupError):
                os.kill(process, number)
        if not numbers:
            self.selector.unregister(self.jobs[process])

    def _reap(self) -> None:
        """Collect processes that have ended, and send each exit status to its job."""
        with suppress(BlockingIOError):
            self.ended.recv(4096)
        for process, connection in list(self.jobs.items()):
            done, status = os.waitpid(process, os.WNOHANG)
            if done:
                with suppress(OSError):
                    connection.sendall(b"%d\n" % status)
                with suppress(KeyError):  # of a job that has gone
                    self.selector.unregister(connection)
                connection.close()
                del self.jobs[process]


def _request(connection: socket.socket, length: bytes) -> dict[str, Any]:
    """Read a job's message. Raises ValueError if it was cut off, or comes from another installation."""
    (size,) = LENGTH.unpack(length)
    body = b""
    while len(body) < size:  # and no further: what follows are signals
        part = connection.recv(size - len(body))
        if not part:
            raise ValueError("cut off")
        body += part
    request: dict[str, Any] = json.loads(body)
    if request["installation"] != _installation():
        raise ValueError("another installation")
    return request


def _limit_threads() -> None:
    """Have libraries that are loaded already compute with as many threads as the environment says."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    if given.isdecimal():
        from threadpoolctl import threadpool_limits

        threadpool_limits(int(given))
        if (torch := sys.modules.get("torch")) is not None:
            torch.set_num_threads(int(given))


def preload(arguments: Sequence[str]) -> None:
    """Import what a stage needs of other libraries; of qatlab nothing, which may change while a workflow runs."""
    with_torch = bool(arguments) and arguments[0] in TORCH_STAGES
    gc.disable()  # collections while modules are imported free next to nothing, and take a sixth of the time
    try:
        for module in (*PRELOADED, *(PRELOADED_WITH_TORCH if with_torch else ())):
            importlib.import_module(module)
    finally:
        gc.enable()


def open_to_workers() -> None:
    """Let the processes that this job starts find the server that has forked it, if one has."""
    if OF_JOB in os.environ:
        os.environ[ADDRESS] = os.environ[OF_JOB]


def _run(arguments: list[str]) -> int:
    """Run what a job's own process would run, imported by name: it is above this module, which jobs import first."""
    if arguments[:1] == [WORKER]:
        importlib.import_module("qatlab.training.worker").run_and_exit(Path(arguments[1]))
    return int(importlib.import_module("qatlab.__main__").main(arguments))


def main() -> int:
    """Serve, given the number of a listening socket and the folder to remove at the end; returns the exit code."""
    descriptor, folder = int(sys.argv[1]), Path(sys.argv[2])
    code = ForkServer(socket.socket(fileno=descriptor), _run, preload).serve()
    if code is not None:
        return code
    with suppress(OSError):
        (folder / SOCKET).unlink()
        folder.rmdir()
    return 0


if __name__ == "__main__":
    sys.exit(main())
