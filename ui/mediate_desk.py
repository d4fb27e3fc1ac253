"""What all listeners of the Mediate tab share: its components, sessions and windows, and how each of them answers."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any

import gradio as gr

from mediator.cancellation import Cancelled
from mediator.errors import EvenhandError
from mediator.session import Form, Session
from mediator.settings import without_keys
from mediator.store import SessionNotFound
from ui.auditing import Auditing
from ui.components import status
from ui.error_words import in_language
from ui.fields import text_of
from ui.http_guard import ARRIVED
from ui.mediate_layout import MediateLayout
from ui.mediate_updates import Updates, buttons
from ui.running import INTERNAL_FAULT
from ui.strings import language_of
from ui.windows import SessionDeleted, Windows
from ui.workspace import Workspace

_log = logging.getLogger(__name__)

Values = Mapping[Any, Any]
"""What is typed and chosen, by the components of `MediateLayout.form`."""


class Desk:
    """What the listeners work with. Holds nothing that a reload would lose.

    Listeners that stream are coroutines and do what takes long in threads. All others are plain functions: Gradio runs
    these in a thread, where they may read the disk, score and draw.
    """

    def __init__(self, page: MediateLayout, workspace: Workspace) -> None:
        self.page = page
        self.workspace = workspace
        self.windows = Windows(workspace)
        self.auditing = Auditing(workspace.engine)

    @property
    def nothing(self) -> Updates:
        """Change nothing. (Gradio empties all outputs of a listener that names none.)"""
        return {self.page.status: gr.skip()}

    def save(self, values: Values, form: Form, request: gr.Request, *, typed: bool = True) -> str:
        """Save what is typed, or with ``typed`` False what is put in its place by us; returns the session's id.

        Raises `SessionDeleted`, `StoreError`.
        """
        session_id = str(values[self.page.session_id])
        sent = _arrival_of(request) if typed else time.monotonic()
        return self.windows.save(
            window_of(request), session_id, form, text_of(values[self.page.title]), sent,
            private=bool(values[self.page.private]), is_saved=values[self.page.address] == session_id,
        )  # fmt: skip

    def kept(self, values: Values) -> Session | None:
        """Return the session as it is kept, None before it is saved. Raises `SessionDeleted`, `StoreError`."""
        session_id = str(values[self.page.session_id])
        return self.opened(session_id) if values[self.page.address] == session_id else None

    def opened(self, session_id: str) -> Session:
        """Return a session that was saved. Raises `SessionDeleted`, `StoreError`."""
        try:
            return self.workspace.open(session_id)
        except SessionNotFound:
            raise SessionDeleted from None

    def buttons(self, session_id: str) -> Updates:
        """Return which of Propose and Stop can be pressed now."""
        running = self.workspace.mediations.get(session_id) is not None
        return buttons(self.page, running=running, auditing=self.auditing.runs_in(session_id))

    def answer(
        self, work: Callable[[], Updates], session_id: str, request: gr.Request, *, turns: bool = False
    ) -> Updates:
        """Return what ``work`` returns; a failure ends as a sentence on the page.

        Nothing is changed when the window turned to another session meanwhile, unless ``work`` itself ``turns`` it.
        """
        try:
            updates = work()
        except Exception as error:  # noqa: BLE001 - the reader of the page gets a sentence, the log the traceback
            updates = self._failure(error, session_id, language_of(request))
        return self.nothing if not turns and self.windows.turned_from(window_of(request), session_id) else updates

    async def stream(
        self, updates: AsyncGenerator[Updates, None], session_id: str, request: gr.Request, failing: Any = None
    ) -> AsyncGenerator[Updates, None]:
        """Pass updates on until they end, or the window turns to another session.

        A failure ends as a sentence on the page, in the line of status and in the component ``failing``.
        """
        window = window_of(request)
        yield self.nothing
        try:
            async with aclosing(updates):
                async for update in updates:
                    if self.windows.turned_from(window, session_id):
                        break
                    yield update
        except Cancelled:
            pass
        except Exception as error:  # noqa: BLE001 - as above
            if not self.windows.turned_from(window, session_id):
                said = await asyncio.to_thread(self._failure, error, session_id, language_of(request))
                yield said if failing is None else {**said, failing: said[self.page.status]}
        yield self.nothing  # Gradio sends the last message once more at the end: over what the page shows by then

    def _failure(self, error: Exception, session_id: str, language: str) -> Updates:
        """Log a failure, and return the sentence on it."""
        if isinstance(error, EvenhandError):
            _log.info("a request of the page could not be served", exc_info=error)
            sentence = without_keys(in_language(language, error))
        else:
            _log.exception("a request of the page failed", exc_info=error)
            sentence = in_language(language, INTERNAL_FAULT)
        return {self.page.status: status(sentence, "error"), **self.buttons(session_id)}


def window_of(request: gr.Request) -> str:
    """Name the browser window that asks."""
    return str(request.session_hash)


def _arrival_of(request: gr.Request) -> float:
    """Return when the browser sent what is answered, which may have waited its turn since: `time.monotonic` seconds."""
    return float(getattr(request.state, ARRIVED, time.monotonic()))
