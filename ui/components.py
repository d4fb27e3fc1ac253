"""The small pieces of the page as HTML text: bars, words, lines and notes. What users and models wrote is escaped."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Literal

from mediator.neutrality import tilt_kind, warmth_kind
from mediator.schema import Scores, Strategy
from ui.strings import say

if TYPE_CHECKING:
    from mediator.safety import Concern

STRATEGY_LABELS: dict[Strategy, str] = {
    Strategy.COT_FEEDBACK: "status.strategy_cot_feedback",
    Strategy.SINGLE: "status.strategy_single",
    Strategy.COT: "status.strategy_cot",
    Strategy.COT_SELF_SCORE: "status.strategy_cot_self_score",
}
"""Where the catalogue has the name of each of the paper's strategies, the usual choice first."""

LONGEST_NAME_IN_WORDS = 28
"""Characters of a side's name inside a sentence; a longer one is cut there."""

Side = Literal["a", "b"]
SIDES: tuple[Side, Side] = ("a", "b")


@dataclass(frozen=True)
class Names:
    """What the sides are called. Plain text.

    Attributes:
        a: the name of the left side, never empty.
        b: the name of the right side, never empty.
    """

    a: str
    b: str

    def of(self, side: Side) -> str:
        """Return the name of one side."""
        return self.a if side == "a" else self.b


def names_of(view_a_label: str, view_b_label: str, language: str) -> Names:
    """Return what the sides are called: the mediator's labels, "View A" and "View B" where there are none."""
    return Names(
        view_a_label.strip() or say(language, "status.view_a"), view_b_label.strip() or say(language, "status.view_b")
    )


def side_words(side: Side, names: Names, language: str) -> str:
    """Return a side as it is called within a sentence: "A", or "A (The tenants)" where it has a name. Plain text."""
    letter, name = side.upper(), names.of(side)
    if name == say(language, f"status.view_{side}"):
        return letter
    return f"{letter} ({shortened(name, LONGEST_NAME_IN_WORDS)})"


def tilt_text(scores: Scores, names: Names, language: str) -> str:
    """Say which side a text is closer to: "about equal", "closer to A", "cannot tell them apart". Plain text."""
    return _in_words("tilt", tilt_kind(scores), names, language)


def warmth_text(scores: Scores, names: Names, language: str) -> str:
    """Say how close a text comes to both: "close to both", "far from B". Plain text."""
    return _in_words("warmth", warmth_kind(scores), names, language)


def describe_scores(scores: Scores, names: Names, language: str) -> str:
    """Say in a few words what the two bars show: "about equal, close to both". Plain text.

    Of scores that say nothing (see `Scores.measured`) it says just that.
    """
    if not scores.measured:
        return say(language, "status.other_language")
    return f"{tilt_text(scores, names, language)}, {warmth_text(scores, names, language)}"


def shortened(text: str, characters: int) -> str:
    """Return the beginning of a text, on one line, at most this long; an ellipsis says that more follows."""
    line = " ".join(text.split())
    if len(line) <= characters:
        return line
    cut = line[: characters - 1]
    space = cut.rfind(" ")
    return (cut[:space] if space > characters // 2 else cut).rstrip(" ,;:.") + "…"


def attributes(**values: str | None) -> str:
    """Return attributes of an element, each with a space before it; an underscore stands for a hyphen.

    A value of None leaves the attribute out.
    """
    return "".join(
        f' {name.strip("_").replace("_", "-")}="{escape(value)}"' for name, value in values.items() if value is not None
    )


def data_words(words: Mapping[str, str]) -> str:
    """Return the attribute that hands the page's script its words, in the page's language."""
    return attributes(data_words=json.dumps(words, ensure_ascii=False))


def meter(
    side: Side,
    score: float | None,
    names: Names,
    language: str,
    error: float | None = None,
    missing: str = "status.not_measured",
) -> str:
    """One bar. ``score`` is 0..1; None stands for what ``missing`` names. A grows to the left, B to the right.

    ``error`` is the standard error of the score, 0..1: a whisker across the bar's end reaches so far to both sides, and
    the words name it. None leaves both out; the elements stay the same.
    """
    percent = 0.0 if score is None else 100.0 * min(max(score, 0.0), 1.0)
    pattern, unsure = say(language, "status.of_100"), say(language, "status.of_100_unsure")
    within = "" if score is None or error is None else f"{100.0 * error:.0f}"
    if score is None:
        said = say(language, missing)
    else:
        said = (unsure if within else pattern).format(number=f"{percent:.0f}", error=within)
    label = say(language, "status.closeness_to", side=side_words(side, names, language))
    shown = attributes(
        role="meter",
        aria_label=label,
        aria_valuenow=f"{percent:.0f}",
        aria_valuemin="0",
        aria_valuemax="100",
        aria_valuetext=said,
        data_said=pattern,
        data_unsure=unsure,
        data_side=side,
    )
    low, high = (0.0, 0.0) if error is None else (max(0.0, percent - 100 * error), min(100.0, percent + 100 * error))
    whisker = attributes(style=f"--eh-low:{low:.1f}%;--eh-wide:{high - low:.1f}%", data_error=within)
    return (
        f'<div class="eh-meter eh-meter-{side}"{shown}><span class="eh-fill" style="width:{percent:.1f}%"></span>'
        f'<span class="eh-whisker"{whisker}></span></div>'
    )


def balance(scores: Scores | None, names: Names, language: str, *, settled: bool = True) -> str:
    """Both bars back to back: equal lengths look symmetrical, and neither side comes first.

    ``settled`` is whether the scores are those of the whole text: only then is it said how sure they are.
    """
    missing = "status.not_measured" if scores is None else "status.other_language"
    shown = scores if scores is not None and scores.measured else None
    score_a, score_b = (None, None) if shown is None else (shown.score_a, shown.score_b)
    errors = (None, None) if shown is None or not settled else (shown.score_error_a, shown.score_error_b)
    return (
        '<div class="eh-balance"><span class="eh-letter" aria-hidden="true">A</span>'
        f"{meter('a', score_a, names, language, errors[0], missing)}"
        f"{meter('b', score_b, names, language, errors[1], missing)}"
        '<span class="eh-letter" aria-hidden="true">B</span></div>'
    )


def bars_explained(language: str) -> str:
    """What the bars and their whiskers mean, for somebody who sees them for the first time."""
    return (
        f'<details class="eh-legend" data-key="legend"><summary>{escape(say(language, "status.bars_title"))}</summary>'
        f"<p>{escape(say(language, 'status.bars_text'))}</p>"
        f"<p>{escape(say(language, 'status.bars_unsure'))}</p></details>"
    )


def status(text: str, kind: Literal["plain", "busy", "error"] = "plain", seconds: int | None = None) -> str:
    """The line under the buttons. An error interrupts a screen reader, the rest waits for its turn to be read.

    ``text`` is in the page's language. ``seconds`` is how long the writer has been silent; it is shown, and not read
    out every second.
    """
    role = "alert" if kind == "error" else "status"
    clock = "" if seconds is None else f' <span class="eh-clock" aria-hidden="true">{seconds} s</span>'
    return f'<p class="eh-status eh-status-{kind}" role="{role}">{escape(text)}{clock}</p>'


def where_the_text_goes(destination: str | None, language: str, *, hears: bool = True) -> str:
    """Say whether what was typed leaves this computer, and to which host.

    ``hears`` is whether the writer can be told more than the two views; that it cannot is said too.
    """
    if destination is None:
        deaf = "" if hears else f" {escape(say(language, 'status.hears_views_only'))}"
        return f'<p class="eh-where" data-where="here">{escape(say(language, "status.stays_here"))}{deaf}</p>'
    return (
        f'<p class="eh-where" data-where="away"><strong>{escape(say(language, "status.leaves"))}</strong> '
        f"{_with_host('status.leaves_to', destination, language)}</p>"
    )


def unknown_writer(why: str) -> str:
    """Stands in for `where_the_text_goes` when the writer's name says nothing; ``why`` is a sentence."""
    return f'<p class="eh-where" data-where="unknown">{escape(why)}</p>'


def consent(destination: str, language: str) -> str:
    """Ask, in the place where the answer is needed, whether the text may be sent to ``destination``; takes the focus.

    Its buttons carry ``data-action`` ``consent`` and ``decline``, the destination in ``data-value``.
    """
    focus = attributes(data_action="consent", data_value=destination, data_focus="consent")
    decline = attributes(data_action="decline", data_value=destination, data_focus="decline")
    yes, no = (escape(say(language, f"status.consent_{answer}")) for answer in ("yes", "no"))
    return (
        '<section class="eh-consent" role="group" tabindex="-1" data-autofocus="consent"'
        ' aria-labelledby="eh-consent-title" aria-describedby="eh-consent-text">'
        f'<h2 id="eh-consent-title">{_with_host("status.consent_title", destination, language)}</h2>'
        f'<p id="eh-consent-text">{_with_host("status.consent_text", destination, language)}</p>'
        f'<p class="eh-quiet">{escape(say(language, "status.consent_once"))}</p>'
        '<div class="eh-row-actions">'
        f'<button type="button" class="eh-button eh-primary"{focus}>{yes}</button>'
        f'<button type="button" class="eh-button"{decline}>{no}</button>'
        "</div></section>"
    )


def safety_note(concerns: Sequence["Concern"], names: Names, language: str) -> str:
    """A calm note that mediation may be unsuitable, for views that speak of harm. Empty text without concerns."""
    if not concerns:
        return ""
    found = dict.fromkeys((concern.side, concern.kind) for concern in concerns)
    items = "".join(f"<li>{escape(_concern(side, kind, names, language))}</li>" for side, kind in found)
    title, advice = (escape(say(language, f"safety.{part}")) for part in ("title", "advice"))
    return f'<aside class="eh-safety" role="note"><h2>{title}</h2><ul>{items}</ul><p>{advice}</p></aside>'


def folded(heading: str, body: str, key: str) -> str:
    """HTML behind a line that opens it; ``key`` is unlike that of every other such line, and it stays open by it."""
    return f'<details class="eh-others"{attributes(data_key=key)}><summary>{escape(heading)}</summary>{body}</details>'


def word_count(text: str, language: str) -> str:
    """How many words a text has."""
    return f'<p class="eh-count">{escape(say(language, "status.words", count=len(text.split())))}</p>'


def note(text: str) -> str:
    """A remark above the cards: what went wrong on the way, or what to keep in mind."""
    return f'<p class="eh-note">{escape(text)}</p>'


def placeholder(text: str) -> str:
    """What stands where the proposals will be."""
    return f'<p class="eh-placeholder">{escape(text)}</p>'


def masthead(icon: str, language: str = "en") -> str:
    """The head of the page. ``icon`` is the text of a shipped SVG file."""
    return (
        f'<header class="eh-masthead"><span class="eh-icon" aria-hidden="true">{icon}</span><div><h1>Evenhand</h1>'
        f"<p>{escape(say(language, 'status.masthead'))}</p></div></header>"
    )


def _in_words(what: Literal["tilt", "warmth"], kind: str, names: Names, language: str) -> str:
    side = kind[-1]
    if kind.endswith(("_a", "_b")):
        named = side_words("a" if side == "a" else "b", names, language)
        return say(language, f"status.{what}_{kind.removesuffix(f'_{side}')}", side=named)
    return say(language, f"status.{what}_{kind}")


def _concern(side: Side, kind: str, names: Names, language: str) -> str:
    return say(
        language,
        "safety.speaks",
        side=side_words(side, names, language),
        kind=say(language, f"safety.{kind}"),
    )


def _with_host(key: str, destination: str, language: str) -> str:
    """Return a text of the catalogue as HTML, its ``{host}`` emphasised."""
    before, _, after = say(language, key).partition("{host}")
    return f"{escape(before)}<strong>{escape(destination)}</strong>{escape(after)}"
