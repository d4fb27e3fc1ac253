"""The line in front of a writer: so many at once, first come, first served, and each knows its place."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mediator.cancellation import Cancellation
from mediator.errors import EvenhandError


class EngineClosed(EvenhandError):
    """The app is ending: no writer is lent any more."""

    def __init__(self) -> None:
        super().__init__("Evenhand is being closed.", "Start it again to go on.")


class WriterQueue:
    """Admits at most ``places`` at once; the others wait in the order in which they came. Thread-safe.

    Nobody overtakes: a newcomer waits while anybody does, even when a place has just become free.
    """

    def __init__(self, places: int) -> None:
        if places < 1:
            raise ValueError(f"a queue of {places} places would admit nobody")
        self.places = places
        self._lock = threading.Lock()
        self._line: list[_Ticket] = []
        self._inside = 0
        self._closed = False

    @contextmanager
    def turn(
        self, name: str = "", cancel: Cancellation | None = None, on_wait: Callable[[int], None] | None = None
    ) -> Iterator[None]:
        """Wait for a place, and hold it for the block.

        Args:
            name: what is waited for, see `waiting`.
            cancel: cancelling leaves the line at once.
            on_wait: called in this thread with the place in the line (1: next) when one has to wait, and at each change
                of it; never again once the turn has come.

        Raises:
            Cancelled: ``cancel`` was cancelled before the turn came.
            EngineClosed: the queue was closed.
        """
        self._enter(name, cancel or Cancellation(), on_wait)
        try:
            yield
        finally:
            self._leave()

    def waiting(self, name: str) -> int:
        """Return how many wait for what has this name."""
        with self._lock:
            return sum(ticket.name == name for ticket in self._line)

    def close(self) -> None:
        """Admit nobody any more: those who wait get `EngineClosed`. Safe to call twice."""
        with self._lock:
            self._closed = True
            self._tell_all()

    def _enter(self, name: str, cancel: Cancellation, on_wait: Callable[[int], None] | None) -> None:
        cancel.raise_if_cancelled()
        ticket = _Ticket(name)
        with self._lock:
            self._line.append(ticket)
            self._admit()
        try:
            with cancel.calling(ticket.news.set):
                self._await(ticket, cancel, on_wait)
        except BaseException:
            if ticket.admitted:
                self._leave()
            else:
                self._withdraw(ticket)
            raise

    def _await(self, ticket: "_Ticket", cancel: Cancellation, on_wait: Callable[[int], None] | None) -> None:
        told = 0
        while True:
            with self._lock:
                ticket.news.clear()  # before looking: what happens from here on sets it again
                if self._closed:
                    raise EngineClosed
                position = 0 if ticket.admitted else self._line.index(ticket) + 1
            cancel.raise_if_cancelled()
            if not position:
                return
            if position != told and on_wait is not None:
                on_wait(position)
            told = position
            ticket.news.wait()

    def _leave(self) -> None:
        with self._lock:
            self._inside -= 1
            self._admit()

    def _withdraw(self, ticket: "_Ticket") -> None:
        with self._lock:
            if ticket.admitted:  # in the very moment in which it gave up
                self._inside -= 1
                self._admit()
            else:
                self._line.remove(ticket)
                self._tell_all()

    def _admit(self) -> None:
        """Let in whom there is room for, and tell the others that they moved up. The caller holds the lock."""
        moved = False
        while self._line and self._inside < self.places:
            ticket = self._line.pop(0)
            ticket.admitted = moved = True
            self._inside += 1
            ticket.news.set()
        if moved:
            self._tell_all()

    def _tell_all(self) -> None:
        for ticket in self._line:
            ticket.news.set()


class _Ticket:
    """One who waits. ``admitted`` changes under the queue's lock; ``news`` says that it is worth looking again."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.admitted = False
        self.news = threading.Event()
