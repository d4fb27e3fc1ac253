"""Who drafts the disputes of a build: threads that share one writer, or processes that each have their own."""

import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol

from mediator.cancellation import Cancellation, Cancelled
from mediator.ctrl_c import ctrl_c_calls
from mediator.errors import EvenhandError
from mediator.log import log_error
from mediator.mediation import MediationDone, MediationOptions, propose
from mediator.neutrality import scores_of
from mediator.strategies import Scorer
from mediator.writers.base import Writer
from trainer.dataset.building.provider_limits import PatientWriter, ProviderGate, Waits
from trainer.dataset.data import DataCandidate, Example

_TICK = 0.5
"""Seconds after which a crew gives a sign of life, so that whoever reads can notice a cancel."""

_MOST_CRASHES = 3
"""Worker processes that may die before the build is given up."""


@dataclass(frozen=True)
class Outcome:
    """What became of one dispute.

    Attributes:
        id: of the dispute.
        example: it with its candidates, best first; None if there are none.
        problem: why there are none, or which of the strategies failed; a sentence.
        error: the failure itself, where there is no example.
    """

    id: str
    example: Example | None = None
    problem: str = ""
    error: EvenhandError | None = None


class WorkerDied(EvenhandError):
    """A worker process ended in the midst of its work, killed or out of memory."""


class Crew(Protocol):
    """Drafts disputes, several at a time."""

    def outcomes(self, examples: Iterable[Example], cancel: Cancellation) -> Generator[Outcome | None, None, None]:
        """Yield what became of each dispute, in the order of their ends; None now and then while none ends.

        Ends soon after a cancel; disputes that were under way then have no outcome.
        """
        ...


def draft(
    example: Example,
    writer: Writer,
    scorer: Scorer,
    options: MediationOptions,
    cancel: Cancellation,
    gate: ProviderGate,
    waits: Waits | None = None,
) -> Outcome | None:
    """Write the candidates of one dispute; None after a cancel.

    A strategy whose request could not be served (no usable text, too long, refused) is done without, as in `propose`;
    a dispute on which the provider was lost has failed, even if some candidates were written: it shall be drafted whole
    when it is tried again.
    """
    patient = PatientWriter(writer, gate, waits)
    done: MediationDone | None = None
    try:
        for event in propose(example, patient, scorer, options, cancel):
            if isinstance(event, MediationDone):
                done = event
    except Cancelled:
        return None
    except EvenhandError as error:
        return None if cancel.cancelled else Outcome(example.id, problem=str(error), error=error)
    except Exception as error:  # noqa: BLE001 - one dispute with a bug behind it does not take the others with it
        log_error(error)
        words = f"Something went wrong inside Evenhand ({type(error).__name__}); the details are in the log."
        return Outcome(example.id, problem=words, error=EvenhandError(words))
    if done is None or done.cancelled:
        return None
    if patient.lost is not None:
        return Outcome(example.id, problem=str(patient.lost), error=patient.lost)
    return Outcome(example.id, with_candidates(example, done), done.problem or "")


def with_candidates(example: Example, done: MediationDone) -> Example:
    """Return the dispute with the selected candidates of a mediation, best first."""
    chosen = tuple(
        DataCandidate(
            text=candidate.text,
            strategy=candidate.strategy,
            score_a=round(scores_of(candidate).score_a, 6),
            score_b=round(scores_of(candidate).score_b, 6),
        )
        for candidate in done.candidates
    )
    return example.model_copy(update={"candidates": chosen})


class ThreadCrew:
    """Threads that share one writer and one scorer: for writers that wait for a network, or for a single thread."""

    def __init__(
        self, writer: Writer, scorer: Scorer, options: MediationOptions, workers: int, waits: Waits | None = None
    ) -> None:
        self._writer, self._scorer, self._options, self._workers = writer, scorer, options, workers
        self._waits = waits
        self.gate = ProviderGate(workers)

    def outcomes(self, examples: Iterable[Example], cancel: Cancellation) -> Generator[Outcome | None, None, None]:
        """See `Crew.outcomes`."""
        left, lock, ended = iter(examples), threading.Lock(), threading.Event()
        # One place only: nobody runs ahead of whoever writes down what is done.
        arrived: queue.Queue[Outcome | None] = queue.Queue(1)

        def hand_over(outcome: Outcome | None) -> None:
            while not ended.is_set():
                with suppress(queue.Full):
                    arrived.put(outcome, timeout=_TICK)
                    return

        def work() -> None:
            try:
                while not (cancel.cancelled or ended.is_set()):
                    with lock:
                        example = next(left, None)
                    if example is None:
                        return
                    outcome = draft(example, self._writer, self._scorer, self._options, cancel, self.gate, self._waits)
                    if outcome is not None:
                        hand_over(outcome)
            finally:
                hand_over(None)

        threads = [threading.Thread(target=work, name=f"build {n}", daemon=True) for n in range(self._workers)]
        for thread in threads:
            thread.start()
        working = len(threads)
        try:
            while working:
                try:
                    outcome = arrived.get(timeout=_TICK)
                except queue.Empty:
                    yield None
                    continue
                if outcome is None:
                    working -= 1
                else:
                    yield outcome
        finally:
            ended.set()


@dataclass
class _Worker:
    """One process, the parent's end of its pipe, and what it is working at."""

    process: Any
    pipe: "Connection[Any, Any]"
    at: Example | None = None


class ProcessCrew:
    """Processes with a writer and a scorer of their own: for a writer that computes, in Python, on one core each.

    A worker whose parent has died finds its pipe closed and ends.
    """

    def __init__(self, model: str, encoder: str, options: MediationOptions, workers: int) -> None:
        self._given = (model, encoder, options)
        self._workers = workers

    def outcomes(self, examples: Iterable[Example], cancel: Cancellation) -> Generator[Outcome | None, None, None]:
        """See `Crew.outcomes`. Raises `WorkerDied` when worker processes die again and again."""
        left = iter(examples)
        crew: list[_Worker] = []
        crashes = 0
        try:
            crew = [_start(*self._given) for _ in range(self._workers)]
            for worker in crew:
                _hand_next(worker, left)
            while not cancel.cancelled and any(worker.at for worker in crew):
                ready = wait([worker.pipe for worker in crew if worker.at], _TICK)
                if not ready:
                    yield None
                for worker in [worker for worker in crew if worker.pipe in ready]:
                    example = worker.at
                    try:
                        outcome: Outcome | None = worker.pipe.recv()
                    except (EOFError, OSError):
                        crashes += 1
                        died = WorkerDied(
                            "A worker process died, killed or out of memory.", "Try again with fewer --workers."
                        )
                        if crashes >= _MOST_CRASHES:
                            raise died from None
                        crew.remove(worker)
                        _end(worker)
                        worker = _start(*self._given)
                        crew.append(worker)
                        outcome = Outcome(example.id, problem=str(died), error=died) if example else None
                    _hand_next(worker, left)
                    if outcome is not None:
                        yield outcome
        finally:
            for worker in crew:
                _end(worker)


def _hand_next(worker: _Worker, left: Iterator[Example]) -> None:
    worker.at = next(left, None)
    if worker.at is not None:
        with suppress(OSError):  # it has died: reading from it will tell
            worker.pipe.send(worker.at)


def _start(model: str, encoder: str, options: MediationOptions) -> _Worker:
    context = multiprocessing.get_context("spawn")  # a fork would copy llama.cpp's threads half
    ours, theirs = context.Pipe()
    with _quiet_start():
        process = context.Process(target=_work, args=(theirs, model, encoder, options), daemon=True)
        process.start()
    theirs.close()
    return _Worker(process, ours)


@contextmanager
def _quiet_start() -> Iterator[None]:
    """Start processes that do not hear Ctrl-C, which goes to all of a terminal's, and that compute on one thread."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    with ctrl_c_calls(signal.SIG_IGN):
        yield


def _end(worker: _Worker) -> None:
    worker.pipe.close()
    worker.process.terminate()
    worker.process.join()


def _work(pipe: "Connection[Any, Any]", model: str, encoder: str, options: MediationOptions) -> None:
    """Draft what comes through the pipe, until it is closed: the whole life of a worker process."""
    from mediator.empathy import EmpathyModel
    from mediator.log import start_logging
    from mediator.models import load_writer

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    start_logging()
    scorer = EmpathyModel.load(encoder)
    writer = load_writer(model, scorer)
    gate, cancel = ProviderGate(1), Cancellation()
    with suppress(EOFError, OSError):
        while True:
            example: Example = pipe.recv()
            pipe.send(draft(example, writer, scorer, options, cancel, gate))
