"""The swap audit as the page runs it: in a thread of its own, with progress, stoppable, kept as soon as it is done."""

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field

from mediator.cancellation import Cancellation, Cancelled
from mediator.schema import Dispute
from mediator.session import Form
from mediator.store import StoreError
from mediator.strategies import CandidateDone
from mediator.swap_audit import AuditProgress, SwapAudit, audit
from ui.engine import Engine
from ui.error_words import in_language
from ui.forms import options_of
from ui.strings import say

SECONDS_BETWEEN_UPDATES = 0.25
SECONDS_BETWEEN_QUESTIONS = 1.0
"""How often it is asked whether an audit is still for somebody."""


@dataclass
class _Audit:
    """One audit on its way."""

    window: str
    cancellation: Cancellation = field(default_factory=Cancellation)
    begun: bool = False
    finished: int = 0
    position: int = 0
    result: SwapAudit | None = None
    unsaved: StoreError | None = None
    error: BaseException | None = None
    ended: threading.Event = field(default_factory=threading.Event)


class Auditing:
    """Runs swap audits, at most one a session."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._running: dict[str, _Audit] = {}

    def stop(self, session_id: str) -> None:
        """Stop the audit of this session, if one runs."""
        if (running := self._running.get(session_id)) is not None:
            running.cancellation.cancel()

    def runs_in(self, session_id: str) -> bool:
        """Whether an audit of this session runs."""
        return session_id in self._running

    def leave(self, window: str) -> None:
        """A window was closed: what it began is for nobody any more."""
        for running in list(self._running.values()):
            if running.window == window:
                running.cancellation.cancel()

    async def run(
        self,
        session_id: str,
        window: str,
        dispute: Dispute,
        form: Form,
        language: str,
        keep: Callable[[SwapAudit], None],
        still_wanted: Callable[[], None] = lambda: None,
    ) -> AsyncGenerator[tuple[SwapAudit | None, str, bool], None]:
        """Run the audit for a window; yields the result once there is one, a line of status, and whether it still runs.

        ``keep`` saves the result, in the thread that found it: nobody need look on for it to last. Where it fails, the
        line says why. ``still_wanted`` is called now and then, in a thread: what it raises ends the audit, and is
        raised here.

        Raises:
            EvenhandError: an option is out of range, or the writer failed.
        """
        options = options_of(form, language=language)
        self.stop(session_id)
        running = self._running[session_id] = _Audit(window)

        def waiting(position: int) -> None:
            running.position = position

        def save() -> None:
            if running.result is None or running.result.verdict is None:
                return
            try:
                keep(running.result)
            except StoreError as error:
                running.unsaved = error
            except Exception as error:  # noqa: BLE001 - raised again where the page is told
                running.error = error

        def work() -> None:
            try:
                with self._engine.writer(form.model, running.cancellation, waiting) as writer:
                    running.begun, running.position = True, 0
                    for event in audit(dispute, writer, self._engine.scorer(), options, running.cancellation):
                        if isinstance(event, SwapAudit):
                            running.result = event
                        elif isinstance(event, AuditProgress) and isinstance(event.event, CandidateDone):
                            running.finished += 1
            except Cancelled:
                pass
            except BaseException as error:  # noqa: BLE001 - as above
                running.error = error
            else:
                save()
            finally:
                running.ended.set()

        threading.Thread(target=work, name="swap-audit", daemon=True).start()
        try:
            said, asked = None, time.monotonic()
            while not running.ended.is_set():
                if running.cancellation.cancelled and not running.begun:
                    break  # loading a writer cannot be broken off: it is left behind
                if time.monotonic() - asked >= SECONDS_BETWEEN_QUESTIONS:
                    await asyncio.to_thread(still_wanted)
                    asked = time.monotonic()
                line = self._line(running, language)
                if line != said:
                    said = line
                    yield None, line, True
                await asyncio.sleep(SECONDS_BETWEEN_UPDATES)
            stopped = running.cancellation.cancelled
        finally:
            running.cancellation.cancel()
            if self._running.get(session_id) is running:
                del self._running[session_id]
        if running.error is not None and not stopped:
            raise running.error
        result = running.result
        if result is None or result.verdict is None:
            problem = None if result is None or stopped else result.original.problem or result.swapped.problem
            # Its first words load a catalogue, and a writer may say at length what goes wrong.
            said = await asyncio.to_thread(in_language, language, problem) if problem else ""
            yield None, said or say(language, "mediate.audit_stopped"), False
        elif running.unsaved is not None:
            problem = await asyncio.to_thread(in_language, language, running.unsaved)
            yield result, say(language, "mediate.audit_unsaved", problem=problem), False
        else:
            yield result, say(language, "mediate.audit_done"), False

    def _line(self, running: _Audit, language: str) -> str:
        if running.cancellation.cancelled:
            return say(language, "mediate.stopping")
        if running.position:
            return say(language, "mediate.in_queue", count=running.position)
        return say(language, "mediate.audit_running", count=running.finished)
