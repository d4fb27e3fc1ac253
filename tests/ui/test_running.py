"""ui/running.py: mediations in threads of their own, saved as they go, with a real store."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from mediator.cancellation import Cancelled
from mediator.mediation import MediationOptions
from mediator.schema import Dispute, View
from mediator.store import Store
from mediator.writers.base import Delta, Unreachable
from tests.support.patience import PATIENCE, until
from tests.support.scripted import ScriptedWriter, TableScorer, whole
from ui import running as running_module
from ui.running import INTERNAL_FAULT, Mediations

DISPUTE = Dispute(view_a=View(text="Quiet, please."), view_b=View(text="Let them play."))
SINGLE = MediationOptions(strategy="single", count=2)


class OneWriter:
    """An engine whose only writer is the one given, there at once or when the event ``loaded`` is set."""

    def __init__(self, writer, loaded=None):
        self._writer, self._loaded = writer, loaded

    def scorer(self):
        return TableScorer(one=(0.8, 0.8), two=(0.7, 0.7))

    @contextmanager
    def writer(self, spec, cancel=None, on_wait=None):
        if self._loaded is not None:
            assert self._loaded.wait(2 * PATIENCE)
        yield self._writer


class Endless:
    """A writer that finishes one proposal and then writes another for ever."""

    name = "endless"
    destination = None

    def __init__(self):
        self.ended = threading.Event()

    def write(self, brief, cancel):
        try:
            yield Delta(0, "one", done=True)
            while not cancel.cancelled:
                time.sleep(0.01)
                yield Delta(1, " word")
            raise Cancelled
        finally:
            self.ended.set()

    def close(self):
        pass


@pytest.fixture
def store():
    store = Store(None)
    yield store
    store.close()


def start(store, writer, options=SINGLE, session=None, loaded=None):
    session = session or store.create()
    mediations = Mediations(OneWriter(writer, loaded))

    def begin():
        return store.start_round(session.id, DISPUTE, "drafter", "single", 2, 1, 0)

    running, new = mediations.start(session.id, begin, DISPUTE, options, store)
    assert new
    return mediations, running, session


def test_everything_is_in_the_store_at_the_end(store):
    mediations, running, session = start(store, ScriptedWriter(whole("two", "one")))
    until(lambda: mediations.get(session.id) is None)
    assert running.finished
    (entry,) = store.get(session.id).rounds
    assert entry.state == "done"
    assert [proposal.candidate.text for proposal in entry.selected] == ["one", "two"]
    assert entry.timings["total"] > 0


def test_a_finished_proposal_is_saved_while_the_next_is_written(store):
    writer = Endless()
    mediations, running, session = start(store, writer)
    until(lambda: store.get(session.id).rounds[0].proposals)
    assert not running.finished
    mediations.stop(session.id)
    assert writer.ended.wait(PATIENCE)
    until(lambda: running.finished)
    entry = store.get(session.id).rounds[0]
    assert entry.state == "stopped"
    assert [proposal.candidate.text for proposal in entry.selected][:1] == ["one"]


def test_a_pass_begun_afresh_is_not_saved_twice(store):
    steps = [Delta(0, "one", done=True), Delta(0, "", restart=True), *whole("two")]
    _, running, session = start(store, ScriptedWriter(steps))
    until(lambda: running.finished)
    assert [proposal.candidate.text for proposal in store.get(session.id).rounds[0].proposals] == ["two"]


def test_a_second_window_joins_the_round_that_runs(store):
    mediations, running, session = start(store, Endless())

    def begin():
        raise AssertionError("a second round was begun")

    assert mediations.start(session.id, begin, DISPUTE, SINGLE, store) == (running, False)
    mediations.stop_all()
    until(lambda: running.finished)


@pytest.mark.parametrize(
    ("failure", "sentence"), [(Unreachable("No connection."), "No connection."), (OSError("x"), INTERNAL_FAULT)]
)
def test_a_writer_that_fails_ends_the_round_with_a_sentence(store, failure, sentence):
    _, running, session = start(store, ScriptedWriter([failure]))
    until(lambda: running.finished)
    entry = store.get(session.id).rounds[0]
    assert (entry.state, entry.problem) == ("failed", sentence)
    assert running.fault


def test_what_nobody_watches_is_ended_and_a_reload_is_not(store, monkeypatch):
    monkeypatch.setattr(running_module, "PATIENCE_WITHOUT_WATCHERS", PATIENCE)
    writer = Endless()
    _, running, _ = start(store, writer)
    with running.watched_by("window"):
        assert running._timer is None, "it is being ended while somebody watches"
    abandoning = running._timer
    with running.watched_by("reloaded"):  # back within the time
        assert abandoning.finished.is_set(), "who came back does not count"
        monkeypatch.setattr(running_module, "PATIENCE_WITHOUT_WATCHERS", 0.01)
        with running.watched_by("second"):
            pass
        assert not writer.ended.wait(0.2)
        assert not running.finished
    assert writer.ended.wait(PATIENCE)
    until(lambda: running.finished)
    assert running.state == "stopped"


def test_stop_while_a_model_is_loaded_keeps_nobody_waiting(store):
    loaded = threading.Event()
    mediations, running, session = start(store, Endless(), loaded=loaded)
    mediations.stop(session.id)
    until(lambda: running.finished, "it waited for the model")
    until(lambda: mediations.get(session.id) is None)
    assert store.get(session.id).rounds[0].state == "stopped"
    assert not running.begun
    loaded.set()


def test_nobody_who_looks_waits_for_a_round_that_is_being_made(store):
    mediations, making, made = Mediations(OneWriter(Endless())), threading.Event(), threading.Event()
    session = store.create()

    def begin():
        making.set()
        assert made.wait(2 * PATIENCE)
        return store.start_round(session.id, DISPUTE, "drafter", "single", 2, 1, 0)

    starting = threading.Thread(target=mediations.start, args=(session.id, begin, DISPUTE, SINGLE, store), daemon=True)
    starting.start()
    assert making.wait(PATIENCE)
    with ThreadPoolExecutor(1) as looking:
        assert looking.submit(mediations.get, session.id).result(PATIENCE) is None
        made.set()
    starting.join()
    mediations.stop_all()
    until(lambda: mediations.get(session.id) is None)


def test_a_session_that_is_deleted_meanwhile_ends_its_round(store):
    mediations, running, session = start(store, Endless())
    until(lambda: store.get(session.id).rounds[0].proposals)
    store.delete(session.id)
    mediations.stop(session.id)
    until(lambda: mediations.get(session.id) is None)
    assert (running.state, running.fault) == ("failed", True)


def test_a_round_whose_end_cannot_be_saved_is_over_all_the_same(store, monkeypatch):
    def broken(*_, **__):
        raise OSError("x")

    monkeypatch.setattr(store, "finish_round", broken)
    mediations, running, session = start(store, ScriptedWriter(whole("one", "two")))
    until(lambda: mediations.get(session.id) is None, "it is said to be writing for ever")
    assert (running.finished, running.problem) == (True, INTERNAL_FAULT)
