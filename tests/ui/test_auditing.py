"""ui/auditing.py: the swap audit in a thread of its own, watched, stopped, and with a writer that fails."""

import asyncio
import threading

import pytest

from mediator.schema import Dispute, View
from mediator.session import Form, SideForm
from mediator.store_errors import StoreFull
from mediator.writers.base import Delta, Unreachable
from tests.support.patience import PATIENCE
from tests.support.scripted import ScriptedWriter, whole
from tests.ui.test_running import Endless, OneWriter
from ui.auditing import Auditing

DISPUTE = Dispute(view_a=View(text="Quiet, please."), view_b=View(text="Let them play."))
FORM = Form(side_a=SideForm(text="Quiet, please."), side_b=SideForm(text="Let them play."), strategy="single", count=2)


class Watched(Endless):
    """An endless writer that says when it begins."""

    def __init__(self):
        super().__init__()
        self.began = threading.Event()

    def write(self, brief, cancel):
        self.began.set()
        yield from super().write(brief, cancel)


def seen(auditing, act=lambda number: None, keep=lambda found: None):
    """Run an audit to its end; ``act`` is called with the number of each thing shown."""

    async def watch():
        shown = []
        async for update in auditing.run("session", "window", DISPUTE, FORM, "en", keep):
            shown.append(update)
            act(len(shown))
        return shown

    return asyncio.run(asyncio.wait_for(watch(), PATIENCE))


def test_it_ends_with_a_verdict_and_runs_no_more():
    auditing = Auditing(OneWriter(ScriptedWriter(whole("one", "two"), whole("one", "two"))))
    kept = []
    found, line, busy = seen(auditing, keep=kept.append)[-1]
    assert found.verdict == "identical"
    assert (line, busy) == ("The exchange is done.", False)
    assert kept == [found]
    assert not auditing.runs_in("session")


def test_one_that_cannot_be_saved_is_shown_and_says_why():
    def full(found):
        raise StoreFull("The disk is full.")

    auditing = Auditing(OneWriter(ScriptedWriter(whole("one", "two"), whole("one", "two"))))
    found, line, _ = seen(auditing, keep=full)[-1]
    assert found.verdict is not None
    assert "could not be saved: The disk is full." in line


def test_a_writer_that_fails_is_raised_and_leaves_nothing_running():
    auditing = Auditing(OneWriter(ScriptedWriter([Unreachable("No connection.")])))
    with pytest.raises(Unreachable, match="No connection"):
        seen(auditing)
    assert not auditing.runs_in("session")


def test_a_writer_that_fails_halfway_is_not_called_a_stop():
    auditing = Auditing(
        OneWriter(ScriptedWriter([Delta(0, "one", done=True), Unreachable("No connection.")], whole("one")))
    )
    kept = []
    _, line, _ = seen(auditing, keep=kept.append)[-1]
    assert "No connection." in line
    assert kept == []


@pytest.mark.parametrize("end", ["stop", "leave"])
def test_a_stop_and_a_closed_window_end_the_writer(end):
    writer = Watched()
    auditing = Auditing(OneWriter(writer))

    def act(number):
        if number == 1:
            assert writer.began.wait(PATIENCE)
            assert auditing.runs_in("session")
            auditing.leave("another window")
            assert not writer.ended.wait(0.2)
            if end == "stop":
                auditing.stop("session")
            else:
                auditing.leave("window")

    assert seen(auditing, act)[-1] == (None, "The exchange was stopped.", False)
    assert writer.ended.wait(PATIENCE)


def test_a_stop_does_not_wait_for_a_model_that_is_loaded():
    loaded = threading.Event()
    auditing = Auditing(OneWriter(Endless(), loaded))
    shown = seen(auditing, lambda number: auditing.stop("session"))
    assert shown[-1] == (None, "The exchange was stopped.", False)
    assert not auditing.runs_in("session")
    loaded.set()  # until here there was no writer
