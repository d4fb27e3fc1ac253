"""The tests of writers that run for the Models tab: in threads of their own, at most one of each writer."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mediator.background import FAULT, Background
from mediator.cancellation import Cancellation, Cancelled
from mediator.trial import Outcome, try_writer

if TYPE_CHECKING:
    from ui.engine import Engine


@dataclass(frozen=True)
class TrialState:
    """What the page shows of a test.

    Attributes:
        running: whether it is under way.
        position: its place in the writer's line, 1 is next; 0 when it does not wait.
        outcome: how it went; None while it runs, or when it was stopped.
    """

    running: bool
    position: int = 0
    outcome: Outcome | None = None


class Trials(Background[TrialState]):
    """The tests of this process, at most one of each writer."""

    def __init__(self, engine: "Engine") -> None:
        super().__init__("test of a writer")
        self._engine = engine

    def start(self, name: str) -> None:
        """Begin a test; does nothing when one of this writer runs."""

        def work(cancel: Cancellation, report: Callable[[TrialState], None]) -> TrialState:
            def waiting(position: int) -> None:
                report(TrialState(running=True, position=position))

            try:
                outcome = try_writer(lambda: self._engine.writer(name, cancel, waiting), cancel)
            except Cancelled:
                return TrialState(running=False)
            return TrialState(running=False, outcome=outcome)

        broken = TrialState(running=False, outcome=Outcome(works=False, problem=FAULT))
        self._begin(name, TrialState(running=True), broken, work)
