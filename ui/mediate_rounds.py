"""A round on the Mediate tab: begun, watched while a writer writes, stopped, settled; in one window or in several."""

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import Any

import gradio as gr

from mediator.session import Form, Session
from ui import drawing
from ui.components import consent, status, where_the_text_goes
from ui.fields import text_of
from ui.forms import dispute_of
from ui.mediate_desk import Desk, Values, window_of
from ui.mediate_updates import Told, Updates, cards_of, drawn, settled
from ui.running import Running
from ui.strings import language_of, say
from ui.windows import SessionDeleted

UPDATES_PER_SECOND = 12.0
"""How often, at most, the page is redrawn while a writer writes."""


class Rounds:
    """Begins rounds and shows them."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._page = desk.page

    async def on_propose(self, values: dict[Any, Any], request: gr.Request) -> AsyncGenerator[Updates, None]:
        """Begin the next round and show it as it comes."""

        async def begin_and_watch() -> AsyncGenerator[Updates, None]:
            updates = await asyncio.to_thread(self.begin, values, request, None)
            runs = updates.pop(self._page.attach, None)  # this window watches it here
            yield updates
            if runs:
                async for update in self._watch(updates[self._page.address], window_of(request), language_of(request)):
                    yield update

        async for updates in self._desk.stream(begin_and_watch(), str(values[self._page.session_id]), request):
            yield updates

    async def on_attach(self, session_id: str, shown: float, request: gr.Request) -> AsyncGenerator[Updates, None]:
        """Watch a round that runs already: another window began it, or this page was loaded in its midst.

        Until it ends, an earlier round ``shown`` stays.
        """
        watched = self._watch(session_id, window_of(request), language_of(request), int(shown or 0))
        async for updates in self._desk.stream(watched, session_id, request):
            yield updates

    def on_stop(self, session_id: str) -> None:
        """Stop the model itself; what is finished stays."""
        self._desk.auditing.stop(session_id)
        self._desk.workspace.mediations.stop(session_id)

    def begin(self, values: Values, request: gr.Request, like: str | None, consented: str = "") -> Updates:
        """Begin the next round, or ask whether the text may be sent.

        Args:
            values: what is typed and chosen.
            request: of the window that asks.
            like: id of a proposal that the new ones are to be like.
            consented: the host that somebody agreed to.

        Returns:
            Updates; `MediateLayout.attach` is among them when a round runs now.

        Raises:
            EvenhandError: see `Workspace.propose`, `Windows.save` and `Windows.clear_comment`.
        """
        page, workspace = self._page, self._desk.workspace
        language, form, window = language_of(request), page.fields.read(values), window_of(request)
        session_id = self._desk.save(values, form, request)
        dispute_of(form, language)
        if (destination := workspace.needs_consent(session_id, form.model)) is not None:
            # Another writer may have been chosen since the question was asked: the answer is for the host it named.
            if consented != destination:
                return {
                    page.consent: consent(destination, language),
                    page.status: status(say(language, "mediate.ready")),
                    page.pending_like: like,
                    page.address: session_id,
                }
            workspace.consent(session_id, form.model)
        running, new = workspace.propose(
            session_id,
            form,
            language,
            title=text_of(values[page.title]),
            shown=int(values[page.shown] or 0),
            like=like,
        )
        updates: Updates = {
            page.address: session_id,
            page.consent: "",
            page.pending_like: None,
            page.attach: to_watch(running),
            **self._desk.buttons(session_id),
        }
        # The trail has the comment of a new round now, and it still holds; the field is free for the next one.
        if new and self._desk.windows.clear_comment(window, session_id, form.comment):
            updates[page.fields.comment] = ""
        return updates

    async def _watch(
        self, session_id: str, window: str, language: str, shown: int = 0
    ) -> AsyncGenerator[Updates, None]:
        """Show what runs in a session until it ends; then the settled round."""
        running = self._desk.workspace.mediations.get(session_id)
        if running is not None:
            session = await asyncio.to_thread(self._desk.opened, session_id)
            with running.watched_by(window):
                updates = await asyncio.to_thread(drawn, self._page, session, shown, language, running)
                yield {**updates, **self._desk.buttons(session_id)}
                async for updates in self._stream(running, session.form, language):
                    yield updates
        try:
            session = await asyncio.to_thread(self._desk.opened, session_id)
        except SessionDeleted:
            yield {self._page.live: "", self._page.board: "", self._page.plane: "", self._page.audit: ""}
            raise
        updates = await asyncio.to_thread(self._settled, session, running, window, language)
        yield {**updates, **self._desk.buttons(session_id)}

    def _settled(self, session: Session, running: Running | None, window: str, language: str) -> Updates:
        """Return the page after a round has ended, and note that the window is told."""
        updates = settled(self._page, session, running, language)
        self._desk.windows.told_the_end(window, session)
        self._desk.windows.draws(window, cards_of(self._page, updates), 0)
        return updates

    async def _stream(self, running: Running, form: Form, language: str) -> AsyncGenerator[Updates, None]:
        """Redraw whenever something came, at most `UPDATES_PER_SECOND` times a second; show how long it is silent."""
        page, told = self._page, Told()
        seen, heard = -1, time.monotonic()
        while not running.finished:
            updates: Updates = {}
            if running.version != seen:
                seen, heard = running.version, time.monotonic()
                updates[page.live] = drawing.live(running, form, language)
            silent = int(time.monotonic() - heard)
            updates[page.status] = status(_activity(running, language), "busy", silent if silent >= 2 else None)
            if running.begun:
                updates[page.where] = where_the_text_goes(running.destination, language, hears=running.hears)
            if news := told.news(updates):
                yield news
            await asyncio.sleep(1.0 / UPDATES_PER_SECOND)


def to_watch(running: Running) -> str:
    """Return what makes a window watch a mediation: never the same twice, so that a broken connection is mended."""
    return f"{running.round.id} {time.monotonic()}"


def _activity(running: Running, language: str) -> str:
    if running.cancellation.cancelled:
        return say(language, "mediate.stopping")
    if running.position:
        return say(language, "mediate.in_queue", count=running.position)
    with running.lock:
        return running.board.activity(language)
