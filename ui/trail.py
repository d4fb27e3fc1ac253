"""The rounds of a session as a trail of buttons: any earlier one can be returned to."""

from collections.abc import Sequence
from html import escape

from mediator.session import Round
from ui.cards import title_of
from ui.components import attributes, shortened
from ui.strings import say

LONGEST_COMMENT = 48
"""Characters of a comment on the trail."""


def trail(rounds: Sequence[Round], shown: int, language: str, busy: bool) -> str:
    """The trail, oldest round first; empty text without rounds.

    Each round is a button with ``data-action="show"`` and its number in ``data-round``.

    Args:
        rounds: oldest first; the last one may still be running.
        shown: number of the round whose cards are on the page.
        busy: a round is being written: another one can be looked at all the same.
    """
    if not rounds:
        return ""
    items = "".join(_step(entry, rounds, entry.number == shown, language) for entry in rounds)
    label = attributes(aria_label=say(language, "trail.label"), aria_busy="true" if busy else None)
    return f'<nav class="eh-trail"{label}><ol>{items}</ol></nav>'


def _step(entry: Round, rounds: Sequence[Round], shown: bool, language: str) -> str:
    led = _led_to_it(entry, rounds, language)
    state = entry.state
    remark = "" if state == "done" else say(language, f"trail.{state}")
    tag = f'<span class="eh-tag" data-state="{state}">{escape(remark)}</span>' if remark else ""
    why = f'<span class="eh-trail-why" dir="auto">{escape(shortened(led, LONGEST_COMMENT))}</span>' if led else ""
    button = attributes(
        data_action="show",
        data_round=str(entry.number),
        data_focus=f"round-{entry.number}",
        data_state=state,
        aria_current="step" if shown else None,
        title=led or None,
    )
    return (
        f'<li><button type="button" class="eh-step"{button}><span class="eh-step-head">'
        f"<strong>{escape(say(language, 'trail.round', number=entry.number))}</strong> "
        f'<span class="eh-quiet">{escape(_how_many(entry, language))}</span>{tag}</span>{why}</button></li>'
    )


def _how_many(entry: Round, language: str) -> str:
    count = len(entry.selected) or len(entry.proposals)
    return say(language, "common.proposals", count=count)


def _led_to_it(entry: Round, rounds: Sequence[Round], language: str) -> str:
    """Return what this round was asked for: the comment, the proposal it stays close to, the round it went on from."""
    parts = []
    if entry.follows not in (0, entry.number - 1):
        parts.append(say(language, "trail.after", number=entry.follows))
    if entry.like is not None:
        _, title = title_of(entry.like, rounds, language)
        parts.append(say(language, "trail.like", title=title) if title else say(language, "trail.like_unknown"))
    if entry.comment.strip():
        parts.append(say(language, "trail.comment", comment=" ".join(entry.comment.split())))
    return ", ".join(parts)
