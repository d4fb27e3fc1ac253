"""What the components of the Mediate tab are to show: updates for Gradio, from a session and what runs in it."""

import uuid
from hashlib import blake2b
from html import escape
from typing import Any

import gradio as gr

from mediator.errors import EvenhandError
from mediator.models import hears_feedback, parse_model
from mediator.safety import concerns
from mediator.schema import Dispute
from mediator.session import Form, Session
from mediator.settings import default_model
from ui import drawing
from ui.audit_view import kept_audit_view
from ui.board import outcome
from ui.components import safety_note, status, unknown_writer, where_the_text_goes, word_count
from ui.error_words import in_language
from ui.fields import model_choices
from ui.forms import dispute_of, view_text
from ui.mediate_layout import MediateLayout
from ui.running import Running
from ui.strings import say

Updates = dict[Any, Any]


class Told:
    """What one stream has told the page. What still stands is not sent again: it would be built and drawn anew."""

    def __init__(self) -> None:
        self._values: Updates = {}

    def news(self, updates: Updates) -> Updates:
        """Return those of the updates that say something else than before."""
        news = {
            output: value
            for output, value in updates.items()
            if output not in self._values or self._values[output] != value
        }
        self._values |= news
        return news


def opened(page: MediateLayout, session: Session | None, private: bool, language: str, shown: int = 0) -> Updates:
    """Return all of the page for a session with its round ``shown``, or for a new one."""
    form = session.form if session is not None else Form()
    # A new page is left as it is: somebody may be typing in it already.
    fields = page.fields.write(form) if session is not None else {}
    private = session.private if session is not None else private
    state = "private" if private else "saved" if session is not None else "empty"
    updates = {
        **fields,
        **beside(page, form, language),
        **drawn(page, session, shown, language),
        **buttons(page, running=False),
        page.fields.model: gr.Dropdown(choices=model_choices(), value=form.model or default_model()),
        page.session_id: session.id if session is not None else uuid.uuid4().hex,
        page.address: session.id if session is not None else "",
        page.private: private,
        page.new: _new_links(language),
        page.saved: saved_words(language, state),
        page.example: "",
        page.live: "",
        page.consent: "",
        page.audit_line: "",
    }
    if updates[page.audit]:
        updates[page.audit_panel] = gr.update(open=True)
    if session is not None:
        updates[page.title] = session.title
    updates[page.status] = how_it_ended(session, language)
    return updates


def settled(page: MediateLayout, session: Session, running: Running | None, language: str) -> Updates:
    """Return the page after a round has ended."""
    line = how_it_ended(session, language)
    if running is not None and running.fault:
        line = status(in_language(language, running.problem), "error")
    return {**drawn(page, session, 0, language), page.live: "", page.status: line}


def how_it_ended(session: Session | None, language: str) -> str:
    """Return the line of status after the last round of a session."""
    entry = drawing.shown_round(session, 0)
    if entry is None or entry.state == "running":
        return status(say(language, "mediate.ready"))
    return status(outcome(entry, language), "error" if entry.state == "failed" else "plain")


def drawn(
    page: MediateLayout, session: Session | None, shown: int, language: str, running: Running | None = None
) -> Updates:
    """Return the settled rounds, with the cards of the round ``shown``, or of the last one where there is none.

    The audit that is kept beside that round is drawn with it.
    """
    earlier = session.rounds[:-1] if session is not None else ()
    return {
        page.board: drawing.board(session, shown, language, running),
        page.plane: drawing.picture(session, language),
        page.audit: kept_audit_view(session, shown, language),
        page.shown: shown if any(entry.number == shown for entry in earlier) else 0,
    }


def cards_of(page: MediateLayout, updates: Updates) -> str:
    """Return a digest of what `drawn` draws: two of them are alike when there is nothing new to draw."""
    drawings = f"{updates[page.board]}{updates[page.plane]}{updates[page.audit]}"
    return blake2b(drawings.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def beside(page: MediateLayout, form: Form, language: str) -> Updates:
    """Return what depends on what is typed: word counts, the note on safety, where the text goes."""
    dispute = _dispute_or_none(form, language)
    notes = () if dispute is None else concerns(dispute)
    return {
        page.fields.side_a.count: word_count(view_text(form.side_a), language),
        page.fields.side_b.count: word_count(view_text(form.side_b), language),
        page.safety: safety_note(notes, drawing.side_names(form, language), language),
        page.where: _where(form.model, language),
    }


def buttons(page: MediateLayout, *, running: bool, auditing: bool = False) -> Updates:
    """Return which of Propose and Stop can be pressed: Stop ends a round that runs and an audit alike."""
    return {page.propose: gr.update(interactive=not running), page.stop: gr.update(interactive=running or auditing)}


def _dispute_or_none(form: Form, language: str) -> Dispute | None:
    try:
        return dispute_of(form, language)
    except EvenhandError:
        return None


def _where(model: str, language: str) -> str:
    """Say where the text would go with this writer, and whether it hears more than the views.

    What is wrong with its name is said again when it is used.
    """
    try:
        choice = parse_model(model or default_model())
    except EvenhandError as error:
        return unknown_writer(in_language(language, error))
    return where_the_text_goes(choice.destination, language, hears=hears_feedback(choice))


def saved_words(language: str, state: str, problem: str = "") -> str:
    """Say whether what is typed is saved: ``state`` is ``empty``, ``saved``, ``private``, ``gone`` or ``problem``."""
    words = say(language, f"mediate.saved_{state}")
    return f'<p class="eh-saved" data-state="{state}" role="status">{escape(f"{words} {problem}".strip())}</p>'


def _new_links(language: str) -> str:
    return (
        f'<a class="eh-button" href="?new=open">{say(language, "mediate.new")}</a> '
        f'<a class="eh-button" href="?new=private">{say(language, "mediate.new_private")}</a>'
    )
