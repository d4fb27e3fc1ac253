"""ui/stopping.py: a signal sets the event, also while the main thread is in code that is not Python's."""

import os
import select
import signal
import subprocess
import sys
import threading
import time

import pytest
from support.patience import PATIENCE

from ui.stopping import stopped_by_signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_sets_the_event_and_nothing_else(number):
    before = signal.getsignal(number)
    with stopped_by_signals() as stopped:
        assert not stopped.wait(0.05)
        os.kill(os.getpid(), number)
        assert stopped.wait(PATIENCE)
    assert signal.getsignal(number) == before
    assert signal.set_wakeup_fd(-1) == -1


def test_outside_the_main_thread_it_is_set_by_nobody():
    seen = []

    def run():
        with stopped_by_signals() as stopped:
            seen.append(stopped.is_set())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(PATIENCE)
    assert seen == [False]


BUSY = """
import ctypes, os, threading
from ui.stopping import stopped_by_signals
with stopped_by_signals() as stopped:
    threading.Thread(target=lambda: (stopped.wait(), print("stopped", flush=True), os._exit(0)), daemon=True).start()
    libc, lock = ctypes.CDLL(None), ctypes.create_string_buffer(256)
    libc.pthread_mutex_init(lock, None)
    libc.pthread_mutex_lock(lock)
    print("ready", flush=True)
    # Nobody unlocks it, and a signal does not end the waiting: from here on no Python runs in the main thread, as in
    # the loop of a native window.
    libc.pthread_mutex_lock(lock)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no pthread_mutex_lock()")
def test_it_is_noticed_while_the_main_thread_runs_no_python():
    process = subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        answered, _, _ = select.select([process.stdout], [], [], PATIENCE)
        assert answered, "it waited for the main thread"
        assert process.stdout.readline() == "stopped\n"
        process.wait(PATIENCE)
    finally:
        process.kill()
        process.wait()
