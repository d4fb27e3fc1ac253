"""Requests to a provider: how many at once, when they wait, how often they are tried again."""

import threading
import time
from collections.abc import Iterator

import pytest

from mediator.cancellation import Cancellation, Cancelled
from mediator.schema import Dispute, Strategy, View
from mediator.writers.base import Brief, Delta, Overloaded, RateLimited, RequestRejected, Unreachable, WriterError
from trainer.dataset.building.provider_limits import PatientWriter, ProviderGate, Waits, asked_wait

BRIEF = Brief(Dispute(view_a=View(text="a"), view_b=View(text="b")), Strategy.SINGLE)
QUICK = Waits(tries=3, first=0.01)


class Queue:
    """A writer that plays one list of deltas and errors after the other."""

    name, destination = "queue", "example.org"

    def __init__(self, *turns: list[Delta | WriterError]) -> None:
        self.turns = list(turns)
        self.at: list[float] = []

    def write(self, brief: Brief, cancel: Cancellation) -> Iterator[Delta]:
        self.at.append(time.monotonic())
        for step in self.turns.pop(0):
            if isinstance(step, WriterError):
                raise step
            yield step

    def close(self) -> None:
        pass


def texts(writer: PatientWriter, cancel: Cancellation | None = None) -> list[str]:
    """The candidates that are left after all restarts."""
    found: dict[int, str] = {}
    for delta in writer.write(BRIEF, cancel or Cancellation()):
        if delta.restart:
            found = {}
        if delta.text:
            assert delta.done
            found[delta.index] = delta.text
    return [found[index] for index in sorted(found)]


def test_candidates_come_whole():
    pieces = [Delta(0, "One "), Delta(1, "Two"), Delta(0, "fence.", done=True), Delta(1, " gates.")]
    assert texts(PatientWriter(Queue(pieces), ProviderGate(1))) == ["One fence.", "Two gates."]


def test_a_writer_that_starts_anew_takes_back_what_it_wrote():
    pieces = [Delta(0, "no", done=True), Delta(1, "half"), Delta(0, "", restart=True), Delta(0, "Yes.", done=True)]
    assert texts(PatientWriter(Queue(pieces), ProviderGate(1))) == ["Yes."]


def test_a_busy_provider_is_asked_again_and_half_a_stream_is_taken_back():
    queue = Queue(
        [Delta(0, "lost", done=True), Overloaded("busy")], [RateLimited("busy")], [Delta(0, "kept", done=True)]
    )
    writer = PatientWriter(queue, ProviderGate(4), QUICK)
    assert texts(writer) == ["kept"]
    assert writer.lost is None


def test_after_the_last_try_the_error_is_raised_and_remembered():
    error = Unreachable("gone")
    writer = PatientWriter(Queue([error], [error], [error], []), ProviderGate(1), QUICK)
    with pytest.raises(Unreachable):
        texts(writer)
    assert writer.lost is error


def test_what_is_about_one_request_is_not_tried_again():
    queue = Queue([RequestRejected("no")], [])
    writer = PatientWriter(queue, ProviderGate(1), QUICK)
    with pytest.raises(RequestRejected):
        texts(writer)
    assert writer.lost is None
    assert len(queue.at) == 1


def test_a_refusal_halves_what_is_under_way_and_good_answers_bring_it_back():
    gate = ProviderGate(8)
    gate.was_refused(0.05)
    gate.was_refused(0.05)  # of the same moment
    assert gate.allowed == 4
    time.sleep(0.06)
    gate.was_refused(0.0)
    assert gate.allowed == 2
    for _ in range(20):
        gate.went_well()
    assert gate.allowed == 4
    for _ in range(200):
        gate.went_well()
    assert gate.allowed == 8


def test_no_more_are_under_way_than_allowed():
    gate, lock = ProviderGate(3), threading.Lock()
    under_way = most = 0

    def work() -> None:
        nonlocal under_way, most
        for _ in range(5):
            with gate.turn(Cancellation()):
                with lock:
                    under_way += 1
                    most = max(most, under_way)
                time.sleep(0.01)
                with lock:
                    under_way -= 1

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 3


def test_a_refusal_holds_everybody_back():
    gate = ProviderGate(2)
    gate.was_refused(0.3)
    started = time.monotonic()
    with gate.turn(Cancellation()):
        assert time.monotonic() - started >= 0.25


def test_a_cancel_ends_every_wait():
    # Waits of hours: whoever does not hear the cancel does not end before the test is ended.
    cancel = Cancellation()
    threading.Timer(0.1, cancel.cancel).start()
    gate = ProviderGate(1)
    gate.was_refused(10_000.0)
    with pytest.raises(Cancelled), gate.turn(cancel):
        pass
    cancel, queue = Cancellation(), Queue([Unreachable("gone")], [])
    threading.Timer(0.1, cancel.cancel).start()
    writer = PatientWriter(queue, ProviderGate(1), Waits(tries=2, first=10_000.0, longest=10_000.0))
    with pytest.raises(Cancelled):
        texts(writer, cancel)
    assert len(queue.turns) == 1, "it is not asked again"


def test_the_providers_own_wish_is_followed():
    class Response:
        headers = {"retry-after": "7"}  # noqa: RUF012

    class Refusal(Exception):
        response = Response()

    error = RateLimited("slower")
    error.__cause__ = Refusal()
    assert asked_wait(error) == 7.0
    Response.headers = {"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}
    assert asked_wait(error) is None
    Response.headers = {"retry-after-ms": "250", "retry-after": "1"}
    assert asked_wait(error) == 0.25
    waits = Waits(first=10.0, longest=100.0)
    assert waits.after(0, 7.0) == 7.0
    assert waits.after(0, 1e6) == 100.0
    assert 7.5 <= waits.after(0, None) <= 10.0
    assert 75.0 <= waits.after(9, None) <= 100.0
