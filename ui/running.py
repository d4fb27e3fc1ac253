"""Mediations that run: each in a thread of its own, saved as it goes, watched from any window."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from mediator.cancellation import Cancellation, Cancelled
from mediator.errors import EvenhandError
from mediator.mediation import Event, MediationDone, MediationOptions, propose
from mediator.schema import Dispute
from mediator.session import Round, RoundState
from mediator.settings import without_keys
from mediator.store import Store
from mediator.strategies import CandidateDone, RoundStarted
from mediator.writers.aligned import AlignedWriter
from ui.board import Board
from ui.engine import Engine

_log = logging.getLogger(__name__)

PATIENCE_WITHOUT_WATCHERS = 30.0
"""Seconds for which a mediation goes on that no window watches: a reload takes less, and a closed window must not leave
a model writing, which may cost money."""

PATIENCE_WITH_LOADING = 0.5
"""Seconds after a Stop in which a writer that is being loaded may still arrive."""

INTERNAL_FAULT = "Something went wrong inside Evenhand. The details are in its log; what you typed is still here."


@dataclass
class Running:
    """One mediation on its way. Written by its thread, read by the windows that watch.

    Attributes:
        session_id: whose it is.
        round: as it was started.
        board: what has come so far; take ``lock`` to read it, for a moment only.
        recorder: saves what comes.
        version: grows with every change of what is to be seen.
        destination: where the text goes, once the writer is there: None for this computer.
        hears: whether the writer, once it is there, can be told more than the two views.
        position: place in the queue for the writer, 1 is next; 0 when it is not waiting.
        state: of the round; all but ``running`` are final.
        problem: a sentence, empty if nothing went wrong.
        fault: the sentence is about the whole attempt, which came to nothing.
        audience: grows whenever a window comes to watch or looks away.
        begun: the writer is there. Loading one cannot be broken off, so a Stop before that only leaves it behind.
    """

    session_id: str
    round: Round
    board: Board
    recorder: "_Recorder"
    cancellation: Cancellation = field(default_factory=Cancellation)
    lock: threading.Lock = field(default_factory=threading.Lock)
    ending: threading.Lock = field(default_factory=threading.Lock)
    version: int = 0
    destination: str | None = None
    hears: bool = True
    position: int = 0
    state: RoundState = "running"
    problem: str = ""
    fault: bool = False
    begun: bool = False
    audience: int = 0
    _watchers: set[str] = field(default_factory=set)
    _timer: threading.Timer | None = None

    def changed(self) -> None:
        """Say that there is something new to see."""
        self.version += 1

    @property
    def finished(self) -> bool:
        """Whether it has ended, in whichever way."""
        return self.state != "running"

    @contextmanager
    def watched_by(self, window: str) -> Iterator[None]:
        """While the block runs, a window watches."""
        with self.lock:
            self._watchers.add(window)
            self.audience += 1
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        try:
            yield
        finally:
            self.leave(window)

    def is_watched_by(self, window: str) -> bool:
        """Whether this window watches already."""
        return window in self._watchers

    def leave(self, window: str) -> None:
        """A window looks away; when it was the last one, the mediation has `PATIENCE_WITHOUT_WATCHERS` left."""
        with self.lock:
            if window not in self._watchers:
                return
            self._watchers.discard(window)
            self.audience += 1
        self.expect_watchers()

    def expect_watchers(self) -> None:
        """From now on somebody must watch within `PATIENCE_WITHOUT_WATCHERS`; nothing while somebody does."""
        with self.lock:
            if not self._watchers and not self.finished and self._timer is None:
                self._timer = threading.Timer(PATIENCE_WITHOUT_WATCHERS, self._abandon)
                self._timer.daemon = True
                self._timer.start()

    def _abandon(self) -> None:
        if not self._watchers:
            self.cancellation.cancel()


class Mediations:
    """The mediations that run, at most one a session. Thread-safe."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._running: dict[str, Running] = {}
        self._lock = threading.Lock()
        self._beginning = threading.Lock()  # held while a round is made in the store, which may take a while

    def get(self, session_id: str) -> Running | None:
        """Return the mediation of this session that runs, or None."""
        with self._lock:
            return self._running.get(session_id)

    def start(
        self,
        session_id: str,
        begin: Callable[[], Round],
        dispute: Dispute,
        options: MediationOptions,
        store: Store,
    ) -> tuple[Running, bool]:
        """Begin a mediation; returns it, and whether it is new: False when one runs in this session already.

        ``begin`` makes the round in the store. Nobody who only looks waits for it.

        Raises:
            EvenhandError: what ``begin`` raises.
        """
        with self._beginning:
            if (present := self.get(session_id)) is not None:
                return present, False
            entry = begin()
            board = Board(several=options.strategy == "all")
            running = Running(session_id, entry, board, _Recorder(store, entry.id))
            with self._lock:
                self._running[session_id] = running
        threading.Thread(target=self._work, args=(running, dispute, options), name="mediation", daemon=True).start()
        running.expect_watchers()  # whoever asked may be gone before it could look
        return running, True

    def stop(self, session_id: str) -> None:
        """Stop what runs in this session, if anything does."""
        running = self.get(session_id)
        if running is None:
            return
        running.cancellation.cancel()
        if not running.begun:
            timer = threading.Timer(PATIENCE_WITH_LOADING, self._leave_behind, (running,))
            timer.daemon = True
            timer.start()

    def _leave_behind(self, running: Running) -> None:
        """End a mediation whose writer is still being loaded: that need not keep anybody waiting."""
        if running.begun:
            return
        running.cancellation.cancel()
        self._end(running, "stopped", "", fault=False)

    def leave(self, window: str) -> None:
        """A window was closed."""
        with self._lock:
            everything = list(self._running.values())
        for running in everything:
            running.leave(window)

    def stop_all(self) -> None:
        """Stop everything: the app ends."""
        with self._lock:
            everything = list(self._running.values())
        for running in everything:
            running.cancellation.cancel()

    def _work(self, running: Running, dispute: Dispute, options: MediationOptions) -> None:
        recorder = running.recorder
        state: RoundState = "failed"
        problem = ""

        def waiting(position: int) -> None:
            running.position = position
            running.changed()

        try:
            with self._engine.writer(running.round.model, running.cancellation, waiting) as writer:
                running.begun = True
                running.position = 0
                running.destination = writer.destination
                running.hears = not isinstance(writer, AlignedWriter)
                running.changed()
                for event in propose(dispute, writer, self._engine.scorer(), options, running.cancellation):
                    recorder.record(event)
                    with running.lock:
                        running.board.apply(event)
                        running.changed()
            state = recorder.state
        except Cancelled:
            state = "stopped"
        except EvenhandError as error:
            _log.info("a mediation ended with an error", exc_info=error)
            problem = without_keys(str(error))
        except BaseException as error:  # noqa: BLE001 - the reader of the page gets a sentence, the log the traceback
            _log.exception("a mediation failed", exc_info=error)
            problem = INTERNAL_FAULT
        if problem and running.cancellation.cancelled and recorder.state == "running":
            # A connection closed under a writer by the Stop may surface as its error: the user knows of the Stop.
            state, problem = "stopped", ""
        self._end(running, state, problem, fault=bool(problem))

    def _end(self, running: Running, state: RoundState, problem: str, *, fault: bool) -> None:
        """Say how it ended, once: in the store unless the last event did, and to those who watch."""
        with running.ending:  # not the lock of the board: those who draw must not wait for the disk
            if running.finished:
                return
            if running.recorder.state == "running":
                try:
                    running.recorder.finish(state, problem)
                except EvenhandError as error:
                    state, problem, fault = "failed", str(error), True
                except Exception as error:  # noqa: BLE001 - or the session would be said to be writing for ever
                    _log.exception("the end of a round could not be saved", exc_info=error)
                    state, problem, fault = "failed", INTERNAL_FAULT, True
            with running.lock:
                running.problem, running.fault = problem, fault
                running.state = state
                running.changed()
        with self._lock:
            if self._running.get(running.session_id) is running:
                del self._running[running.session_id]


class _Recorder:
    """Saves what a mediation brings, at the moment it comes."""

    def __init__(self, store: Store, round_id: str) -> None:
        self._store = store
        self._round_id = round_id
        self._ids: dict[int, str] = {}  # by identity: the last event names the same objects
        self.state: RoundState = "running"

    def record(self, event: Event) -> None:
        """Save what an event brings. Raises `StoreError`; raises `Cancelled` when the round was ended meanwhile."""
        if self.state != "running":
            raise Cancelled
        match event:
            case RoundStarted(again=True):
                self._store.discard(self._round_id, event.strategy, event.round)
            case CandidateDone(candidate=candidate):
                self._ids[id(candidate)] = self._store.add_proposal(self._round_id, candidate).id
            case MediationDone():
                self.finish("stopped" if event.cancelled else "done", event.problem or "", event)
            case _:
                pass

    def finish(self, state: RoundState, problem: str, done: MediationDone | None = None) -> None:
        """End the round. Without a last event its finished candidates stay, unranked."""
        if done is None:
            self._store.finish_round(self._round_id, state, {}, problem=problem)
        else:
            ranks = {self._ids[id(candidate)]: number for number, candidate in enumerate(done.candidates, start=1)}
            self._store.finish_round(
                self._round_id,
                state,
                ranks,
                problem=problem,
                below_floor=done.below_floor,
                stopped_early=done.stopped_early,
                sources=done.sources,
                timings=done.timings,
            )
        self.state = state
