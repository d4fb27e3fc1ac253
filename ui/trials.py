"""The tests of writers that run for the Models tab: in threads of their own, at most one of each writer."""

import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mediator.cancellation import Cancellation, Cancelled
from mediator.trial import Outcome, try_writer

if TYPE_CHECKING:
    from ui.engine import Engine

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrialState:
    """What the page shows of a test.

    Attributes:
        running: whether it is under way.
        position: how many are before it in the writer's line; 0 for none.
        outcome: how it went; None while it runs, or when it was stopped.
    """

    running: bool
    position: int = 0
    outcome: Outcome | None = None


class Trials:
    """The tests of this process. Thread-safe."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._states: dict[str, TrialState] = {}
        self._cancels: dict[str, Cancellation] = {}

    def start(self, name: str) -> None:
        """Begin a test; does nothing when one of this writer runs."""
        with self._lock:
            if name in self._cancels:
                return
            cancel = self._cancels[name] = Cancellation()
            self._states[name] = TrialState(running=True)

        def waiting(position: int) -> None:
            with self._lock:
                if name in self._cancels:
                    self._states[name] = TrialState(running=True, position=position)

        def work() -> None:
            end = TrialState(running=False)
            try:
                outcome = try_writer(lambda: self._engine.writer(name, cancel, waiting), cancel)
                end = TrialState(running=False, outcome=outcome)
            except Cancelled:
                pass
            except Exception as error:  # noqa: BLE001 - the reader of the page gets a sentence, the log the traceback
                _log.exception("a test of a writer failed", exc_info=error)
                problem = "Something went wrong inside Evenhand; its log has the details."
                end = TrialState(running=False, outcome=Outcome(works=False, problem=problem))
            finally:
                with self._lock:
                    self._states[name] = end
                    del self._cancels[name]

        threading.Thread(target=work, name="test of a writer", daemon=True).start()

    def stop(self, name: str) -> None:
        """Stop a test, if it runs."""
        with self._lock:
            cancel = self._cancels.get(name)
        if cancel is not None:
            cancel.cancel()

    def state(self, name: str) -> TrialState | None:
        """Return how the test of a writer is or was, or None if there was none."""
        with self._lock:
            return self._states.get(name)

    def forget(self, name: str) -> None:
        """Forget how a test ended: the writer has changed since."""
        with self._lock:
            if name not in self._cancels:
                self._states.pop(name, None)

    def running(self) -> bool:
        """Whether any test is under way."""
        with self._lock:
            return bool(self._cancels)
