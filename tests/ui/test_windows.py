"""Two windows on one session: what is typed in both at the same moment is kept."""

import threading
import time

import pytest

from mediator.session import Form, SideForm
from mediator.store import Store
from ui.engine import Engine
from ui.windows import SessionDeleted, Windows
from ui.workspace import Workspace

EMPTY = Form()


@pytest.fixture
def windows(tmp_path):
    store = Store(tmp_path / "sessions.sqlite3")
    yield Windows(Workspace(Engine(), store))
    store.close()


def with_text(form, side, text):
    return form.model_copy(update={side: SideForm(text=text)})


def save(windows, window, session_id, form, title="", is_saved=True, sent=None):
    sent = time.monotonic() if sent is None else sent
    return windows.save(window, session_id, form, title, sent, private=False, is_saved=is_saved)


def test_fields_that_two_windows_change_at_once_are_both_kept(windows):
    session_id = save(windows, "one", "", EMPTY, is_saved=False)
    windows.open("one", session_id)
    windows.open("two", session_id)
    forms = {"one": EMPTY, "two": EMPTY}

    def type_many(window, side):
        for number in range(40):
            forms[window] = with_text(forms[window], side, f"{window} {number}")
            save(windows, window, session_id, forms[window])

    threads = [threading.Thread(target=type_many, args=pair) for pair in (("one", "side_a"), ("two", "side_b"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    form = windows.open("three", session_id).form
    assert (form.side_a.text, form.side_b.text) == ("one 39", "two 39")


def test_a_look_tells_what_another_window_typed_and_only_once(windows):
    session_id = save(windows, "one", "", with_text(EMPTY, "side_a", "Quiet."), "Library", is_saved=False)
    windows.open("two", session_id)
    assert windows.look("two", session_id) is None
    save(windows, "one", session_id, with_text(EMPTY, "side_a", "Quiet, please."), "The library")
    change = windows.look("two", session_id)
    assert change.session.form.side_a.text == "Quiet, please."
    assert (change.form_before.side_a.text, change.title_before) == ("Quiet.", "Library")
    assert windows.look("two", session_id) is None


def test_what_a_window_did_not_change_is_not_its_own_word(windows):
    session_id = save(windows, "one", "", EMPTY, is_saved=False)
    windows.open("two", session_id)
    save(windows, "one", session_id, with_text(EMPTY, "side_a", "From one."), "Its title")
    save(windows, "two", session_id, with_text(EMPTY, "side_b", "From two."))
    session = windows.open("three", session_id)
    assert (session.form.side_a.text, session.form.side_b.text) == ("From one.", "From two.")
    assert session.title == "Its title"


def test_a_deleted_session_does_not_come_back(windows):
    with pytest.raises(SessionDeleted):
        save(windows, "one", "0" * 32, EMPTY)


@pytest.mark.parametrize("private", [False, True])
@pytest.mark.parametrize("how", ["here", "by another process"])
def test_nothing_of_a_deleted_session_stays_in_memory(windows, monkeypatch, private, how):
    """Be its window open, turned to another session, or closed; one that shows it is told once."""

    def saved(window, words):
        form = with_text(EMPTY, "side_a", words)
        return windows.save(window, "", form, f"Title of {words}", 1.0, private=private, is_saved=False)

    session_id, other = saved("one", "SECRET"), saved("other", "KEPT")
    for window in ("two", "turned", "closed"):
        windows.open(window, session_id)
    windows.open("turned", other)
    windows.leave("closed")
    windows._workspace.store_of(session_id).delete(session_id)
    if how == "here":
        windows.forget(session_id)
    else:
        monkeypatch.setattr("ui.windows.SECONDS_BETWEEN_SEARCHES", 0.0)
        windows.look("turned", other)
    held = repr([vars(seen) for kept in (windows._windows, windows._past) for seen in kept.values()])
    assert "SECRET" not in held
    assert "KEPT" in held
    for window in ("one", "two"):
        with pytest.raises(SessionDeleted):
            windows.look(window, session_id)
        assert windows.look(window, session_id) is None
    with pytest.raises(SessionDeleted):
        save(windows, "closed", session_id, EMPTY)


@pytest.mark.parametrize("is_saved", [True, False])
def test_what_waited_in_a_queue_does_not_undo_what_was_sent_later(windows, is_saved):
    session_id = save(windows, "one", "", EMPTY, is_saved=False, sent=1.0)
    later = with_text(EMPTY, "side_a", "Quiet, please.")
    save(windows, "one", session_id, later, "The library", sent=3.0)
    waited = with_text(EMPTY, "side_a", "Quiet")
    assert save(windows, "one", session_id, waited, "Lib", is_saved=is_saved, sent=2.0) == session_id
    session = windows.open("two", session_id)
    assert (session.form, session.title) == (later, "The library")
    save(windows, "one", session_id, waited, "Lib", sent=4.0)  # as somebody who takes words back
    assert windows.open("two", session_id).form == waited


@pytest.mark.parametrize("go", ["turns", "leaves"])
def test_what_comes_late_of_a_window_that_went_undoes_nothing(windows, go):
    session_id = save(windows, "one", "", EMPTY, is_saved=False)
    windows.open("two", session_id)
    save(windows, "one", session_id, with_text(EMPTY, "side_a", "From one."), "Its title")
    if go == "turns":
        windows.open("two", save(windows, "three", "", EMPTY, is_saved=False))
    else:
        windows.leave("two")
    late = with_text(EMPTY, "side_b", "From two.")
    for summary in ("", "A library."):
        save(windows, "two", session_id, late.model_copy(update={"summary": summary}))
    session = windows.open("three", session_id)
    assert (session.form.side_a.text, session.form.side_b.text) == ("From one.", "From two.")
    assert (session.form.summary, session.title) == ("A library.", "Its title")


class DeletedWhenRead(Workspace):
    """A workspace in which a session is deleted in the moment after it was read."""

    def open(self, session_id):
        session = super().open(session_id)
        self.disk.delete(session_id)
        return session


def test_a_session_that_is_deleted_while_it_is_saved_does_not_come_back(tmp_path):
    store = Store(tmp_path / "sessions.sqlite3")
    windows = Windows(DeletedWhenRead(Engine(), store))
    session_id = save(windows, "one", "", EMPTY, is_saved=False)
    with pytest.raises(SessionDeleted):
        save(windows, "one", session_id, with_text(EMPTY, "side_a", "Quiet."))
    assert store.list() == []
    store.close()


@pytest.mark.parametrize(("typed", "left"), [("cheap", ""), ("cheap, and soon", "cheap, and soon")])
def test_only_the_comment_that_was_sent_is_cleared(windows, typed, left):
    session_id = save(windows, "one", "", Form(comment="cheap"), is_saved=False)
    save(windows, "one", session_id, Form(comment=typed, summary="A library."))
    assert windows.clear_comment("one", session_id, "cheap") == (not left)
    form = windows.look("one", session_id).session.form
    assert (form.comment, form.summary) == (left, "A library.")
