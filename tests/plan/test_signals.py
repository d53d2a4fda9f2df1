"""Handlers of signals that wait for a lock of the main thread."""

import os
import queue
import signal
import threading

import pytest

from qatlab.plan.workflow import handle_in_thread


@pytest.fixture
def set_handler():
    """Return a function that sets the handler of SIGUSR1 for one test."""
    before = signal.getsignal(signal.SIGUSR1)
    yield lambda handler: signal.signal(signal.SIGUSR1, handler)
    signal.signal(signal.SIGUSR1, before)


def test_a_handler_waits_for_a_lock_that_the_main_thread_holds(set_handler):
    lock = threading.Lock()
    acquired: queue.Queue[tuple[bool, int]] = queue.Queue()
    set_handler(lambda number, frame: acquired.put((lock.acquire(timeout=2), number)))
    handle_in_thread(signal.SIGUSR1)
    with lock:
        os.kill(os.getpid(), signal.SIGUSR1)
    assert acquired.get(timeout=10) == (True, signal.SIGUSR1)


@pytest.mark.parametrize("handler", [signal.SIG_DFL, signal.SIG_IGN])
def test_a_signal_without_a_handler_keeps_its_meaning(set_handler, handler):
    set_handler(handler)
    handle_in_thread(signal.SIGUSR1)
    assert signal.getsignal(signal.SIGUSR1) == handler
