"""The cards of proposals as HTML text: being written, settled with all that can be done to them, and the kept ones.

The buttons carry ``data-action`` and what it needs; assets/board.js turns a press into the event ``act`` with the data
``{action, id, round, value, text, note, rater}`` (those that apply):

- ``keep``, ``drop``, and ``undecided`` to take either back
- ``edit``: ``text`` is the new wording, or an earlier one that is used again
- ``like``: more like this one
- ``show``: go to the card of proposal ``id`` in the session's round ``round``
- ``rate``: ``rater`` ``a`` or ``b``, ``value`` 1..5, ``note``

Copying, and opening the editor, happen in the browser alone. Meanwhile the script calls ``server.score_text(session,
proposal, text, language)``, and ``server.sentences`` and ``server.acceptance`` with ``(session, proposal, language)``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from mediator.acceptance import Kind
from mediator.schema import Scores
from mediator.sentences import SentenceInfluence
from mediator.session import Proposal, Round
from ui.card_folds import folds
from ui.components import Names, Side, attributes, balance, data_words, describe_scores, shortened, side_words
from ui.strings import figure, say

LONGEST_START = 90
"""Characters of a proposal's text where only its beginning is shown."""

NO_PULL = 0.01
"""Change of the tilt, 0..1, below which a sentence is said to pull towards neither side."""

_SCRIPT_WORDS = (
    "copied",
    "copy_failed",
    "save",
    "cancel",
    "edit_label",
    "edit_hint",
    "measuring",
    "unsaved",
    "failed",
    "note_waits",
)
"""Names in cards.yaml of the words that the script needs."""


@dataclass(frozen=True)
class LiveDraft:
    """A proposal on its way.

    Attributes:
        index: counts from 0, in the order of the writer.
        text: what has come so far. Plain text.
        scores: of that text; None while nothing was measured.
        done: the text is complete.
    """

    index: int
    text: str
    scores: Scores | None
    done: bool


def live_cards(drafts: Sequence[LiveDraft], names: Names, language: str) -> str:
    """The cards being written. The structure of a card never changes, so the page updates it in place."""
    body = "".join(_live_card(draft, names, language) for draft in drafts)
    return (
        f'<section class="eh-results eh-live"><h2>{escape(say(language, "cards.being_written"))}</h2>'
        f'<div class="eh-grid" data-count="{len(drafts)}">{body}</div></section>'
    )


def proposal_cards(
    proposals: Sequence[Proposal],
    names: Names,
    language: str,
    *,
    title_key: str,
    session_id: str,
    shown_round: int,
    busy: bool,
) -> str:
    """Settled cards, with everything that can be done to a proposal. Empty text when there are none.

    Args:
        proposals: in the order in which they are shown.
        names: of the sides.
        language: of the page.
        title_key: text of the catalogue for a card's title, with ``{number}`` counting from 1; the heading of them all
            is the text ``<title_key>_heading``, with ``{round}`` and ``{number}`` (of cards).
        session_id: whose proposals these are.
        shown_round: number of the round.
        busy: a round is being written, so no other can be asked for.
    """
    if not proposals:
        return ""
    cards = "".join(
        _card(proposal, say(language, title_key, number=number), names, language, shown_round, busy)
        for number, proposal in enumerate(proposals, 1)
    )
    heading = escape(say(language, f"{title_key}_heading", round=shown_round, number=len(proposals)))
    words = data_words({name: say(language, f"cards.{name}") for name in _SCRIPT_WORDS})
    known = attributes(data_session=session_id, data_round=str(shown_round), data_language=language)
    return (
        f'<section class="eh-results" data-cards{known}{words}><h2>{heading}</h2>'
        f'<div class="eh-grid" data-count="{len(proposals)}">{cards}</div></section>'
    )


def kept_strip(proposals: Sequence[Proposal], names: Names, language: str, *, rounds: Sequence[Round] = ()) -> str:
    """The kept proposals of all rounds, each a button that shows its card. Empty text when none is kept.

    Args:
        proposals: those that are not kept are left out.
        rounds: where the proposals are from; each is then named by its round and its place there.
    """
    kept = [proposal for proposal in proposals if proposal.mark == "kept"]
    if not kept:
        return ""
    titles = titles_of(rounds, language)
    items = "".join(_kept(proposal, *titles.get(proposal.id, (0, "")), names, language) for proposal in kept)
    heading = escape(say(language, "cards.kept_heading", count=len(kept)))
    return (
        f'<nav class="eh-kept" aria-labelledby="eh-kept-title"><h2 id="eh-kept-title">{heading}</h2>'
        f"<ul>{items}</ul></nav>"
    )


def title_of(proposal_id: str, rounds: Sequence[Round], language: str) -> tuple[int, str]:
    """Return a proposal's round and full name, e.g. ``(2, "Round 2, proposal 1")``; ``(0, "")`` when it is unknown."""
    return titles_of(rounds, language).get(proposal_id, (0, ""))


def titles_of(rounds: Sequence[Round], language: str) -> dict[str, tuple[int, str]]:
    """Return the round and the full name of every proposal, by its id."""
    return {
        proposal.id: (entry.number, say(language, key, round=entry.number, number=number))
        for entry in rounds
        for key, group in (("cards.option_of_round", entry.selected), ("cards.other_of_round", entry.rest))
        for number, proposal in enumerate(group, 1)
    }


def sentence_view(influences: Sequence[SentenceInfluence], names: Names, language: str) -> str:
    """What each sentence of a text does to its balance; the one that tilts it most is marked, in words as well."""
    if len(influences) < 2:
        return f'<p class="eh-quiet">{escape(say(language, "cards.one_sentence"))}</p>'
    rows = "".join(_sentence(influence, names, language) for influence in influences)
    tilting = any(influence.tilts for influence in influences)
    pulling = any(abs(influence.tilt_change) >= NO_PULL for influence in influences)
    intro = say(language, f"cards.sentences_{'intro' if tilting else 'pull' if pulling else 'even'}")
    return f'<p class="eh-quiet">{escape(intro)}</p><ol class="eh-sentences">{rows}</ol>'


def acceptance_view(kind: Kind | None, language: str) -> str:
    """How widely acceptable a statement like this tends to be, and what that does not say; ``None`` for unknown."""
    words = say(language, f"cards.acceptable_{kind or 'unknown'}")
    apart = "" if kind is None else f'<p class="eh-quiet">{escape(say(language, "cards.acceptable_apart"))}</p>'
    return f"<p>{escape(words)}</p>{apart}"


def _live_card(draft: LiveDraft, names: Names, language: str) -> str:
    title = escape(say(language, "cards.draft", number=draft.index + 1))
    words = "" if draft.scores is None else describe_scores(draft.scores, names, language)
    if draft.scores is not None and draft.scores.measured and not draft.done:
        words = say(language, "cards.so_far", words=words)
    state = "done" if draft.done else "writing"
    return (
        f'<article class="eh-card" data-state="{state}" aria-busy="{"false" if draft.done else "true"}"'
        f' aria-label="{title}"><header><h3>{title}</h3><p class="eh-words">{escape(words)}</p></header>'
        f'<p class="eh-text" dir="auto">{escape(draft.text)}</p>'
        f"{balance(draft.scores, names, language, settled=draft.done)}</article>"
    )


def _card(proposal: Proposal, title: str, names: Names, language: str, shown_round: int, busy: bool) -> str:
    label = f"eh-title-{proposal.id}"
    known = attributes(
        data_id=proposal.id,
        data_round=str(shown_round),
        data_mark=proposal.mark,
        data_title=title,
        tabindex="-1",
        aria_labelledby=label,
    )
    if proposal.mark == "dropped":
        return _dropped(proposal, title, language, known, label)
    current = proposal.current
    words = "" if current.scores is None else describe_scores(current.scores, names, language)
    edited = f' <span class="eh-tag">{escape(say(language, "cards.edited"))}</span>' if proposal.edited else ""
    return (
        f'<article class="eh-card" data-card{known}><header><h3{attributes(id=label)}>{escape(title)}{edited}</h3>'
        f'<p class="eh-words">{escape(words)}</p></header>'
        f'<p class="eh-text" dir="auto">{escape(current.text)}</p><div class="eh-slot" data-slot="editor"></div>'
        f"{balance(current.scores, names, language)}{_buttons(proposal, title, language, busy)}"
        f"{folds(proposal, title, names, language)}</article>"
    )


def _dropped(proposal: Proposal, title: str, language: str, known: str, label: str) -> str:
    """A card that was dropped: one line, and the way back."""
    tag = f' <span class="eh-tag">{escape(say(language, "cards.dropped"))}</span>'
    start = escape(shortened(proposal.current.text, LONGEST_START))
    undo = _button("undecided", proposal, say(language, "cards.undo"), title)
    return (
        f'<article class="eh-card eh-card-dropped" data-card{known}><div class="eh-row">'
        f"<h3{attributes(id=label)}>{escape(title)}{tag}</h3>{undo}</div>"
        f'<p class="eh-start" dir="auto">{start}</p></article>'
    )


def _buttons(proposal: Proposal, title: str, language: str, busy: bool) -> str:
    kept = proposal.mark == "kept"
    buttons = (
        _button(
            "undecided" if kept else "keep",
            proposal,
            say(language, "cards.keep"),
            title,
            focus="keep",
            aria_pressed="true" if kept else "false",
        ),
        _button("drop", proposal, say(language, "cards.drop"), title, aria_pressed="false"),
        _button("edit", proposal, say(language, "cards.edit"), title),
        _button("copy", proposal, say(language, "cards.copy"), title),
        _button("like", proposal, say(language, "cards.like"), title, aria_disabled="true" if busy else None),
    )
    said = '<span class="eh-said" role="status"></span>'
    return f'<div class="eh-card-actions" role="group"{attributes(aria_label=title)}>{"".join(buttons)}{said}</div>'


def _button(action: str, proposal: Proposal, text: str, title: str, *, focus: str = "", **more: str | None) -> str:
    """Make a button of a card. Its name for a screen reader says which card it is of."""
    shown = attributes(
        data_action=action,
        data_id=proposal.id,
        data_focus=f"{focus or action}-{proposal.id}",
        aria_label=f"{text}: {title}",
        **more,
    )
    return f'<button type="button" class="eh-button"{shown}>{escape(text)}</button>'


def _kept(proposal: Proposal, number: int, title: str, names: Names, language: str) -> str:
    scores = proposal.current.scores
    words = "" if scores is None else describe_scores(scores, names, language)
    shown = attributes(
        data_action="show",
        data_id=proposal.id,
        data_round=str(number) if number else None,
        data_focus=f"strip-{proposal.id}",
    )
    heading = f"<strong>{escape(title)}</strong> " if title else ""
    return (
        f'<li><button type="button" class="eh-kept-one"{shown}><span class="eh-kept-title">{heading}'
        f'<span class="eh-quiet">{escape(words)}</span></span> '
        f'<span class="eh-start" dir="auto">{escape(shortened(proposal.current.text, LONGEST_START))}</span>'
        "</button></li>"
    )


def _sentence(influence: SentenceInfluence, names: Names, language: str) -> str:
    change = influence.tilt_change
    if abs(change) < NO_PULL:
        arrow, pull = "•", say(language, "cards.pulls_neither")
    else:
        side: Side = "a" if change > 0 else "b"
        arrow = "◀" if side == "a" else "▶"
        pull = say(
            language, "cards.pulls", side=side_words(side, names, language), number=figure(language, abs(change))
        )
    text = escape(influence.text)
    marked = f"<mark>{text}</mark>" if influence.tilts else text
    most = f' <strong class="eh-tag">{escape(say(language, "cards.tilts_most"))}</strong>' if influence.tilts else ""
    return (
        f'<li><span dir="auto">{marked}</span><span class="eh-pull"><span aria-hidden="true">{arrow}</span> '
        f"{escape(pull)}{most}</span></li>"
    )
