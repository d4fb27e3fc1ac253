"""The buttons of the Mediate tab's cards, trail, plane and question: keep, edit, rate, more like this, go back."""

import re
from collections.abc import Mapping
from typing import Any

import gradio as gr

from mediator.session import Mark
from ui import drawing
from ui.components import status
from ui.fields import text_of
from ui.forms import form_of
from ui.mediate_desk import Desk, Values, window_of
from ui.mediate_rounds import Rounds
from ui.mediate_updates import Updates, beside, drawn
from ui.strings import language_of, say

_MARKS: dict[str, Mark] = {"keep": "kept", "drop": "dropped", "undecided": ""}


class CardActions:
    """Does what a button asks for. What takes long is only begun here: the window is told to watch it, and is free."""

    def __init__(self, desk: Desk, rounds: Rounds) -> None:
        self._desk, self._rounds = desk, rounds
        self._page = desk.page

    def on_act(self, values: dict[Any, Any], event: gr.EventData, request: gr.Request) -> Updates:
        """Somebody pressed a button."""
        data = event._data if isinstance(event._data, dict) else {}
        return self._desk.answer(lambda: self._act(values, data, request), str(values[self._page.session_id]), request)

    def _act(self, values: Values, data: Mapping[str, Any], request: gr.Request) -> Updates:
        page, workspace, language = self._page, self._desk.workspace, language_of(request)
        session_id, proposal = str(values[page.session_id]), str(data.get("id", ""))
        shown = int(values[page.shown] or 0)
        match data.get("action"):
            case "consent":
                return self._rounds.begin(values, request, values[page.pending_like], str(data.get("value", "")))
            case "decline":
                return {
                    page.consent: "",
                    page.pending_like: None,
                    page.status: status(say(language, "mediate.declined")),
                    **self._desk.buttons(session_id),
                }
            case "like":
                return self._rounds.begin(values, request, proposal)
            case "keep" | "drop" | "undecided" as action:
                workspace.mark(session_id, proposal, _MARKS[action])
            case "edit":
                workspace.edit(session_id, proposal, text_of(data.get("text")))
            case "rate":
                rater, note = str(data.get("rater", "")), text_of(data.get("note"))
                workspace.rate(session_id, proposal, rater, number_of(data.get("value")), note)
            case "show":
                shown = number_of(data.get("round"))
            case "restore":
                return self._restored(number_of(data.get("round")), values, request)
            case _:
                return self._desk.nothing
        updates = drawn(page, workspace.open(session_id), shown, language, workspace.mediations.get(session_id))
        self._desk.windows.draws_anew(window_of(request), updates[page.shown])
        return updates

    def _restored(self, number: int, values: Values, request: gr.Request) -> Updates:
        """Put the views and the settings of an earlier round back into the fields."""
        page, workspace, language = self._page, self._desk.workspace, language_of(request)
        session_id = str(values[page.session_id])
        entry = drawing.shown_round(workspace.open(session_id), number)
        if entry is None:
            return self._desk.nothing
        chosen = {"model": entry.model, "strategy": entry.strategy, "count": entry.count, "rounds": entry.rounds}
        form = form_of(entry.dispute, page.fields.read(values)).model_copy(update={**chosen, "seed": entry.seed})
        self._desk.save(values, form, request, typed=False)
        session = workspace.open(session_id)  # with what other windows typed in other fields
        self._desk.windows.shows(window_of(request), session_id, session.form, session.title)
        cards = drawn(page, session, number, language, workspace.mediations.get(session_id))
        self._desk.windows.draws_anew(window_of(request), cards[page.shown])
        return {
            **page.fields.write(session.form),
            **beside(page, session.form, language),
            page.title: session.title,
            **cards,
            page.status: status(say(language, "mediate.restored", number=number)),
        }


def number_of(value: object) -> int:
    """Return a whole number that the page sent, below a million; 0 for anything else."""
    return int(value) if isinstance(value, int | float | str) and re.fullmatch(r"\d{1,6}", str(value)) else 0
