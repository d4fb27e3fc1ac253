"""A window of the Mediate tab comes, goes, and looks what other windows did to its session."""

import gradio as gr

from mediator.errors import EvenhandError
from mediator.session import Session
from mediator.settings import without_keys
from mediator.store import SessionNotFound
from ui.components import status
from ui.error_words import in_language
from ui.mediate_cards import number_of
from ui.mediate_desk import Desk, window_of
from ui.mediate_rounds import to_watch
from ui.mediate_updates import Updates, beside, cards_of, drawn, how_it_ended, opened
from ui.running import Running
from ui.strings import language_of, say
from ui.windows import Change, SessionDeleted


class Visits:
    """Shows a window what there is when it comes, and what changes while it stays."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._page = desk.page

    def on_load(self, request: gr.Request) -> Updates:
        """A window opened: show the session that its address names, and have what runs in it watched."""
        language, wanted = language_of(request), str(request.query_params.get("session", ""))[:64]
        private = request.query_params.get("new") == "private"
        number, line = number_of(request.query_params.get("round")), ""
        if wanted:
            try:
                return self._shown(window_of(request), wanted, number, private, language)
            except SessionNotFound:
                line = say(language, "mediate.session_gone")
            except EvenhandError as error:
                line = without_keys(in_language(language, error))
        updates = opened(self._page, None, private, language)
        return {**updates, self._page.status: status(line, "error")} if line else updates

    def _shown(self, window: str, session_id: str, number: int, private: bool, language: str) -> Updates:
        session, running = self._found(window, session_id)
        updates = opened(self._page, session, private, language, number)
        if number and all(entry.number != number for entry in session.rounds):
            updates[self._page.status] = status(say(language, "mediate.round_gone", number=number))
        self._desk.windows.draws(window, cards_of(self._page, updates), updates[self._page.shown])
        updates |= self._desk.buttons(session_id)
        return updates if running is None else {**updates, self._page.attach: to_watch(running)}

    def _found(self, window: str, session_id: str) -> tuple[Session, Running | None]:
        """Return a session and what runs in it: either there is something to watch, or its last round is settled."""
        session = self._desk.windows.open(window, session_id)
        running = self._desk.workspace.mediations.get(session_id)
        if running is None and session.rounds and session.rounds[-1].state == "running":
            # The round ended between the two looks: what was read is from its midst.
            session = self._desk.windows.open(window, session_id)
        return session, running

    def on_leave(self, request: gr.Request) -> None:
        """A window was closed or reloaded."""
        window = window_of(request)
        self._desk.windows.leave(window)
        self._desk.auditing.leave(window)
        self._desk.workspace.mediations.leave(window)

    def on_look(self, session_id: str, shown: float, address: str, request: gr.Request) -> Updates:
        """Look whether another window changed this session, or began a round in it."""
        return self._desk.answer(
            lambda: self._looked(session_id, int(shown or 0), request) if address else self._desk.nothing,
            session_id,
            request,
        )

    def _looked(self, session_id: str, shown: int, request: gr.Request) -> Updates:
        window, language = window_of(request), language_of(request)
        running = self._desk.workspace.mediations.get(session_id)
        if running is not None:
            return self._desk.nothing if running.is_watched_by(window) else {self._page.attach: to_watch(running)}
        try:
            change = self._desk.windows.look(window, session_id, shown)
        except SessionDeleted:
            raise
        except EvenhandError:
            return self._desk.nothing  # it will be said when something is to be saved
        if change is None:
            return self._desk.nothing
        # What the window has been told since it asked holds, not what it showed then.
        return self._changed(change, self._desk.windows.shown(window, session_id), window, language)

    def state(self, session_id: str) -> str:
        """Return a few characters that change when a window of this session should look; see `ui.pulse`."""
        running = self._desk.workspace.mediations.get(session_id)
        watched = "" if running is None else f"{running.round.id} {running.audience}"
        return f"{self._desk.windows.state(session_id)} {watched}"

    def _changed(self, change: Change, shown: int, window: str, language: str) -> Updates:
        """Return what another window did: what it typed, marked, and how its round ended."""
        page, session = self._page, change.session
        updates = drawn(page, session, shown, language)
        if not self._desk.windows.draws(window, cards_of(page, updates), updates[page.shown], shown):
            updates = self._desk.nothing
        if change.title_before != session.title:
            updates[page.title] = session.title
        if change.form_before != session.form:
            updates |= page.fields.write_differences(session.form, change.form_before)
            updates |= beside(page, session.form, language)
        if change.ended:
            updates |= {page.live: "", page.status: how_it_ended(session, language), **self._desk.buttons(session.id)}
        return updates
