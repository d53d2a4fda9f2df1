"""Server that runs jobs in processes forked from one that has imported PyTorch, so that a job need not import it.

The workflow starts the server for its own jobs (`start`). Each job, and each process of a distributed training, requests that the
server runs its stage (`run_in_server`). Jobs run in their own process if there is no server: on clusters, with GPUs (a forked process
cannot use CUDA after its parent has initialized it), on other systems than Linux, in another environment than that of the workflow,
and if QATLAB_FORK_SERVER is empty.

A job connects to a Unix socket and sends its arguments, environment, working directory and standard streams, and then one byte for
each signal that it receives. The server answers with the id of the forked process and, at its end, with its wait status. If a job is
killed, its forked process is killed too; if the workflow is killed, its jobs run to their end, as they do without a server.
"""

import atexit
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
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO, NoReturn

ADDRESS = "QATLAB_FORK_SERVER"  # environment variable that holds the path of the socket
SERVER_OF_JOB = "QATLAB_FORK_SERVER_OF_JOB"  # its name in a forked job, for processes that the job starts
WORKER = "worker"  # the first argument of a process of a distributed training
FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
TORCH_STAGES = ("model", "train", "deploy", "encode", WORKER)
# A forked process lacks the threads of its parent. OpenBLAS and Arrow restart theirs; ONNX Runtime, which also starts a thread when
# it is imported, does not, so jobs import it themselves.
PRELOADED = (
    "faiss",
    "numpy",
    "pandas",
    "pyarrow.parquet",
    "pydantic.fields",
    "pydantic.functional_serializers",
    "pydantic.main",
    "pydantic.type_adapter",
    "pydantic.types",
    "scipy.stats",
)
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
PATIENCE = 10.0  # seconds until a request, which is sent at once, must have arrived

_started: subprocess.Popen[bytes] | None = None


def start() -> None:
    """Start a server for the jobs of this process, which find its address in their environment; it ends after this process.

    Nothing is started on other systems than Linux, or if the environment already holds an address, which may be empty.
    """
    global _started
    if sys.platform != "linux" or ADDRESS in os.environ:
        return
    folder = Path(tempfile.mkdtemp(prefix="qatlab-jobs-"))
    address = folder / SOCKET
    with socket.socket(socket.AF_UNIX) as listener:
        try:
            listener.bind(str(address))  # The address exists before any job uses it.
        except OSError:  # The path may be too long for a socket, for example.
            folder.rmdir()
            return
        listener.listen(128)
        _started = subprocess.Popen(
            [sys.executable, "-m", "qatlab.fork_server", str(listener.fileno()), str(folder)],
            stdin=subprocess.PIPE,  # It is closed when this process ends for any reason.
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[listener.fileno()],
            # huggingface_hub reads this variable when it is imported. Progress bars would write thousands of lines to logs.
            env={"HF_HUB_DISABLE_PROGRESS_BARS": "1", **os.environ},
            start_new_session=True,  # Ctrl-C reaches the jobs, which forward it.
        )
    os.environ[ADDRESS] = str(address)


def run_in_server(arguments: Sequence[str]) -> int | None:
    """Run a stage in the server and return its exit code; None if there is no server or it cannot run the stage."""
    address = os.environ.get(ADDRESS)
    if not address:
        return None
    request = {
        "arguments": list(arguments),
        "environment": {SERVER_OF_JOB if name == ADDRESS else name: value for name, value in os.environ.items()},
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
    """Wait for the forked process, forward signals to it, and return its exit code; None if the server did not fork one."""

    def forward(number: int, frame: FrameType | None) -> None:
        with suppress(OSError):
            connection.send(bytes([number]))

    before = {
        number: signal.signal(number, forward) for number in FORWARDED if signal.getsignal(number) != signal.SIG_IGN
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
    if not status:  # The server was killed, so the status is unknown.
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
    """Return the server's next line, or nothing if it has ended, even with signals that it has not read."""
    with suppress(ConnectionError):
        return answers.readline()
    return b""


def _installation() -> list[str]:
    """Return what identifies the Python environment and the copy of qatlab; a server runs only jobs of its own installation."""
    return [sys.prefix, sys.version, str(Path(__file__).resolve())]


class ForkServer:
    """Server for the jobs of one workflow, which runs until the workflow's process and all jobs have ended.

    Args:
        listener: a listening Unix socket.
        run: is called in the forked process with the arguments of a job, and returns the exit code.
        prepare: is called in the server with the same arguments before it forks, and imports the modules that the job needs.
        in_advance: steps that are taken while no job waits.
    """

    def __init__(
        self,
        listener: socket.socket,
        run: Callable[[list[str]], int],
        prepare: Callable[[list[str]], None],
        in_advance: Iterable[None] = (),
    ) -> None:
        self.listener, self.run, self.prepare = listener, run, prepare
        self.in_advance: Iterator[None] | None = iter(in_advance)
        self.jobs: dict[int, socket.socket] = {}  # by the id of the forked process
        self.selector = selectors.DefaultSelector()
        self.ended, self.wake = socket.socketpair()

    def serve(self) -> None:
        """Serve jobs until the workflow and all jobs have ended."""
        self.ended.setblocking(False)
        self.wake.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(self.wake.fileno())
        for stream in (self.listener, self.ended, sys.stdin):
            self.selector.register(stream, selectors.EVENT_READ)
        serving = True
        while serving or self.jobs:
            events = self.selector.select(None if self.in_advance is None else 0)
            if not events:
                self._take_step()
            for key, _ in events:
                if key.fileobj is self.listener:
                    self._accept()
                elif key.fileobj is self.ended:
                    self._reap()
                elif key.fileobj is sys.stdin:  # The workflow has ended.
                    serving = False
                    self.selector.unregister(sys.stdin)
                    self.selector.unregister(self.listener)
                    self.listener.close()
                elif key.data in self.jobs:
                    self._forward_signals(key.data)

    def _take_step(self) -> None:
        """Take the next step in advance, if any is left."""
        if self.in_advance is not None:
            try:
                next(self.in_advance)
            except StopIteration:
                self.in_advance = None

    def _accept(self) -> None:
        """Fork a process for a job."""
        connection, _ = self.listener.accept()
        connection.settimeout(PATIENCE)
        streams: list[int] = []
        try:
            length, streams, _, _ = socket.recv_fds(connection, LENGTH.size, 3)
            request = _request(connection, length)
            self.prepare(request["arguments"])
            gc.freeze()  # Garbage collection would write to shared memory pages and so copy them.
            process: int | None = os.fork()
        except Exception:  # The job then runs in its own process, and reports the error.
            process, request = None, {}
        if process == 0:
            connection.close()
            self._run_as_job(request, streams)
        for stream in streams:
            os.close(stream)
        if process is None:
            connection.close()
            return
        self.jobs[process] = connection
        self.selector.register(connection, selectors.EVENT_READ, process)
        with suppress(OSError):  # The job has ended, which the selector reports next.
            connection.sendall(b"%d\n" % process)

    def _run_as_job(self, request: dict[str, Any], streams: list[int]) -> NoReturn:
        """Apply a job's streams, environment and folder in the forked process, run its stage and end the process."""
        signal.set_wakeup_fd(NO_HANDLER)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self.selector.close()
        for open_socket in (self.listener, self.ended, self.wake, *self.jobs.values()):
            open_socket.close()
        os.setsid()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        os.environ.clear()
        os.environ.update(request["environment"])
        os.chdir(request["folder"])
        _limit_threads()
        sys.argv[1:] = request["arguments"]
        _end(self.run(request["arguments"]))

    def _forward_signals(self, process: int) -> None:
        """Send a job's signals to its forked process; kill the process if the job has closed its connection."""
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
                with suppress(KeyError):  # The connection of a job that has ended is already unregistered.
                    self.selector.unregister(connection)
                connection.close()
                del self.jobs[process]


def _request(connection: socket.socket, length: bytes) -> dict[str, Any]:
    """Read a job's request; raise a ValueError if it is truncated or comes from another installation."""
    (size,) = LENGTH.unpack(length)
    body = b""
    while len(body) < size:  # Bytes after the request are signals, which are read elsewhere.
        part = connection.recv(size - len(body))
        if not part:
            raise ValueError("truncated request")
        body += part
    request: dict[str, Any] = json.loads(body)
    if request["installation"] != _installation():
        raise ValueError("another installation")
    return request


def _limit_threads() -> None:
    """Set the number of threads of libraries that are already loaded to OMP_NUM_THREADS."""
    threads = os.environ.get("OMP_NUM_THREADS", "")
    if threads.isdecimal():
        from threadpoolctl import threadpool_limits

        threadpool_limits(int(threads))
        if (torch := sys.modules.get("torch")) is not None:
            torch.set_num_threads(int(threads))


def _end(code: int) -> NoReturn:
    """End this process as Python does, but without freeing its objects, which would copy the memory shared with its parent."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    import ctypes  # which a job that only asks the server to run it does not need

    ctypes.CDLL(None).fflush(None)  # what libraries in C have printed
    os._exit(code)


def preload(arguments: Sequence[str]) -> None:
    """Import the libraries that a stage needs, but no module of qatlab, which may change while a workflow runs."""
    with_torch = bool(arguments) and arguments[0] in TORCH_STAGES
    for _ in _preloading((*PRELOADED, *(PRELOADED_WITH_TORCH if with_torch else ()))):
        pass


def preload_in_advance() -> Iterator[None]:
    """Import all these libraries in steps. Between two steps, the server can start jobs that need only what is imported."""
    with suppress(ImportError):  # A job that needs a missing library reports it.
        # Transformers would import torchao in the same, longer step.
        yield from _preloading((*PRELOADED, "torch", "torchao", *PRELOADED_WITH_TORCH[1:]))


def _preloading(modules: Sequence[str]) -> Iterator[None]:
    """Import modules in order, and yield after each of them."""
    for module in modules:
        gc.disable()  # Garbage collection during imports frees almost nothing and takes a sixth of their time.
        try:
            importlib.import_module(module)
            if module == PRELOADED_WITH_TORCH[-1]:
                _compile_conversions()
        finally:
            gc.enable()
        yield


def _compile_conversions() -> None:
    """Let Transformers 5 compile the patterns with which it renames weights, as it does when a process loads its first model."""
    with suppress(ImportError):
        from transformers.conversion_mapping import get_checkpoint_conversion_mapping

        get_checkpoint_conversion_mapping("bert")


def share_with_children() -> None:
    """Let the processes that this job starts use the server that has forked it, if there is one."""
    if SERVER_OF_JOB in os.environ:
        os.environ[ADDRESS] = os.environ[SERVER_OF_JOB]


def _run(arguments: list[str]) -> int:
    """Run what a job's own process would run; it is imported by name, because it belongs to a higher layer than this module."""
    if arguments[:1] == [WORKER]:
        importlib.import_module("qatlab.training.launch").run_and_exit(Path(arguments[1]))
    return int(importlib.import_module("qatlab.__main__").main(arguments))


def main() -> NoReturn:
    """Serve jobs and end the process; arguments are a listening socket's descriptor and the folder to remove at the end."""
    descriptor, folder = int(sys.argv[1]), Path(sys.argv[2])
    ForkServer(socket.socket(fileno=descriptor), _run, preload, preload_in_advance()).serve()
    with suppress(OSError):
        (folder / SOCKET).unlink()
        folder.rmdir()
    _end(0)


if __name__ == "__main__":
    main()
