"""Script that runs a program of PostgreSQL for another process, and ends it when that process ends, for whatever reason.

It is started as `python -I -S postgres_watch.py PARENT OWNER FOLDER PROGRAM [ARGUMENT …]`, and needs only the standard library. The
arguments are those of `main`, with OWNER as UID:GID, or empty.
"""

import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from typing import Any

SECONDS = 0.1  # between two looks at the parent and the program
PATIENCE = ((signal.SIGINT, 60.0), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 10.0))
"""Signals that end the program, each with the seconds until the next one: a shutdown that writes everything, one that writes nothing."""

# Constants of Linux: linux/prctl.h and linux/capability.h
SET_DEATH_SIGNAL, KEEP_CAPABILITIES, AMBIENT_CAPABILITIES, RAISE = 1, 8, 47, 2
DAC_OVERRIDE, CAPABILITY_VERSION = 1, 0x20080522


def main(parent: int, owner: str, remains: str, program: list[str]) -> int:
    """Run a program until it ends by itself, or this process receives a signal, or the parent ends.

    Args:
        parent: Id of the parent process.
        owner: Ids of the user and group that run the program, UID:GID; empty for those of this process.
        remains: Folder to delete if the parent has ended; empty for none.
        program: The program's absolute path, and its arguments.

    Returns:
        The exit status of the program.
    """
    received: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda signal_number, _: received.append(signal_number))
    with subprocess.Popen(program, preexec_fn=lambda: prepare(owner)) as process:
        while process.poll() is None and not received and os.getppid() == parent:
            time.sleep(SECONDS)
        is_orphan = os.getppid() != parent
        for number, seconds in PATIENCE[1 if is_orphan else 0 :]:
            end(process, number, seconds)
    if is_orphan and remains:
        shutil.rmtree(remains, ignore_errors=True)
    return process.returncode


def end(process: "subprocess.Popen[bytes]", number: signal.Signals, seconds: float) -> None:
    """Send a signal to a process that has not ended, and wait for its end at most the given seconds."""
    if process.poll() is None:
        process.send_signal(number)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            return


def prepare(owner: str) -> None:
    """Change the user of this process, which is about to run the program, and end it if its parent is killed.

    PostgreSQL refuses to run as root. As another user, it may be unable to enter the folders above its data, or above its own
    programs; it keeps the one capability of root that permits it, rather than that the modes of these folders change.
    """
    library = _library()
    if owner:
        user, group = map(int, owner.split(":"))
        if library is not None:
            library.prctl(KEEP_CAPABILITIES, 1, 0, 0, 0)
        os.setgroups([])
        os.setgid(group)
        os.setuid(user)
        if library is not None:
            # Without the capability, the program ends with an error that names the folder.
            kept = 1 << DAC_OVERRIDE
            library.capset(struct.pack("Ii", CAPABILITY_VERSION, 0), struct.pack("6I", kept, kept, kept, 0, 0, 0))
            library.prctl(AMBIENT_CAPABILITIES, RAISE, DAC_OVERRIDE, 0, 0)
    if library is not None:  # It comes last, because a change of user cancels it.
        library.prctl(SET_DEATH_SIGNAL, signal.SIGQUIT, 0, 0, 0)


def _library() -> Any:
    if sys.platform != "linux":
        return None
    import ctypes

    return ctypes.CDLL(None)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4:]))
