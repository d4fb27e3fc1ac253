"""ui/engine.py: each writer is loaded once, shared, and freed when nobody uses it any more."""

import threading

import pytest

from mediator.errors import EvenhandError, InputError
from mediator.models import load_writer
from ui import engine as engine_module
from ui.engine import Engine

FIRST, SECOND = "openai:first@http://localhost:1/v1", "openai:second@http://localhost:1/v1"


@pytest.fixture
def loaded(monkeypatch):
    """The names of the writers that were loaded, and of those that were closed; loading itself is the real one."""
    record = {"loaded": [], "closed": []}

    def load(choice, scorer):
        writer = load_writer(choice, scorer)
        record["loaded"].append(writer.name)
        close = writer.close
        writer.close = lambda: (record["closed"].append(writer.name), close())
        return writer

    monkeypatch.setattr(engine_module, "load_writer", load)
    return record


@pytest.fixture
def engine():
    engine = Engine()
    yield engine
    engine.close()


def test_a_writer_is_loaded_once_for_all(engine, loaded):
    with engine.writer(FIRST) as one, engine.writer(f" {FIRST} ") as two:
        assert one is two
    with engine.writer(FIRST) as three:
        assert three is one
    assert loaded == {"loaded": [FIRST], "closed": []}


def test_an_idle_writer_makes_room_and_a_busy_one_stays(engine, loaded):
    with engine.writer(FIRST), engine.writer(SECOND):
        assert loaded["closed"] == []
    with engine.writer(SECOND):
        assert loaded["closed"] == [FIRST]
    with engine.writer(FIRST):
        assert loaded == {"loaded": [FIRST, SECOND, FIRST], "closed": [FIRST, SECOND]}


def test_a_writer_that_cannot_be_loaded_can_be_asked_for_again(engine):
    for _ in range(2):
        with pytest.raises(EvenhandError), engine.writer("gguf:/nowhere/model.gguf"):
            pass
    with pytest.raises(InputError), engine.writer("nonsense"):
        pass


def test_sixteen_at_once_get_the_same_writer_and_scorer(engine, loaded):
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
    assert loaded["loaded"] == [FIRST]
