"""A token that one thread cancels and the working thread notices, also in the middle of a blocking network read."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Cancelled(Exception):
    """The user stopped the work. Not an error: what was finished before it stays."""


class Cancellation:
    """Shared by the person who may press Stop and by everything that works for them."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[], None]] = []

    @property
    def cancelled(self) -> bool:
        """Whether somebody asked to stop."""
        return self._event.is_set()

    def cancel(self) -> None:
        """Ask to stop; runs the registered callbacks once, in this thread. Safe to call again."""
        with self._lock:
            if self._event.is_set():
                return
            self._event.set()
            callbacks = list(self._callbacks)
        for callback in callbacks:
            callback()

    def raise_if_cancelled(self) -> None:
        """Raise `Cancelled` when somebody asked to stop."""
        if self._event.is_set():
            raise Cancelled

    @contextmanager
    def calling(self, callback: Callable[[], None]) -> Iterator[None]:
        """While the block runs, cancelling also calls ``callback`` (close a socket, set a native abort flag)."""
        with self._lock:
            already = self._event.is_set()
            self._callbacks.append(callback)
        if already:
            callback()
        try:
            yield
        finally:
            with self._lock:
                self._callbacks.remove(callback)
