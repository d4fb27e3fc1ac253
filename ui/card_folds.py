"""What is folded away in a card, as HTML text: its numbers, the sentence that tilts it, its history, its ratings."""

from html import escape

from mediator.schema import Candidate, Scores
from mediator.session import Proposal, Rating
from ui.components import (
    SIDES,
    STRATEGY_LABELS,
    Names,
    Side,
    attributes,
    describe_scores,
    side_words,
    tilt_text,
    warmth_text,
)
from ui.strings import figure, say

LONGEST_NOTE = 500
"""Characters of the note beside a rating."""


def folds(proposal: Proposal, title: str, names: Names, language: str) -> str:
    """All that a card folds away. Each opened one stays open while the page changes under it."""
    return (
        f'<div class="eh-folds">{_numbers(proposal, names, language)}{_panels(proposal, language)}'
        f"{_history(proposal, names, language)}{_ratings(proposal, title, names, language)}</div>"
    )


def _fold(name: str, proposal: Proposal, summary: str, body: str) -> str:
    key = attributes(data_key=f"{name}-{proposal.id}", data_fold=name)
    return f'<details class="eh-fold eh-{name}"{key}><summary>{escape(summary)}</summary>{body}</details>'


def _numbers(proposal: Proposal, names: Names, language: str) -> str:
    current, rows = proposal.current, []
    if (scores := current.scores) is not None and not scores.measured:
        rows = [(say(language, "cards.bars"), say(language, "status.other_language"))]
    elif scores is not None:
        rows = [
            *((_closeness(side, names, language), _score(scores, side, language)) for side in SIDES),
            (say(language, "cards.gap"), figure(language, scores.rounded().gap)),
            (
                say(language, "cards.tilt"),
                f"{figure(language, scores.rounded().tilt, signed=True)} ({tilt_text(scores, names, language)})",
            ),
            *_tilt_interval(scores, language),
            (
                say(language, "cards.warmth"),
                f"{figure(language, scores.warmth)} ({warmth_text(scores, names, language)})",
            ),
            (
                say(language, "cards.raw"),
                say(
                    language, "cards.raw_both", a=figure(language, scores.raw_a, 3), b=figure(language, scores.raw_b, 3)
                ),
            ),
        ]
    rows += [
        (say(language, "cards.strategy"), say(language, STRATEGY_LABELS[current.strategy])),
        (say(language, "cards.pass"), str(current.round)),
    ]
    body = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in rows)
    return _fold("numbers", proposal, say(language, "cards.numbers"), f"<dl>{body}</dl>")


def _closeness(side: Side, names: Names, language: str) -> str:
    return say(language, "cards.closeness", side=side_words(side, names, language))


def _score(scores: Scores, side: Side, language: str) -> str:
    """Return a side's score, with its standard error where it has one."""
    score, error = (scores.score_a, scores.score_error_a) if side == "a" else (scores.score_b, scores.score_error_b)
    return figure(language, score) if error is None else f"{figure(language, score)} ± {figure(language, error)}"


def _tilt_interval(scores: Scores, language: str) -> list[tuple[str, str]]:
    """Return the row that says between what the tilt lies; none where that is not known."""
    if scores.tilt_low is None or scores.tilt_high is None:
        return []
    between = say(
        language,
        "cards.between",
        low=figure(language, scores.tilt_low, signed=True),
        high=figure(language, scores.tilt_high, signed=True),
    )
    return [(say(language, "cards.tilt_interval"), between)]


def _panels(proposal: Proposal, language: str) -> str:
    """The two panels that the script fills when they are opened, once per wording."""
    wording = attributes(data_id=proposal.id, data_wording=str(len(proposal.edits)))
    return "".join(
        _fold(
            name,
            proposal,
            say(language, title),
            f'<div class="eh-slot"{attributes(data_ask=ask)}{wording} aria-live="polite"></div>',
        )
        for name, ask, title in (
            ("tilting", "sentences", "cards.which_sentence"),
            ("acceptance", "acceptance", "cards.how_acceptable"),
        )
    )


def _history(proposal: Proposal, names: Names, language: str) -> str:
    """The writer's wording and each edit; to go back to one is to edit the text once more."""
    if not proposal.edits:
        return ""
    wordings = [(proposal.candidate.text, proposal.candidate.scores)]
    wordings += [(edit.text, edit.scores) for edit in proposal.edits]
    last = len(proposal.edits)
    items = "".join(
        _wording(
            number,
            proposal.candidate.model_copy(update={"text": text, "scores": scores}),
            number == last,
            proposal.id,
            names,
            language,
        )
        for number, (text, scores) in enumerate(wordings)
    )
    return _fold("history", proposal, say(language, "cards.history", count=last), f"<ol>{items}</ol>")


def _wording(number: int, wording: Candidate, used: bool, proposal_id: str, names: Names, language: str) -> str:
    title = say(language, "cards.edit_number", number=number) if number else say(language, "cards.writers_wording")
    numbers = ""
    if (scores := wording.scores) is not None:
        sides = f"A {figure(language, scores.score_a)} · B {figure(language, scores.score_b)}"
        words = describe_scores(scores, names, language)
        figures = f"{sides} · {words}" if scores.measured else words
        numbers = f'<p class="eh-quiet">{escape(figures)}</p>'
    if used:
        end = f'<span class="eh-tag">{escape(say(language, "cards.in_use"))}</span>'
    else:
        use = say(language, "cards.use_wording")
        shown = attributes(
            data_action="edit",
            data_id=proposal_id,
            data_text=wording.text,
            data_focus=f"use-{number}-{proposal_id}",
            aria_label=f"{use}: {title}",
        )
        end = f'<button type="button" class="eh-button"{shown}>{escape(use)}</button>'
    return (
        f'<li{attributes(aria_current="true" if used else None)}><div class="eh-row"><strong>{escape(title)}</strong>'
        f'{end}</div><p class="eh-wording" dir="auto">{escape(wording.text)}</p>{numbers}</li>'
    )


def _ratings(proposal: Proposal, title: str, names: Names, language: str) -> str:
    latest = {rating.rater: rating for rating in proposal.ratings}
    groups = "".join(_rating(side, latest.get(side), proposal.id, title, names, language) for side in SIDES)
    return _fold("ratings", proposal, say(language, "cards.ratings"), f'<div class="eh-raters">{groups}</div>')


def _rating(side: Side, rating: Rating | None, proposal_id: str, title: str, names: Names, language: str) -> str:
    chosen = None if rating is None else rating.value
    buttons = "".join(_rating_button(side, value, chosen, proposal_id, language) for value in range(1, 6))
    label = attributes(aria_label=say(language, "cards.rating_of", side=names.of(side), title=title))
    said = say(language, "cards.not_rated" if chosen is None else f"cards.rating_{chosen}")
    note = attributes(
        value="" if rating is None else rating.note,
        maxlength=str(LONGEST_NOTE),
        data_note=side,
        data_id=proposal_id,
        data_keep=f"note-{side}-{proposal_id}",
        data_focus=f"note-{side}-{proposal_id}",
        autocomplete="off",
    )
    letter = f'<span class="eh-letter" aria-hidden="true">{side.upper()}</span>'
    return (
        f'<div class="eh-rater" data-rater="{side}"><p class="eh-rater-name">{letter}'
        f'<span dir="auto">{escape(names.of(side))}</span></p>'
        f'<div class="eh-scale" role="radiogroup"{label}>{buttons}</div>'
        f'<p class="eh-quiet eh-rating-word">{escape(said)}</p>'
        f'<label class="eh-note-field"><span>{escape(say(language, "cards.rating_note"))}</span>'
        f'<input type="text" dir="auto"{note}></label></div>'
    )


def _rating_button(side: Side, value: int, chosen: int | None, proposal_id: str, language: str) -> str:
    words = say(language, f"cards.rating_{value}")
    shown = attributes(
        role="radio",
        aria_checked="true" if value == chosen else "false",
        tabindex="0" if value == (chosen or 1) else "-1",
        aria_label=f"{value}, {words}",
        title=words,
        data_action="rate",
        data_id=proposal_id,
        data_rater=side,
        data_value=str(value),
        data_focus=f"rate-{side}-{value}-{proposal_id}",
    )
    return f'<button type="button" class="eh-button"{shown}>{value}</button>'
