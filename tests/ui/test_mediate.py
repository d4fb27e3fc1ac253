"""ui/mediate.py without a browser: what is asked, when it is drawn, and what ends the writer."""

import threading
import time
from contextlib import nullcontext
from itertools import pairwise

import pytest

from mediator.cancellation import Cancellation, Cancelled
from mediator.empathy import EmpathyModel
from mediator.errors import InputError, UnknownModelError
from mediator.writers.base import Delta, Unreachable
from ui.mediate import FREE, PARTS, UPDATES_PER_SECOND, Request, Sessions, mediate

SIDE_A = (FREE, "The library must be quiet for readers.", "", "", "")
SIDE_B = (PARTS, "", "The library", "Children need a place after school.", "Let them talk there.")


def request(**changes):
    values = {
        "side_a": SIDE_A, "side_b": SIDE_B, "model": "drafter", "comment": "", "strategy": "single", "count": 4,
        "rounds": 1, "seed": 0,
    }  # fmt: skip
    return Request(**(values | changes))


@pytest.fixture(scope="module")
def scorer():
    scorer = EmpathyModel.load()
    scorer.references()  # embedded once, then kept: not part of what is timed here
    yield scorer
    scorer.close()


class OneWriter:
    """An engine whose only writer is the one given."""

    def __init__(self, writer, scorer):
        self._writer, self._scorer = writer, scorer

    def scorer(self):
        return self._scorer

    def writer(self, spec):
        return nullcontext(self._writer)


class Endless:
    """A writer that never comes to an end by itself."""

    name = "endless"
    destination = None

    def __init__(self, pause):
        self.pause = pause
        self.ended = threading.Event()
        self.written = 0

    def write(self, brief, cancel):
        try:
            while True:
                if cancel.cancelled:
                    raise Cancelled
                time.sleep(self.pause)
                self.written += 1
                yield Delta(0, f" word{self.written}")
        finally:
            self.ended.set()

    def close(self):
        pass


def test_the_form_that_is_shown_counts():
    dispute = request(side_a=(PARTS, "typed before", "The hall", "", "")).dispute()
    assert dispute.view_a.as_text() == "The hall."
    assert dispute.view_a.text == ""


@pytest.mark.parametrize("side", ["a", "b"])
def test_an_empty_side_is_named(side):
    with pytest.raises(InputError, match=f"View {side.upper()} is empty"):
        request(**{f"side_{side}": (FREE, " ", "", "", "")}).dispute()


@pytest.mark.parametrize("model", ["", "gpt", "openai:x"])
def test_an_unknown_writer_is_refused_before_anything_starts(model, scorer):
    with pytest.raises(UnknownModelError):
        next(mediate(request(model=model), OneWriter(None, scorer), Cancellation()))


def test_it_is_drawn_often_but_not_too_often(scorer):
    writer, drawn = Endless(0.004), []
    pictures = mediate(request(), OneWriter(writer, scorer), Cancellation())
    for picture in pictures:
        drawn.append(time.monotonic())
        if 'data-state="writing"' in picture.cards and drawn[-1] - drawn[0] > 1.5:
            break
    pictures.close()
    gaps = [later - earlier for earlier, later in pairwise(drawn[1:])]
    assert min(gaps) > 0.9 / UPDATES_PER_SECOND
    assert writer.written > 2 * len(drawn)  # several words in one picture


def test_a_reader_who_leaves_ends_the_writer(scorer):
    writer = Endless(0.01)
    pictures = mediate(request(), OneWriter(writer, scorer), Cancellation())
    for picture in pictures:
        if "word" in picture.cards:
            break
    pictures.close()
    assert writer.ended.wait(2)


def test_a_stop_ends_it_and_says_so(scorer):
    writer, cancellation = Endless(0.01), Cancellation()
    for picture in mediate(request(), OneWriter(writer, scorer), cancellation):
        if "word" in picture.cards:
            cancellation.cancel()
    assert writer.ended.is_set()
    assert "Stopped before the first proposal" in picture.status
    assert not picture.running


def test_a_writer_that_fails_raises_its_own_error(scorer):
    class Broken(Endless):
        def write(self, brief, cancel):
            raise Unreachable("No connection to example.org.", "Check the network.")
            yield

    with pytest.raises(Unreachable, match="No connection"):
        list(mediate(request(), OneWriter(Broken(0), scorer), Cancellation()))


def test_stop_while_the_writer_is_loaded_keeps_nobody_waiting(scorer):
    class Loading(OneWriter):
        def writer(self, spec):
            time.sleep(3)
            return super().writer(spec)

    cancellation, started = Cancellation(), time.monotonic()
    for picture in mediate(request(), Loading(Endless(0.01), scorer), cancellation):  # noqa: B007 - the last one counts
        cancellation.cancel()
    assert time.monotonic() - started < 2
    assert "Stopped" in picture.status


def test_sessions_are_kept_apart():
    sessions = Sessions()
    one, two = sessions.start("one"), sessions.start("two")
    sessions.stop("one")
    assert (one.cancelled, two.cancelled) == (True, False)
    again = sessions.start("two")
    assert two.cancelled, "a second mediation in one tab stops the first"
    sessions.finish("two", two)  # the first one ends late and must not take the second one with it
    sessions.stop("two")
    assert again.cancelled
    sessions.stop("unheard of")
