"""The swap audit as HTML text: of which round it is, the verdict in a sentence, and both runs side by side."""

from collections.abc import Sequence
from html import escape

from mediator.audit_keeping import as_found
from mediator.kept_audit import KeptAudit, finding, measured
from mediator.neutrality import scores_of
from mediator.schema import Candidate
from mediator.session import Round, Session, audits_beside
from mediator.swap_audit import AuditPair, Change, SwapAudit, exchanged_scores
from ui.components import Names, balance, describe_scores, names_of, side_words
from ui.strings import figure, say


def kept_audit_view(session: Session | None, number: int, language: str) -> str:
    """What `mediator.session.audits_beside` says belongs beside the round ``number`` (0: the last one), or nothing.

    In the language of the page, whatever it was when the audit was run, and with the names that the sides have now.
    """
    if session is None or not session.audits:
        return ""
    audits, shown = audits_beside(session, number)
    names = names_of(session.form.side_a.label, session.form.side_b.label, language)
    return "".join(
        audit_view(as_found(audit), names, language, _of_which_round(audit, session.rounds, shown, language), place)
        for place, audit in enumerate(audits, start=1)
    )


def _of_which_round(audit: KeptAudit, rounds: Sequence[Round], shown: Round | None, language: str) -> str:
    """Say which round an audit is of, and that it is not the one that is shown where that is so."""
    of = next((entry for entry in rounds if entry.id == audit.round_id), None)
    if of is None:
        return say(language, "audit.of_no_round")
    if shown is None or of is shown:
        return say(language, "audit.of_round", number=of.number)
    return say(language, "audit.of_earlier_round", number=of.number, shown=shown.number)


def audit_view(audit: SwapAudit, names: Names, language: str, about: str = "", place: int = 1) -> str:
    """What exchanging A and B changed. In both columns the bars are those of the same people: A left, B right.

    Args:
        audit: the last event of `mediator.swap_audit.audit`.
        names: of the sides as they stand.
        language: of the page.
        about: a sentence on what was audited; empty for none.
        place: counts the audits of a page from 1.
    """
    verdict = audit.verdict or "unfinished"
    parts = [
        f'<p class="eh-verdict" data-verdict="{verdict}">{escape(_verdict(audit, names, language))}</p>',
        _facts(audit, names, language),
    ]
    if audit.pairs or audit.only_original or audit.only_swapped:
        parts.append(_table(audit, names, language))
    title = escape(say(language, "audit.title"))
    of = f'<p class="eh-quiet" id="eh-audit-of-{place}">{escape(about)}</p>' if about else ""
    named = f"eh-audit-title-{place}" + (f" eh-audit-of-{place}" if about else "")
    return (
        f'<section class="eh-audit" aria-labelledby="{named}" tabindex="-1">'
        f'<h3 id="eh-audit-title-{place}">{title}</h3>{of}{"".join(parts)}</section>'
    )


def _verdict(audit: SwapAudit, names: Names, language: str) -> str:
    if audit.verdict is None:
        return say(language, "audit.unfinished")
    found = finding(audit.verdict, audit.scores_exchange, _measured(audit), audit.position_bias)
    if found == "unmeasured":
        return say(language, "status.only_english")
    return say(language, f"audit.{found}", number=figure(language, abs(audit.position_bias)))


def _measured(audit: SwapAudit) -> bool:
    """Whether the tilts of both runs say anything (see `Scores.measured`)."""
    return measured((*audit.original.pool, *audit.swapped.pool))


def _facts(audit: SwapAudit, names: Names, language: str) -> str:
    rows = [(say(language, "audit.scorer"), say(language, f"audit.scorer_{'yes' if audit.scores_exchange else 'no'}"))]
    if audit.verdict is not None and _measured(audit):
        rows += [
            (say(language, "audit.tilt_original"), _tilt(audit.tilt_original, audit.error_original, names, language)),
            (say(language, "audit.tilt_swapped"), _tilt(audit.tilt_swapped, audit.error_swapped, names, language)),
            (say(language, "audit.place"), _place(audit, language)),
        ]
    body = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in rows)
    unsure = len(rows) > 1 and any((audit.error_original, audit.error_swapped, audit.chance))
    meant = f'<p class="eh-quiet">{escape(say(language, "audit.unsure_means"))}</p>' if unsure else ""
    return f'<dl class="eh-facts">{body}</dl>{meant}'


def _tilt(tilt: float, error: float | None, names: Names, language: str) -> str:
    """Return a mean tilt in words: up to a hundredth is towards nobody."""
    if abs(tilt) < 0.005:
        return _unsure(say(language, "audit.towards_nobody"), error, language)
    side = side_words("a" if tilt > 0 else "b", names, language)
    words = say(language, "audit.towards", side=side, number=figure(language, abs(tilt)))
    return _unsure(words, error, language)


def _place(audit: SwapAudit, language: str) -> str:
    """Return what a place did, in words. Only where both runs wrote the same texts is it known to be nothing."""
    if audit.position_bias == 0.0 and audit.chance == 0.0:
        return say(language, "audit.place_none")
    return _unsure(figure(language, abs(audit.position_bias)), audit.chance, language)


def _unsure(words: str, error: float | None, language: str) -> str:
    """Add how far chance may carry a figure, where that is known."""
    return words if error is None else say(language, "audit.unsure", words=words, error=figure(language, error))


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
