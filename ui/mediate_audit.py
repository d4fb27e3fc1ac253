"""The swap audit on the Mediate tab: its button, its progress, and when it is for nobody any more."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Any

import gradio as gr

from mediator.cancellation import Cancelled
from mediator.store import SessionNotFound, StoreError
from mediator.swap_audit import SwapAudit
from ui import drawing
from ui.audit_view import audit_view, kept_audit_view
from ui.components import status
from ui.forms import dispute_of
from ui.mediate_desk import Desk, Values, window_of
from ui.mediate_updates import Told, Updates
from ui.strings import language_of, say
from ui.windows import SessionDeleted


class AuditPanel:
    """Runs the dispute with A and B exchanged, and shows what changed."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._page = desk.page

    async def on_audit(self, values: dict[Any, Any], request: gr.Request) -> AsyncGenerator[Updates, None]:
        """Run the audit for this window."""
        page, told = self._page, Told()
        session_id = str(values[page.session_id])
        async for updates in self._desk.stream(self._audited(values, request), session_id, request, page.audit_line):
            if news := told.news(updates):
                yield news
        if free := told.news({page.run_audit: gr.update(interactive=True)}):
            yield free
            yield self._desk.nothing  # see `Desk.stream`

    async def _audited(self, values: Values, request: gr.Request) -> AsyncGenerator[Updates, None]:
        page, desk = self._page, self._desk
        language, window, form = language_of(request), window_of(request), page.fields.read(values)
        session_id = await asyncio.to_thread(desk.save, values, form, request)
        dispute = dispute_of(form, language)
        if (destination := desk.workspace.needs_consent(session_id, form.model)) is not None:
            line = status(say(language, "mediate.audit_consent", host=destination), "error")
            yield {page.status: line, page.audit_line: line}
            return
        # Of the round that is on the page now, whichever comes to an end before the audit does.
        entry = drawing.shown_round(await asyncio.to_thread(desk.opened, session_id), int(values[page.shown] or 0))
        number, is_kept = entry.number if entry is not None else 0, False

        def keep(found: SwapAudit) -> None:
            nonlocal is_kept
            try:
                desk.workspace.keep_audit(session_id, found, dispute, form, number)
            except SessionNotFound:
                raise SessionDeleted from None
            is_kept = True

        def still_wanted() -> None:
            if desk.windows.turned_from(window, session_id):
                raise Cancelled
            with suppress(StoreError):  # the audit needs no disk
                if not desk.workspace.version(session_id):
                    raise SessionDeleted

        running = desk.auditing.run(session_id, window, dispute, form, language, keep, still_wanted)
        async with aclosing(running):
            async for found, line, busy in running:
                # The line under the buttons may be out of sight, and a round that runs writes there too.
                said = status(line, "busy" if busy else "plain")
                result: Updates = {}
                if is_kept:
                    result = await asyncio.to_thread(self._drawn, session_id, request)
                elif found is not None:
                    result = {page.audit: audit_view(found, drawing.side_names(form, language), language)}
                yield {
                    page.audit_line: "" if is_kept and not busy else said,
                    page.status: said,
                    page.run_audit: gr.update(interactive=not busy),
                    page.address: session_id,
                    **result,
                    **desk.buttons(session_id),
                }

    def _drawn(self, session_id: str, request: gr.Request) -> Updates:
        """Return a finished audit as every window shows it from now on, beside the round that is shown by now."""
        shown = self._desk.windows.shown(window_of(request), session_id)
        return {self._page.audit: kept_audit_view(self._desk.opened(session_id), shown, language_of(request))}
