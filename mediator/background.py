"""Work in threads of its own, at most one of each name: how it is or how it ended, and a way to stop it."""

import logging
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from mediator.cancellation import Cancellation

_log = logging.getLogger(__name__)

FAULT = "Something went wrong inside Evenhand; its log has the details."
"""What a page says of a piece of work that ended by a fault of ours."""

State = TypeVar("State")
"""What can be asked about a piece of work, under way or over."""

Work = Callable[[Cancellation, Callable[[State], None]], State]
"""Does the work until it is over or cancelled, hands each new state to the function it is given, returns the last."""


class Background(Generic[State]):
    """The pieces of work of one kind. Thread-safe. They go on whoever asked for them, until this process ends."""

    def __init__(self, kind: str) -> None:
        """``kind`` names them in the log and among the threads."""
        self._kind = kind
        self._lock = threading.Lock()
        self._states: dict[str, State] = {}
        self._cancels: dict[str, Cancellation] = {}

    def stop(self, name: str) -> None:
        """Stop a piece of work, if it runs; what has come stays."""
        with self._lock:
            cancel = self._cancels.get(name)
        if cancel is not None:
            cancel.cancel()

    def state(self, name: str) -> State | None:
        """Return how it is or how it ended, or None if there was none of this name."""
        with self._lock:
            return self._states.get(name)

    def forget(self, name: str) -> None:
        """Forget how it ended; nothing happens while it runs."""
        with self._lock:
            if name not in self._cancels:
                self._states.pop(name, None)

    def running(self) -> bool:
        """Whether any is under way."""
        with self._lock:
            return bool(self._cancels)

    def _begin(self, name: str, first: State, broken: State, work: "Work[State]") -> None:
        """Begin a piece of work; does nothing when one of this name runs.

        Args:
            name: of this piece.
            first: its state at the beginning.
            broken: its last state should ``work`` raise anything.
            work: see `Work`.
        """
        with self._lock:
            if name in self._cancels:
                return
            cancel = self._cancels[name] = Cancellation()
            self._states[name] = first

        def report(state: State) -> None:
            with self._lock:
                if self._cancels.get(name) is cancel:
                    self._states[name] = state

        def run() -> None:
            last = broken
            try:
                last = work(cancel, report)
            except Exception as error:  # noqa: BLE001 - the reader of the page gets a sentence, the log the traceback
                _log.exception("a %s failed", self._kind, exc_info=error)
            finally:
                with self._lock:
                    self._states[name] = last
                    del self._cancels[name]

        threading.Thread(target=run, name=f"{self._kind} {name}", daemon=True).start()
