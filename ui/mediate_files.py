"""Disputes into the Mediate tab and out of it: examples, and dispute files that the browser reads and saves."""

from collections.abc import Mapping
from typing import Any

import gradio as gr

from mediator.disputes import LARGEST_FILE, dispute_as_yaml, parse_dispute
from mediator.schema import Dispute
from mediator.session import LONGEST_TITLE, Form
from ui.components import status
from ui.fields import text_of
from ui.files import file_payload
from ui.forms import dispute_of, form_of, view_text
from ui.mediate_desk import Desk, Values, window_of
from ui.mediate_updates import Updates, cards_of, opened
from ui.strings import language_of, say


class DisputeFiles:
    """Shows and saves disputes."""

    def __init__(self, desk: Desk, examples: Mapping[str, Dispute]) -> None:
        self._desk, self._examples = desk, examples
        self._page = desk.page

    def on_example(self, values: dict[Any, Any], request: gr.Request) -> Updates:
        """Show an example."""
        dispute = self._examples.get(values[self._page.example])
        if dispute is None:
            return self._desk.nothing
        session_id = str(values[self._page.session_id])
        return self._desk.answer(lambda: self._shown(dispute, values, request), session_id, request, turns=True)

    def on_file(self, values: dict[Any, Any], event: gr.EventData, request: gr.Request) -> Updates:
        """Show what is in a dispute file that the browser has read."""
        data = event._data if isinstance(event._data, dict) else {}
        if "error" in data:
            return {self._page.status: status(str(data["error"]), "error")}
        name, text = text_of(data.get("name")) or "file", text_of(data.get("text"))

        def shown() -> Updates:
            return self._shown(parse_dispute(text[: LARGEST_FILE + 1], name), values, request)

        return self._desk.answer(shown, str(values[self._page.session_id]), request, turns=True)

    def _shown(self, dispute: Dispute, values: Values, request: gr.Request) -> Updates:
        """Show a dispute: in this session while it is empty, else in a new one, so that nothing typed is replaced."""
        page, workspace, language = self._page, self._desk.workspace, language_of(request)
        private, present = bool(values[page.private]), page.fields.read(values)
        form = form_of(dispute, present)
        if (form.side_a, form.side_b, form.summary) == (present.side_a, present.side_b, present.summary):
            return self._desk.nothing  # Gradio's menu tells of one choice twice
        title, window = dispute.title[:LONGEST_TITLE], window_of(request)
        kept = None if _is_used(present) else self._desk.kept(values)  # another window may have typed just now
        used = _is_used(present) or (kept is not None and _is_used(kept.form))
        if used:
            session_id = workspace.create(form, title, private).id
        else:
            title = text_of(values[page.title]) or (kept.title if kept is not None else "") or title
            session_id = self._desk.save({**values, page.title: title}, form, request, typed=False)
        session = workspace.open(session_id)
        self._desk.windows.shows(window, session_id, session.form, session.title)
        updates = opened(page, session, private, language)
        self._desk.windows.draws(window, cards_of(page, updates), 0)
        said = "mediate.opened_beside" if used else "mediate.opened"
        return {**updates, **self._desk.buttons(session_id), page.status: status(say(language, said))}

    def on_save_file(self, values: dict[Any, Any], request: gr.Request) -> Updates:
        """Have the browser save both views as a dispute file."""

        def saved() -> Updates:
            title = text_of(values[self._page.title])
            dispute = dispute_of(self._page.fields.read(values), language_of(request), title)
            name = "".join(letter if letter.isalnum() else "-" for letter in title.lower()).strip("-")[:60]
            file = file_payload(f"{name or 'dispute'}.yaml", "application/yaml", dispute_as_yaml(dispute))
            return {self._page.download: file}

        return self._desk.answer(saved, str(values[self._page.session_id]), request)


def _is_used(form: Form) -> bool:
    """Whether something stands in a form that a dispute would replace."""
    return bool(view_text(form.side_a) or view_text(form.side_b) or form.summary)
