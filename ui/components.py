"""The pieces of the page as HTML text: cards, pairs of bars, notes. Everything from users or models is escaped here."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

from mediator.neutrality import describe
from mediator.schema import Candidate, Scores, Strategy

STRATEGY_LABELS: dict[Strategy, str] = {
    Strategy.COT_FEEDBACK: "Draft, measure, improve",
    Strategy.SINGLE: "Ask once",
    Strategy.COT: "Find common ground first",
    Strategy.COT_SELF_SCORE: "Let the writer rate itself",
}
"""The paper's strategies in the words of the page, the usual choice first."""


@dataclass(frozen=True)
class Card:
    """What one card shows.

    Attributes:
        key: unlike the key of every other card on the page; an opened card stays open while the page changes under it.
        title: e.g. "Option 1". Plain text.
        text: the proposal, all or the part that has come. Plain text.
        scores: of the text, or None while nothing was measured.
        writing: the text is still coming.
        numbers: rows for the folded table, beside the scores: name and value, plain text.
    """

    key: str
    title: str
    text: str
    scores: Scores | None = None
    writing: bool = False
    numbers: tuple[tuple[str, str], ...] = ()


def card_of(candidate: Candidate, key: str, title: str) -> Card:
    """Return the card of a finished candidate."""
    made = (("Written by", STRATEGY_LABELS[candidate.strategy]), ("Round", str(candidate.round)))
    return Card(key=key, title=title, text=candidate.text, scores=candidate.scores, numbers=made)


def meter(side: Literal["A", "B"], score: float | None) -> str:
    """One bar. ``score`` is 0..1; None stands for not measured yet. A grows to the left, B to the right."""
    percent = 0.0 if score is None else 100.0 * min(max(score, 0.0), 1.0)
    said = "not measured yet" if score is None else f"{percent:.0f} of 100"
    return (
        f'<div class="eh-meter eh-meter-{side.lower()}" role="meter" aria-label="Closeness to view {side}"'
        f' aria-valuenow="{percent:.0f}" aria-valuemin="0" aria-valuemax="100" aria-valuetext="{said}">'
        f'<span class="eh-fill" style="width:{percent:.1f}%"></span></div>'
    )


def balance(scores: Scores | None) -> str:
    """Both bars back to back: equal lengths look symmetrical, and neither side comes first."""
    score_a, score_b = (None, None) if scores is None else (scores.score_a, scores.score_b)
    return (
        '<div class="eh-balance">'
        f'<span class="eh-letter" aria-hidden="true">A</span>{meter("A", score_a)}'
        f'{meter("B", score_b)}<span class="eh-letter" aria-hidden="true">B</span></div>'
    )


def card(content: Card) -> str:
    """One proposal: its title, the words for its bars, its text, the bars, and the numbers folded away."""
    words = "" if content.scores is None else f"{describe(content.scores)}{' so far' if content.writing else ''}"
    state = "writing" if content.writing else "done"
    return (
        f'<article class="eh-card" data-state="{state}" aria-label="{escape(content.title)}">'
        f'<header><h3>{escape(content.title)}</h3><p class="eh-words">{escape(words)}</p></header>'
        f'<p class="eh-text" dir="auto">{escape(content.text)}</p>'
        f"<footer>{balance(content.scores)}{'' if content.writing else _numbers(content)}</footer></article>"
    )


def cards(contents: Sequence[Card], heading: str, explanation: str = "") -> str:
    """A heading and a grid of cards."""
    body = "".join(card(content) for content in contents)
    note = f'<p class="eh-explanation">{escape(explanation)}</p>' if explanation else ""
    return (
        f'<section class="eh-results"><h2>{escape(heading)}</h2>{note}'
        f'<div class="eh-grid" data-count="{len(contents)}">{body}</div></section>'
    )


def folded_cards(contents: Sequence[Card], heading: str, key: str) -> str:
    """Cards behind a line that opens them; nothing at all when there are none."""
    if not contents:
        return ""
    body = "".join(card(content) for content in contents)
    return (
        f'<details class="eh-others" data-key="{escape(key)}"><summary>{escape(heading)}</summary>'
        f'<div class="eh-grid">{body}</div></details>'
    )


def bars_explained() -> str:
    """What the bars mean, for somebody who sees them for the first time."""
    return (
        '<details class="eh-legend" data-key="legend"><summary>What the bars show</summary>'
        "<p>The bar towards A shows how close a proposal comes to view A, the bar towards B how close it comes to B, "
        "as measured by a language encoder trained on people’s ratings of empathy. Bars of about the same length "
        "mean that neither side is served more than the other; long bars, that both are taken up. It is a measurement "
        "of wording, not a judgement of what is fair: that is yours and theirs to decide.</p></details>"
    )


def status(text: str, kind: Literal["plain", "busy", "error"] = "plain", seconds: int | None = None) -> str:
    """The line under the buttons. An error interrupts a screen reader, the rest waits for its turn to be read.

    ``seconds`` is how long the writer has been silent; it is shown, and not read out every second.
    """
    role = "alert" if kind == "error" else "status"
    clock = "" if seconds is None else f' <span class="eh-clock" aria-hidden="true">{seconds} s</span>'
    return f'<p class="eh-status eh-status-{kind}" role="{role}">{escape(text)}{clock}</p>'


def where_the_text_goes(destination: str | None) -> str:
    """Say whether what was typed leaves this computer, and to which host."""
    if destination is None:
        return '<p class="eh-where" data-where="here">Everything you type stays on this computer.</p>'
    return (
        '<p class="eh-where" data-where="away"><strong>Leaves this computer:</strong> with this writer, both views and '
        f"your comment are sent to <strong>{escape(destination)}</strong>.</p>"
    )


def unknown_writer(why: str) -> str:
    """Stands in for `where_the_text_goes` when the writer's name says nothing; ``why`` is a sentence."""
    return f'<p class="eh-where" data-where="unknown">{escape(why)}</p>'


def note(text: str) -> str:
    """A remark above the cards: what went wrong on the way, or what to keep in mind."""
    return f'<p class="eh-note">{escape(text)}</p>'


def placeholder(text: str) -> str:
    """What stands where the proposals will be."""
    return f'<p class="eh-placeholder">{escape(text)}</p>'


def masthead(icon: str) -> str:
    """The head of the page. ``icon`` is the text of a shipped SVG file."""
    return (
        f'<header class="eh-masthead"><span class="eh-icon" aria-hidden="true">{icon}</span><div><h1>Evenhand</h1>'
        "<p>Drafts compromises between two points of view and shows how close each comes to both. "
        "It drafts; people decide.</p></div></header>"
    )


def _numbers(content: Card) -> str:
    rows: list[tuple[str, str]] = []
    if (scores := content.scores) is not None:
        rows = [
            ("Closeness to A (0 to 1)", f"{scores.score_a:.2f}"),
            ("Closeness to B (0 to 1)", f"{scores.score_b:.2f}"),
            ("Gap between the two", f"{scores.gap:.2f}"),
            ("Warmth (the lower of the two)", f"{scores.warmth:.2f}"),
            ("Raw cosine to A, to B", f"{scores.raw_a:.3f}, {scores.raw_b:.3f}"),
        ]
    body = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in [*rows, *content.numbers]
    )
    return (
        f'<details class="eh-numbers" data-key="{escape(content.key)}"><summary>Numbers</summary>'
        f"<dl>{body}</dl></details>"
    )
