"""The swap audit as HTML text: the verdict in a sentence, and both runs side by side."""

from collections.abc import Sequence
from html import escape

from mediator.neutrality import ABOUT_EQUAL, scores_of
from mediator.schema import Candidate
from mediator.swap_audit import AuditPair, Change, SwapAudit, exchanged_scores
from ui.components import Names, balance, describe_scores, side_words
from ui.strings import figure, say


def audit_view(audit: SwapAudit, names: Names, language: str) -> str:
    """What exchanging A and B changed. In both columns the bars are those of the same people: A left, B right.

    Args:
        audit: the last event of `mediator.swap_audit.audit`.
        names: of the sides as they stand.
        language: of the page.
    """
    verdict = audit.verdict or "unfinished"
    parts = [
        f'<p class="eh-verdict" data-verdict="{verdict}">{escape(_verdict(audit, names, language))}</p>',
        _facts(audit, names, language),
    ]
    if audit.pairs or audit.only_original or audit.only_swapped:
        parts.append(_table(audit, names, language))
    title = escape(say(language, "audit.title"))
    return (
        '<section class="eh-audit" aria-labelledby="eh-audit-title" tabindex="-1">'
        f'<h3 id="eh-audit-title">{title}</h3>{"".join(parts)}</section>'
    )


def _verdict(audit: SwapAudit, names: Names, language: str) -> str:
    if audit.verdict is None:
        return say(language, "audit.unfinished")
    if audit.scores_exchange and audit.verdict != "identical" and not _measured(audit):
        return say(language, "status.only_english")
    if audit.verdict != "differs":
        return say(language, f"audit.{audit.verdict}")
    if not audit.scores_exchange:
        return say(language, "audit.scores_differ")
    # What is favoured is a place, so the sentence names the place; above zero the first, A.
    place = "first" if audit.position_bias > 0 else "second"
    return say(language, f"audit.favours_{place}", number=figure(language, abs(audit.position_bias)))


def _measured(audit: SwapAudit) -> bool:
    """Whether the tilts of both runs say anything (see `Scores.measured`)."""
    return all(scores_of(candidate).measured for run in (audit.original, audit.swapped) for candidate in run.pool)


def _facts(audit: SwapAudit, names: Names, language: str) -> str:
    rows = [(say(language, "audit.scorer"), say(language, f"audit.scorer_{'yes' if audit.scores_exchange else 'no'}"))]
    if audit.verdict is not None and _measured(audit):
        rows += [
            (say(language, "audit.tilt_original"), _tilt(audit.tilt_original, names, language)),
            (say(language, "audit.tilt_swapped"), _tilt(audit.tilt_swapped, names, language)),
            (say(language, "audit.place"), _place(audit, language)),
        ]
    body = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in rows)
    return f'<dl class="eh-facts">{body}</dl>'


def _tilt(tilt: float, names: Names, language: str) -> str:
    """Return a mean tilt in words: up to a hundredth is towards nobody."""
    if abs(tilt) < 0.005:
        return say(language, "audit.towards_nobody")
    side = side_words("a" if tilt > 0 else "b", names, language)
    return say(language, "audit.towards", side=side, number=figure(language, abs(tilt)))


def _place(audit: SwapAudit, language: str) -> str:
    bias = figure(language, abs(audit.position_bias))
    if abs(audit.position_bias) < 0.005:
        return say(language, "audit.place_none")
    return say(
        language,
        "audit.place_some",
        number=bias,
        chance=figure(language, audit.chance),
        equal=figure(language, ABOUT_EQUAL),
    )


def _table(audit: SwapAudit, names: Names, language: str) -> str:
    """Both runs, a row a pair. The roles keep it a table for a screen reader where a narrow page stacks its cells."""
    original, swapped = (say(language, f"audit.{name}") for name in ("as_it_stands", "exchanged"))
    heads = "".join(f'<th scope="col" role="columnheader">{escape(head)}</th>' for head in (original, swapped))
    rows = [_pair(pair, names, language) for pair in audit.pairs]
    rows += [_row(_single(one, names, language, exchanged=False), "", language) for one in audit.only_original]
    rows += [_row("", _single(other, names, language, exchanged=True), language) for other in audit.only_swapped]
    caption = escape(say(language, "audit.caption"))
    return (
        f'<table class="eh-table eh-audit-table" role="table"><caption>{caption}</caption>'
        f'<thead role="rowgroup"><tr role="row">{heads}</tr></thead>'
        f'<tbody role="rowgroup">{"".join(rows)}</tbody></table>'
    )


def _pair(pair: AuditPair, names: Names, language: str) -> str:
    if pair.same_text:
        there = f'<p class="eh-quiet">{escape(say(language, "audit.same_text"))}</p>'
        here = f'<p class="eh-text" dir="auto">{escape(pair.original.text)}</p>'
    else:
        here, there = (_changed(pair.changes, where) for where in ("original", "swapped"))
        shared = say(language, "audit.shared", percent=f"{100 * pair.overlap:.0f}")
        there += f'<p class="eh-quiet">{escape(shared)}</p>'
    there += _bars(pair.swapped, names, language, exchanged=True)
    if pair.score_difference > 0 and scores_of(pair.original).measured and scores_of(pair.swapped).measured:
        moved = say(language, "audit.moved", number=figure(language, pair.score_difference))
        there += f'<p class="eh-quiet">{escape(moved)}</p>'
    return _row(here + _bars(pair.original, names, language, exchanged=False), there, language)


def _changed(changes: Sequence[Change], where: str) -> str:
    """One of two texts, with the words that the other does not have marked."""
    parts = [
        escape(change.text) if change.where == "both" else f"<mark>{escape(change.text)}</mark>"
        for change in changes
        if change.where in ("both", where)
    ]
    return f'<p class="eh-text" dir="auto">{"".join(parts)}</p>'


def _single(candidate: Candidate, names: Names, language: str, *, exchanged: bool) -> str:
    bars = _bars(candidate, names, language, exchanged=exchanged)
    return f'<p class="eh-text" dir="auto">{escape(candidate.text)}</p>{bars}'


def _bars(candidate: Candidate, names: Names, language: str, *, exchanged: bool) -> str:
    """The bars for the people as they stand: in the exchanged run, A's score is that of the person called B here."""
    scores = exchanged_scores(scores_of(candidate)) if exchanged else scores_of(candidate)
    words = escape(describe_scores(scores, names, language))
    return f'{balance(scores, names, language)}<p class="eh-words">{words}</p>'


def _row(here: str, there: str, language: str) -> str:
    """A row; an empty cell says that this run has no such proposal, and each cell which run it is of."""
    nothing = f'<p class="eh-quiet">{escape(say(language, "audit.no_partner"))}</p>'
    cells = "".join(
        f'<td role="cell"><p class="eh-cell-name" aria-hidden="true">{escape(say(language, f"audit.{name}"))}</p>'
        f"{body or nothing}</td>"
        for name, body in (("as_it_stands", here), ("exchanged", there))
    )
    return f'<tr role="row">{cells}</tr>'
