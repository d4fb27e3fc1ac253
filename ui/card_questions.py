"""What the script of the cards asks while somebody reads or edits: the scores of a wording, which sentence tilts it."""

from collections.abc import Callable
from typing import Any

from mediator.errors import EvenhandError
from ui import drawing
from ui.cards import acceptance_view, sentence_view
from ui.components import describe_scores, note, status
from ui.error_words import in_language
from ui.fields import text_of
from ui.strings import say
from ui.workspace import Workspace


def card_questions(workspace: Workspace) -> list[Callable[..., Any]]:
    """Return the functions that `assets/board.js` calls by their names, each with a list of texts.

    Gradio runs them in threads. It marks them, so they are made anew for each page.
    """

    def score_text(call: list[str]) -> dict[str, Any]:
        """Score a wording that is being typed; called with [session, proposal, text, language]."""
        session_id, proposal_id, text, language = [*map(text_of, call), "en"][:4]
        try:
            scores = workspace.score(session_id, proposal_id, text)
            names = drawing.side_names(workspace.open(session_id).form, language)
        except EvenhandError as error:
            return {"error": in_language(language, error)}
        if not scores.measured:
            return {"error": say(language, "status.other_language")}
        measured = scores.model_dump(include={"score_a", "score_b", "score_error_a", "score_error_b"})
        return {**measured, "words": describe_scores(scores, names, language)}

    def sentences(call: list[str]) -> str:
        """Return which sentence of a proposal tilts it, as HTML; called with [session, proposal, language]."""
        session_id, proposal_id, language = [*map(text_of, call), "en"][:3]
        try:
            influences = workspace.sentences(session_id, proposal_id)
            if any(not influence.measured for influence in influences):
                return note(say(language, "status.only_english"))
            names = drawing.side_names(workspace.open(session_id).form, language)
        except EvenhandError as error:
            return status(in_language(language, error), "error")
        return sentence_view(influences, names, language)

    def acceptance(call: list[str]) -> str:
        """Return how widely acceptable a proposal tends to be, as HTML; called with [session, proposal, language]."""
        session_id, proposal_id, language = [*map(text_of, call), "en"][:3]
        try:
            return acceptance_view(workspace.acceptance(session_id, proposal_id), language)
        except EvenhandError as error:
            return status(in_language(language, error), "error")

    return [score_text, sentences, acceptance]
