"""How the app is told to stop: by Ctrl-C, by the system, or by a terminal that closes."""

import contextlib
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")  # not every system has them all


@contextmanager
def stopped_by_signals() -> Iterator[threading.Event]:
    """While the block runs, a signal to stop sets the event that is given, and does nothing else.

    Also while the main thread is inside a native window, where Python would not get to handle a signal: the number of
    the signal comes through a socket, which a thread reads. Outside the main thread the event is set by nobody.
    """
    stopped = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopped
        return
    wanted = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
    reader, writer = socket.socketpair()
    writer.setblocking(False)

    def watch() -> None:
        with contextlib.suppress(OSError):
            while received := reader.recv(64):
                if any(number in received for number in wanted):
                    stopped.set()

    watching = threading.Thread(target=watch, name="signals", daemon=True)
    watching.start()
    # A handler of Python's must be there for the number to be written, and so that the process does not end.
    before = {number: signal.signal(number, lambda *_: None) for number in wanted}
    before_descriptor = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    try:
        yield stopped
    finally:
        signal.set_wakeup_fd(before_descriptor)
        for number, handler in before.items():
            signal.signal(number, handler)
        writer.close()
        watching.join(1.0)
        reader.close()
