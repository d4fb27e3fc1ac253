"""What the Mediate page shows of a session: pure functions from its rounds to HTML."""

from html import escape

from mediator.errors import InputError
from mediator.session import Form, Proposal, Round, Session
from ui.cards import kept_strip, live_cards, proposal_cards, titles_of
from ui.components import Names, bars_explained, folded, names_of, note, placeholder
from ui.error_words import in_language
from ui.forms import dispute_of
from ui.plane import PlanePoint, plane
from ui.running import Running
from ui.strings import say
from ui.trail import trail

DRAFTER = "drafter"
"""The writer whose proposals are put together from ready-made measures."""


def side_names(form: Form, language: str) -> Names:
    """Return what the two sides are called."""
    return names_of(form.side_a.label, form.side_b.label, language)


def shown_round(session: Session | None, number: int) -> Round | None:
    """Return the round of this number, the last one for 0, or None when there is none."""
    if session is None or not session.rounds:
        return None
    return next((entry for entry in session.rounds if entry.number == number), session.rounds[-1])


def board(session: Session | None, number: int, language: str, running: Running | None = None) -> str:
    """The settled part: the trail, what was kept, and the proposals of one round."""
    entry = shown_round(session, number)
    if session is None or entry is None:
        return placeholder(say(language, "mediate.nothing_yet")) if running is None else ""
    names = side_names(session.form, language)
    busy = running is not None
    if entry.state == "running" and busy:
        finished = [other for other in session.rounds if other.state != "running"]
        if not finished:
            return ""
        entry = next((other for other in finished if other.number == entry.follows), finished[-1])
    kept = [proposal for other in session.rounds for proposal in other.proposals if proposal.mark == "kept"]
    parts = [
        trail(session.rounds, entry.number, language, busy),
        kept_strip(kept, names, language, rounds=session.rounds),
        *_notes(session, entry, language, busy),
    ]
    best, rest = list(entry.selected), list(entry.rest)
    if not best and not rest:
        parts.append(placeholder(say(language, "mediate.nothing_came")))

    def drawn(proposals: list[Proposal], title_key: str) -> str:
        return proposal_cards(
            proposals,
            names,
            language,
            title_key=title_key,
            session_id=session.id,
            shown_round=entry.number,
            busy=busy,
        )

    parts.append(drawn(best, "cards.option"))
    if rest and best:
        parts.append(folded(say(language, "mediate.others", count=len(rest)), drawn(rest, "cards.other"), "others"))
    else:
        parts.append(drawn(rest, "cards.other"))
    if (best or rest) and entry.model == DRAFTER:
        parts.append(f'<p class="eh-quiet">{escape(say(language, "status.ready_made"))}</p>')
    parts.append(bars_explained(language))
    return "".join(parts)


def picture(session: Session | None, language: str) -> str:
    """The plane with every candidate of every round; nothing as long as there is none."""
    if session is None:
        return ""
    titles = titles_of(session.rounds, language)
    points = [
        PlanePoint(
            proposal.id,
            entry.number,
            titles[proposal.id][1],
            proposal.current.text,
            proposal.current.scores,
            proposal.rank is not None,
            proposal.mark,
        )
        for entry in session.rounds
        for proposal in entry.proposals
        if proposal.current.scores is not None and proposal.current.scores.measured
    ]
    return plane(points, side_names(session.form, language), language) if points else ""


def live(running: Running, form: Form, language: str) -> str:
    """The drafts that are being written."""
    with running.lock:
        drafts = running.board.drafts()
    if not drafts:
        return placeholder(say(language, "mediate.first_words"))
    return live_cards(drafts, side_names(form, language), language)


def _notes(session: Session, entry: Round, language: str, busy: bool) -> list[str]:
    """Remarks above the cards of a round; while another one is written, none on where the next one goes on."""
    notes = []
    if entry.problem:
        problem = in_language(language, entry.problem)
        failed = entry.state == "failed"
        notes.append(note(say(language, "mediate.round_failed", problem=problem) if failed else problem))
    if entry.state == "interrupted":
        notes.append(note(say(language, "mediate.interrupted", count=len(entry.proposals))))
    if any((scores := proposal.current.scores) and not scores.measured for proposal in entry.proposals):
        notes.append(note(say(language, "status.only_english")))
    if entry.below_floor:
        key = "mediate.all_far" if entry.below_floor == len(entry.selected) else "mediate.some_far"
        notes.append(note(say(language, key, count=entry.below_floor)))
    if entry.strategy == "all" and entry.sources:
        counts = "; ".join(
            f"{say(language, f'status.strategy_{strategy.name.lower()}')}: {count}"
            for strategy, count in entry.sources.items()
        )
        notes.append(note(say(language, "mediate.sources", counts=counts)))
    if busy:
        return notes
    if entry is not session.rounds[-1]:
        notes.append(note(say(language, "mediate.looking_back", number=entry.number)) + _restore(entry, language))
    elif _views_changed(session, entry, language):
        notes.append(note(say(language, "mediate.views_changed")) + _restore(entry, language))
    return notes


def _restore(entry: Round, language: str) -> str:
    return (
        f'<p class="eh-row-actions"><button type="button" class="eh-button" data-action="restore"'
        f' data-round="{entry.number}" data-focus="restore">{say(language, "mediate.restore")}</button></p>'
    )


def _views_changed(session: Session, entry: Round, language: str) -> bool:
    try:
        present = dispute_of(session.form, language, entry.dispute.title)
    except InputError:
        return True
    return (present.view_a, present.view_b) != (entry.dispute.view_a, entry.dispute.view_b)
