"""The Mediate tab's listeners, called as Gradio does: windows that come, look, turn away, and lose their session."""

import asyncio
import threading
import time
from contextlib import aclosing, nullcontext
from itertools import pairwise
from types import SimpleNamespace

import fastapi
import gradio as gr
import pytest

from mediator.session import Form, SideForm
from mediator.store import SessionNotFound, Store
from tests.support.patience import PATIENCE, until
from tests.support.scripted import ScriptedWriter, whole
from tests.ui.test_auditing import Watched
from tests.ui.test_running import Endless, OneWriter
from ui import mediate_rounds
from ui.http_guard import ARRIVED
from ui.mediate import MediateTab
from ui.workspace import Workspace

FORM = Form(
    side_a=SideForm(text="Quiet, please."),
    side_b=SideForm(text="Let them play."),
    model="drafter",
    strategy="single",
    count=2,
)


class Lent(OneWriter):
    """An engine that can be closed."""

    def close(self):
        pass


class Desk:
    """The tab, a workspace with one session in it, and windows that ask."""

    def __init__(self, folder, writer, kind=Workspace):
        self.workspace = kind(Lent(writer), Store(folder / "sessions.sqlite3"))
        with gr.Blocks():
            self.tab = MediateTab(self.workspace)
        self.page = self.tab.page
        self.session_id = self.workspace.create(FORM, "Library", False).id

    def request(self, window, language="en", arrived=None):
        scope = {"type": "http", "query_string": f"session={self.session_id}".encode(), "state": {}}
        scope["headers"] = [(b"accept-language", language.encode())]
        if arrived is not None:
            scope["state"][ARRIVED] = arrived
        return gr.Request(fastapi.Request(scope), session_hash=window)

    def values(self, **typed):
        """What a window sends that shows the session."""
        sent = {component: component.value for component in self.page.form} | self.page.fields.write(FORM)
        sent |= {self.page.session_id: self.session_id, self.page.address: self.session_id, self.page.title: "Library"}
        return sent | {getattr(self.page.fields, name): value for name, value in typed.items()}

    def look(self, window, language="en"):
        return self.tab.on_look(self.session_id, 0, self.session_id, self.request(window, language))

    def propose(self):
        return self.workspace.propose(self.session_id, FORM, "en")[0]

    def propose_to_the_end(self):
        running = self.propose()
        until(lambda: running.finished and self.workspace.mediations.get(self.session_id) is None)

    def act(self, window, **data):
        """Press a button of the cards."""
        return self.tab.on_act(
            self.values() | {self.page.pending_like: None}, SimpleNamespace(_data=data), self.request(window)
        )


@pytest.fixture
def desk_with(tmp_path):
    made = []

    def make(writer, kind=Workspace):
        made.append(Desk(tmp_path, writer, kind))
        return made[-1]

    yield make
    for desk in made:
        desk.workspace.close()


class EndsWhileItIsRead(Workspace):
    """A workspace in which what runs in a session ends in the moment after the session was read."""

    def open(self, session_id):
        session = super().open(session_id)
        self.mediations.stop(session_id)
        until(lambda: self.mediations.get(session_id) is None)
        return session


def test_a_page_loaded_while_a_round_ends_shows_its_cards_and_how_it_ended(desk_with):
    desk = desk_with(Endless(), EndsWhileItIsRead)
    desk.propose()
    until(lambda: desk.workspace.disk.get(desk.session_id).rounds[0].proposals)
    shown = desk.tab.on_load(desk.request("window"))
    assert desk.page.attach not in shown
    assert "Stopped." in shown[desk.page.status]
    assert "eh-card" in shown[desk.page.board]


def test_a_page_loaded_in_the_midst_of_a_round_watches_it(desk_with):
    desk = desk_with(Endless())
    running = desk.propose()
    shown = desk.tab.on_load(desk.request("window"))
    assert shown[desk.page.attach].startswith(running.round.id)


def test_a_window_is_told_once_how_a_round_ended_that_it_did_not_watch(desk_with):
    desk = desk_with(ScriptedWriter(whole("one", "two")))
    desk.tab.on_load(desk.request("window"))
    running = desk.propose()
    until(lambda: running.finished and desk.workspace.mediations.get(desk.session_id) is None)
    told = desk.look("window")
    assert "Done in" in told[desk.page.status]
    assert "eh-card" in told[desk.page.board]
    assert desk.page.board not in desk.look("window")


def test_typing_that_changes_nothing_of_the_cards_does_not_draw_them_again(desk_with):
    desk = desk_with(ScriptedWriter())
    desk.tab.on_load(desk.request("window"))
    desk.tab.on_typed(desk.values(summary="A library."), desk.request("window"))
    assert desk.workspace.open(desk.session_id).form.summary == "A library."
    assert desk.page.board not in desk.look("window")


@pytest.mark.parametrize(("typed", "used"), [(-5, 0), (1e20, 2**31 - 1), (None, None), (7, None)])
def test_a_seed_out_of_range_is_put_right_and_the_rest_is_saved(desk_with, typed, used):
    desk = desk_with(ScriptedWriter())
    told = desk.tab.on_typed(desk.values(seed=typed, summary="A library."), desk.request("window"))
    assert told.get(desk.page.fields.seed) == used
    assert desk.workspace.open(desk.session_id).form.summary == "A library."


def test_what_is_typed_while_a_press_of_propose_waits_its_turn_is_kept(desk_with):
    desk = desk_with(ScriptedWriter(whole("one", "two")))
    desk.tab.on_load(desk.request("window"))
    pressed, now = {**desk.values(), desk.page.pending_like: None}, time.monotonic()
    desk.tab.on_typed(desk.values(summary="A library."), desk.request("window", arrived=now + 1.0))

    async def press():
        async for _ in desk.tab.on_propose(pressed, desk.request("window", arrived=now)):
            pass

    asyncio.run(press())
    session = desk.workspace.open(desk.session_id)
    assert (session.form.summary, session.rounds[0].dispute.summary) == ("A library.", "")


def test_between_two_drawings_of_what_is_written_the_page_rests(desk_with, monkeypatch):
    rested, drawn = [], []

    async def rest(seconds):
        rested.append(seconds)
        await asyncio.sleep(seconds)

    monkeypatch.setattr(mediate_rounds, "asyncio", SimpleNamespace(sleep=rest, to_thread=asyncio.to_thread))
    desk = desk_with(Endless())
    desk.propose()
    desk.tab.on_load(desk.request("window"))

    async def watch():
        async with aclosing(desk.tab.on_attach(desk.session_id, 0, desk.request("window"))) as updates:
            async for update in updates:
                if desk.page.live in update:
                    drawn.append(sum(rested))
                if len(drawn) == 4:
                    return

    asyncio.run(asyncio.wait_for(watch(), PATIENCE))
    assert all(later - earlier > 1 / 14 for earlier, later in pairwise(drawn)), "more than 14 drawings a second"


def test_a_window_that_turns_to_another_dispute_gets_no_more_of_the_first(desk_with):
    desk = desk_with(Endless())
    desk.propose()
    request = desk.request("window")
    desk.tab.on_load(request)
    example = next(iter(desk.tab.disputes))

    async def watch_and_turn():
        seen, turned = [], {}
        async with aclosing(desk.tab.on_attach(desk.session_id, 0, request)) as updates:
            async for update in updates:
                seen.append(update)
                if desk.page.live in update and not turned:
                    values = desk.values() | {desk.page.example: example}
                    turned = await asyncio.to_thread(desk.tab.on_example, values, request)
                    seen.clear()
        return turned, seen

    turned, after = asyncio.run(asyncio.wait_for(watch_and_turn(), PATIENCE))
    assert turned[desk.page.session_id] != desk.session_id
    assert "new dispute" in turned[desk.page.status]
    # Gradio sends the last message again when all is over.
    assert after == [{desk.page.status: gr.skip()}]
    assert desk.workspace.mediations.get(desk.session_id) is not None, "it goes on for those who come back"
    late = desk.tab.on_typed(desk.values(summary="Typed just before."), request)
    assert desk.page.address not in late, "the page's address is that of what it shows"
    assert desk.workspace.open(desk.session_id).form.summary == "Typed just before."


def test_an_audit_of_a_session_that_another_window_deletes_ends_and_says_so(desk_with):
    writer = Watched()
    desk = desk_with(writer)
    request = desk.request("window")
    desk.tab.on_load(request)

    async def audit_and_delete():
        last = {}
        async for update in desk.tab.on_audit(desk.values(), request):
            last |= {component: value for component, value in update.items() if value != gr.skip()}
            if desk.page.audit_line in update and desk.workspace.version(desk.session_id):
                assert await asyncio.to_thread(writer.began.wait, PATIENCE)
                await asyncio.to_thread(desk.workspace.disk.delete, desk.session_id)
        return last

    last = asyncio.run(asyncio.wait_for(audit_and_delete(), PATIENCE))
    assert writer.ended.wait(PATIENCE)
    for component in (desk.page.audit_line, desk.page.status):
        assert "not there any more" in last[component]
    assert last[desk.page.run_audit]["interactive"]
    assert not last[desk.page.stop]["interactive"]


@pytest.mark.parametrize("private", [False, True])
def test_an_audit_is_there_after_a_reload_and_in_every_window(desk_with, private):
    desk = desk_with(ScriptedWriter(*[whole("one", "two")] * 2))
    if private:
        desk.session_id = desk.workspace.create(FORM, "Library", True).id
    desk.tab.on_load(desk.request("window"))
    desk.tab.on_load(desk.request("other"))

    async def press():
        last = {}
        async for update in desk.tab.on_audit(desk.values(), desk.request("window")):
            last |= {component: value for component, value in update.items() if value != gr.skip()}
        return last

    shown = asyncio.run(asyncio.wait_for(press(), PATIENCE))[desk.page.audit]
    assert "not for one of the rounds" in shown
    assert [desk.look(window)[desk.page.audit] for window in ("window", "other")] == [shown, shown]
    assert desk.page.audit not in desk.look("other")
    loaded = desk.tab.on_load(desk.request("window"))
    assert loaded[desk.page.audit] == shown
    assert loaded[desk.page.audit_panel]["open"]
    assert "Ausgeführt" in desk.tab.on_load(desk.request("window", "de"))[desk.page.audit]
    assert len(desk.workspace.open(desk.session_id).audits) == 1
    with pytest.raises(SessionNotFound) if private else nullcontext():
        desk.workspace.disk.get(desk.session_id)


@pytest.mark.parametrize(("language", "words"), [("en", "not there any more"), ("de", "nicht mehr da")])
def test_a_window_is_told_once_that_its_session_was_deleted(desk_with, language, words):
    desk = desk_with(ScriptedWriter())
    desk.tab.on_load(desk.request("window"))
    desk.workspace.disk.delete(desk.session_id)
    assert words in desk.look("window", language)[desk.page.status]
    assert desk.look("window") == {desk.page.status: gr.skip()}


class TypedMeanwhile(Workspace):
    """A workspace in which something happens in the moment in which a round begins."""

    meanwhile = staticmethod(lambda: None)

    def propose(self, *arguments, **named):
        begun = super().propose(*arguments, **named)
        self.meanwhile()
        return begun


@pytest.mark.parametrize(
    ("typed", "comment"), [({"comment": "cheap", "summary": "A library."}, ""), ({"comment": "and soon"}, "and soon")]
)
def test_what_is_typed_while_a_round_begins_is_kept(desk_with, typed, comment):
    desk = desk_with(ScriptedWriter(whole("one", "two")), TypedMeanwhile)
    request = desk.request("window")
    desk.tab.on_load(request)
    desk.workspace.meanwhile = lambda: desk.tab.on_typed(desk.values(**typed), request)

    async def propose():
        return [update async for update in desk.tab.on_propose(desk.values(comment="cheap"), request)]

    updates = asyncio.run(asyncio.wait_for(propose(), PATIENCE))
    session = desk.workspace.open(desk.session_id)
    assert [entry.comment for entry in session.rounds] == ["cheap"]
    assert (session.form.summary, session.form.comment) == (typed.get("summary", ""), comment)
    assert any(desk.page.fields.comment in update for update in updates) == (not comment)


def test_an_earlier_round_is_restored_without_undoing_what_another_window_typed(desk_with):
    desk = desk_with(ScriptedWriter(whole("one", "two")))
    for window in ("one", "two"):
        desk.tab.on_load(desk.request(window))
    desk.propose_to_the_end()
    typed = desk.values(comment="cheap", summary="A library.") | {desk.page.title: "Our library"}
    desk.tab.on_typed(typed, desk.request("two"))
    shown = desk.act("one", action="restore", round=1)
    session = desk.workspace.open(desk.session_id)
    assert (session.title, session.form.comment, session.form.summary) == ("Our library", "cheap", "A library.")
    assert (shown[desk.page.title], shown[desk.page.fields.comment]) == ("Our library", "cheap")


def test_cards_whose_answer_may_pass_another_are_drawn_again(desk_with):
    desk = desk_with(ScriptedWriter(whole("one", "two")))
    desk.tab.on_load(desk.request("window"))
    desk.propose_to_the_end()
    assert desk.page.board in desk.look("window")
    desk.act("window", action="show", round=1)
    assert desk.page.board in desk.look("window")
    assert desk.page.board not in desk.look("window")


def test_a_look_that_began_before_an_earlier_round_was_asked_for_does_not_take_it_away_again(desk_with):
    desk = desk_with(ScriptedWriter(whole("Meet every Friday.", "Meet every Monday.")))
    desk.propose_to_the_end()
    desk.propose_to_the_end()
    desk.tab.on_load(desk.request("window"))
    assert desk.act("window", action="show", round=1)[desk.page.shown] == 1
    # What it sends is what the page showed before.
    looked = desk.look("window")
    assert looked[desk.page.shown] == 1
    assert "looking back at round 1" in looked[desk.page.board]
    # The end of a round shows that one, in this window too.
    desk.propose_to_the_end()
    assert desk.act("window", action="show", round=0)[desk.page.shown] == 0
    assert desk.look("window")[desk.page.shown] == 0


def test_an_earlier_round_that_is_asked_for_while_a_look_is_drawn_stays(desk_with):
    class AskedMeanwhile(Workspace):
        """A workspace in which a round is asked for in the moment after a look has read the session."""

        ask = None

        def open(self, session_id):
            session = super().open(session_id)
            if self.ask is not None:
                ask, self.ask = self.ask, None
                ask()
            return session

    desk = desk_with(ScriptedWriter(whole("Meet every Friday.", "Meet every Monday.")), AskedMeanwhile)
    desk.propose_to_the_end()
    desk.propose_to_the_end()
    desk.tab.on_load(desk.request("window"))
    desk.workspace.disk.rename(desk.session_id, "Another title")
    turn = desk.tab._desk.windows.draws_anew
    desk.workspace.ask = lambda: threading.Thread(target=turn, args=("window", 1)).start()
    looked = desk.look("window")
    until(lambda: desk.tab._desk.windows.shown("window", desk.session_id) == 1)
    if desk.page.shown in looked:  # it was told before the round was asked for
        assert looked[desk.page.shown] in (0, 1)
    assert desk.look("window")[desk.page.shown] == 1, "the next look draws what is true"


def test_a_window_that_the_app_does_not_know_keeps_the_round_it_shows(desk_with):
    desk = desk_with(ScriptedWriter(whole("Meet every Friday.", "Meet every Monday.")))
    desk.propose_to_the_end()
    desk.propose_to_the_end()
    looked = desk.tab.on_look(desk.session_id, 1, desk.session_id, desk.request("after a restart"))
    assert looked[desk.page.shown] == 1


@pytest.mark.parametrize("elsewhere", ["typed", "deleted"])
def test_an_example_in_a_window_that_looks_empty_undoes_nothing(desk_with, elsewhere):
    desk = desk_with(ScriptedWriter())
    page, request = desk.page, desk.request("one")
    desk.session_id = desk.workspace.create(Form(), "", False).id
    empty = desk.values() | page.fields.write(Form()) | {page.title: "", page.private: False}
    desk.tab.on_load(desk.request("one"))
    if elsewhere == "typed":
        typed = empty | {page.fields.side_a.text: "Quiet, please."}
        desk.tab.on_typed(typed, desk.request("two"))
    else:
        desk.workspace.disk.delete(desk.session_id)
    shown = desk.tab.on_example(empty | {page.example: next(iter(desk.tab.disputes))}, request)
    if elsewhere == "typed":
        assert desk.workspace.open(desk.session_id).form.side_a.text == "Quiet, please."
        assert shown[page.session_id] != desk.session_id
    else:
        assert desk.workspace.version(desk.session_id) == 0
        assert "not there any more" in shown[page.status]
