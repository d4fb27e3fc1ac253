"""ui/engine.py: each writer is loaded once, lent in turn, closed before another large one, and freed when idle."""

import threading
import time

import pytest
from support.patience import PATIENCE, until
from support.tiny_models import FOUR_COMPROMISES, tiny_llama_gguf

from mediator.cancellation import Cancellation, Cancelled
from mediator.disputes import examples
from mediator.errors import EvenhandError, InputError, ModelFileError
from mediator.mediation import MediationDone, MediationOptions, propose
from mediator.models import load_writer
from ui import engine as engine_module
from ui.engine import SPARE_CONNECTIONS, Engine, EngineClosed, WriterInUse, idle_minutes, places_for

FIRST, SECOND = "openai:first@http://localhost:1/v1", "openai:second@http://localhost:1/v1"


@pytest.fixture
def record(monkeypatch):
    """What was loaded and closed, in order; loading itself is the real one, and can be held up."""

    class Record(list):
        held = None
        begun = threading.Event()
        gate = threading.Event()

        def of(self, name):
            return [what for what, whose in self if whose == name]

        def hold(self, name):
            self.held = name

    record = Record()

    def load(choice, scorer):
        record.append(("load", str(choice)))
        if record.held == str(choice):
            record.begun.set()
            assert record.gate.wait(2 * PATIENCE)
        writer = load_writer(choice, scorer)
        close = writer.close
        writer.close = lambda: (record.append(("close", str(choice))), close())
        return writer

    monkeypatch.setattr(engine_module, "load_writer", load)
    yield record
    record.gate.set()


@pytest.fixture
def engine():
    engine = Engine()
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Two language models in files of their own; both say the same four compromises."""
    folder = tmp_path_factory.mktemp("models")
    return [
        f"gguf:{tiny_llama_gguf(folder / f'{name}.gguf', recital=FOUR_COMPROMISES, context=8192)}"
        for name in ("one", "two")
    ]


class Asker(threading.Thread):
    """Somebody who asks for a writer and keeps it until told to go."""

    def __init__(self, engine, spec):
        super().__init__(daemon=True)
        self.engine, self.spec, self.cancel = engine, spec, Cancellation()
        self.positions, self.got, self.may_go = [], threading.Event(), threading.Event()
        self.writer, self.failure = None, None
        self.start()

    def run(self):
        try:
            with self.engine.writer(self.spec, self.cancel, self.positions.append) as self.writer:
                self.got.set()
                assert self.may_go.wait(2 * PATIENCE)
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            self.failure = error

    def go(self):
        self.may_go.set()
        self.end()

    def end(self):
        self.join(PATIENCE)
        assert not self.is_alive()


def named(engine):
    return [entry.name for entry in engine.loaded()]


# -- loading ---------------------------------------------------------------------------------------------------------


def test_a_writer_is_loaded_once_for_all(engine, record):
    with engine.writer(FIRST) as one, engine.writer(f" {FIRST} ") as two:
        assert one is two
    with engine.writer(FIRST) as three:
        assert three is one
    assert record == [("load", FIRST)]


def test_sixteen_at_once_get_the_same_writer_and_scorer(engine, record):
    start, got = threading.Barrier(16), []

    def ask():
        start.wait()
        with engine.writer(FIRST) as writer:
            got.append((id(writer), id(engine.scorer())))

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 16
    assert len(set(got)) == 1
    assert record == [("load", FIRST)]


def test_a_writer_that_cannot_be_loaded_can_be_asked_for_again(engine):
    for _ in range(2):
        with pytest.raises(EvenhandError), engine.writer("gguf:/nowhere/model.gguf"):
            pass
    with pytest.raises(InputError), engine.writer("nonsense"):
        pass
    assert engine.loaded() == ()


def test_a_failed_loading_lets_the_next_one_try(engine, record, models, tmp_path):
    path = tmp_path / "late.gguf"
    record.hold(f"gguf:{path}")
    first = Asker(engine, f"gguf:{path}")
    assert record.begun.wait(PATIENCE)
    second = Asker(engine, f"gguf:{path}")
    until(lambda: second.positions == [1])
    other = Asker(engine, models[0])
    until(lambda: other.positions == [2])
    record.gate.set()
    for asker in (first, second):
        asker.end()
        assert isinstance(asker.failure, ModelFileError)
    assert other.got.wait(PATIENCE)
    other.go()
    tiny_llama_gguf(path)
    with engine.writer(f"gguf:{path}") as writer:
        assert writer.name == f"gguf:{path}"


def test_a_loading_that_was_given_up_is_kept_for_the_next(engine, record, models):
    record.hold(models[0])
    impatient = Asker(engine, models[0])
    assert record.begun.wait(PATIENCE)
    patient = Asker(engine, models[0])
    until(lambda: patient.positions == [1])
    impatient.cancel.cancel()
    with engine.writer("drafter"), engine.writer(FIRST):
        assert record.of(FIRST) == ["load"]  # nobody else is held up
    record.gate.set()
    impatient.end()
    assert isinstance(impatient.failure, Cancelled)
    assert patient.got.wait(PATIENCE)
    patient.go()
    assert record.of(models[0]) == ["load"]


def test_waiting_for_anothers_loading_of_a_shared_writer_can_be_given_up(engine, record):
    record.hold(FIRST)
    loading = Asker(engine, FIRST)
    assert record.begun.wait(PATIENCE)
    waiting = Asker(engine, FIRST)
    until(lambda: engine._places[FIRST].askers == 2)
    time.sleep(0.02)
    waiting.cancel.cancel()
    waiting.end()
    assert isinstance(waiting.failure, Cancelled)
    assert loading.is_alive()
    assert engine._places[FIRST].loading.locked(), "it waited until the writer was loaded"
    record.gate.set()
    assert loading.got.wait(PATIENCE)
    loading.go()


# -- lines -----------------------------------------------------------------------------------------------------------


def test_a_large_model_serves_one_after_the_other(engine, record, models):
    first, second = Asker(engine, models[0]), None
    assert first.got.wait(PATIENCE)
    second = Asker(engine, models[0])
    until(lambda: second.positions == [1])
    third = Asker(engine, models[0])
    until(lambda: third.positions == [2])
    (entry,) = engine.loaded()
    assert (entry.users, entry.waiting, entry.idle_seconds) == (1, 2, 0.0)
    assert not second.got.is_set()
    first.go()
    assert second.got.wait(PATIENCE)
    until(lambda: third.positions == [2, 1])
    assert not third.got.is_set()
    second.go()
    assert third.got.wait(PATIENCE)
    third.go()
    assert record == [("load", models[0])]


def test_another_large_model_waits_and_the_first_is_closed_before_it_loads(engine, record, models):
    one, two = models
    first = Asker(engine, one)
    assert first.got.wait(PATIENCE)
    second = Asker(engine, two)
    until(lambda: second.positions == [1])
    assert record == [("load", one)]
    first.go()
    assert second.got.wait(PATIENCE)
    assert record == [("load", one), ("close", one), ("load", two)]
    assert named(engine) == [two]
    second.go()
    with engine.writer(one) as writer:  # loaded afresh, and whole
        (dispute, *_) = examples().values()
        *_, last = propose(dispute, writer, engine.scorer(), MediationOptions("single", 4))
        assert isinstance(last, MediationDone)
        assert len(last.candidates) == 4
    assert record[-2:] == [("close", two), ("load", one)]


def test_a_large_model_in_use_holds_up_neither_the_drafter_nor_a_server(engine, record, models):
    with engine.writer(models[0]), engine.writer("drafter") as drafter, engine.writer(FIRST) as remote:
        assert (drafter.name, remote.name) == ("drafter", FIRST)
    assert named(engine) == sorted(["drafter", FIRST, models[0]])
    assert record.of(models[0]) == ["load"]


@pytest.mark.parametrize("spec", ["drafter", FIRST])
def test_each_kind_serves_as_many_as_it_can(engine, spec):
    places = places_for("drafter" if spec == "drafter" else "openai")
    inside = [Asker(engine, spec) for _ in range(places)]
    assert all(asker.got.wait(PATIENCE) for asker in inside)
    late = Asker(engine, spec)
    until(lambda: late.positions == [1])
    inside[-1].go()
    assert late.got.wait(PATIENCE)
    for asker in (*inside[:-1], late):
        asker.go()


def test_giving_up_in_the_line_waits_for_nobody(engine, models):
    with engine.writer(models[0]):
        waiting = Asker(engine, models[1])
        until(lambda: waiting.positions == [1])
        waiting.cancel.cancel()
        waiting.end()  # before the one in front of it has finished
        assert isinstance(waiting.failure, Cancelled)
    assert named(engine) == models[:1]


# -- freeing ---------------------------------------------------------------------------------------------------------


def housekeepers():
    return [thread for thread in threading.enumerate() if thread.name == "idle models"]


def test_an_idle_model_is_unloaded_and_the_thread_that_did_it_ends(record, models):
    engine = Engine(idle=1.0 / 60)
    with engine.writer("drafter"):
        assert housekeepers() == []
    with engine.writer(models[0]):
        (keeper,) = housekeepers()
        assert keeper.daemon
        time.sleep(1.3)
        assert named(engine) == ["drafter", models[0]]  # in use is not idle
    until(lambda: named(engine) == ["drafter"])
    until(lambda: housekeepers() == [])
    assert record.of(models[0]) == ["load", "close"]
    with engine.writer(models[0]):
        assert len(housekeepers()) == 1
    engine.close()
    until(lambda: housekeepers() == [])


def test_with_zero_minutes_nothing_is_unloaded(models):
    engine = Engine(idle=0)
    with engine.writer(models[0]):
        assert housekeepers() == []
        time.sleep(0.05)
        in_use = time.monotonic()
    (entry,) = engine.loaded()
    assert entry.name == models[0]
    assert 0.0 <= entry.idle_seconds <= time.monotonic() - in_use, "the time in which it was used counts as idle"
    engine.close()


def test_the_minutes_come_from_the_environment(monkeypatch):
    assert idle_minutes() == 15
    monkeypatch.setenv("EVENHAND_IDLE_MINUTES", " 0.5 ")
    assert idle_minutes() == 0.5
    for nonsense in ("soon", "-1", "nan", "inf"):
        monkeypatch.setenv("EVENHAND_IDLE_MINUTES", nonsense)
        with pytest.raises(InputError, match=nonsense):
            Engine()


def test_unloading_frees_what_is_idle_and_refuses_what_is_not(engine, record, models):
    spec = models[0]
    engine.unload(spec)  # not there
    with engine.writer(spec), pytest.raises(WriterInUse, match="in use"):
        engine.unload(spec)
    (entry,) = engine.loaded()
    assert entry.bytes is not None
    assert entry.bytes > 10_000
    engine.unload(f" {spec}")
    assert engine.loaded() == ()
    assert record == [("load", spec), ("close", spec)]
    with engine.writer(spec):
        pass
    with pytest.raises(InputError):
        engine.unload("nonsense")


def test_who_asks_while_a_model_is_about_to_be_unloaded_keeps_it(engine, record, models):
    with engine.writer(models[0]):
        pass
    refused = []

    def unload():
        try:
            engine.unload(models[0])
        except WriterInUse as error:
            refused.append(error)

    unloading = threading.Thread(target=unload)
    with engine._large_loading:
        unloading.start()
        time.sleep(0.1)  # it has found the model idle, and waits to close it
        asker = Asker(engine, models[0])
        until(lambda: engine._places[models[0]].askers == 1)
    unloading.join(PATIENCE)
    assert asker.got.wait(PATIENCE)
    asker.go()
    assert len(refused) == 1
    assert record == [("load", models[0])]


def test_only_so_many_idle_connections_are_kept(engine, record):
    specs = [f"openai:m{number}@http://localhost:1/v1" for number in range(SPARE_CONNECTIONS + 3)]
    for spec in specs:
        with engine.writer(spec):
            pass
    assert named(engine) == sorted(specs[3:])
    assert [whose for what, whose in record if what == "close"] == specs[:3]


def test_closing_ends_everything_and_says_so(record, models):
    engine = Engine()
    holder = Asker(engine, models[0])
    assert holder.got.wait(PATIENCE)
    waiting = Asker(engine, models[1])
    until(lambda: waiting.positions == [1])
    engine.close()
    engine.close()
    waiting.end()
    assert isinstance(waiting.failure, EngineClosed)
    assert record == [("load", models[0]), ("close", models[0])]
    holder.go()
    assert engine.loaded() == ()
    for ask in (lambda: engine.writer("drafter").__enter__(), engine.scorer):
        with pytest.raises(EngineClosed, match="being closed"):
            ask()


def test_what_is_loaded_while_the_engine_closes_is_freed(record, models):
    engine = Engine()
    record.hold(models[0])
    late = Asker(engine, models[0])
    assert record.begun.wait(PATIENCE)
    engine.close()
    record.gate.set()
    late.end()
    assert isinstance(late.failure, EngineClosed)
    assert record.of(models[0]) == ["load", "close"]


def test_many_askers_of_many_models_leave_nothing_behind(record, models):
    """Forty threads, two files, a drafter and three servers, some of them impatient, while idle ones are unloaded."""
    engine = Engine(idle=0.01 / 60)
    specs = [*models, "drafter", FIRST, SECOND, "gguf:/nowhere.gguf"]
    large, failures, lock = 0, [], threading.Lock()

    def work(number):
        nonlocal large
        cancel = Cancellation()
        spec = specs[number % len(specs)]
        timer = threading.Timer(0.02 * (number % 7), cancel.cancel) if number % 5 == 0 else None
        if timer:
            timer.start()
        try:
            with engine.writer(spec, cancel):
                if spec in models:
                    with lock:
                        large += 1
                        assert large == 1
                time.sleep(0.005)
                if spec in models:
                    with lock:
                        large -= 1
        except (Cancelled, ModelFileError):
            pass
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert failures == []
    assert not any(thread.is_alive() for thread in threads)
    until(lambda: named(engine) in ([], ["drafter"]))
    for spec in models:
        loads = record.of(spec)
        assert loads == ["load", "close"] * (len(loads) // 2)
    in_memory = 0
    for what, whose in record:  # never two large ones in memory, at any time
        if whose in models:
            in_memory += 1 if what == "load" else -1
            assert in_memory <= 1
    engine.close()
