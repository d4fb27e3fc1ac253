"""Ctrl-C, answered in another way while a block runs."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

Handler = Callable[[int, FrameType | None], object] | signal.Handlers


@contextmanager
def ctrl_c_calls(handler: Handler) -> Iterator[None]:
    """Have Ctrl-C call a handler while the block runs, or be ignored (``signal.SIG_IGN``), and then as before.

    Only the main thread hears of it; in another one nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        # None: it was set from outside Python.
        signal.signal(signal.SIGINT, signal.default_int_handler if before is None else before)
