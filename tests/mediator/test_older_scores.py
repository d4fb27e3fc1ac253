"""Tests of mediator/older_scores.py: sessions from before scores were marked are read as if they had been."""

import json

import pytest
from support.stored import FORM, candidate, scores

from mediator.older_scores import judged
from mediator.schema import Dispute, Scores, View
from mediator.session import Proposal, Round, Session, now
from mediator.session_file import as_json, from_json
from mediator.store import Store

SLEEP, GRILL = View(text="I want to sleep at night."), View(text="We want to grill at weekends.")
RUHE = View(text="Ich will nachts schlafen und keinen Rauch in der Wohnung.")
ENGLISH, GERMAN = "Grills go out at nine.", "Um neun Uhr werden alle Grills gelöscht."
BEFORE = scores(0.3, 0.6).model_copy(update={"tilt_low": -0.5, "tilt_high": 0.1, "score_error_a": 0.1})


def filled(store: Store, view_a: View, texts: tuple[str, ...]) -> str:
    """Keep a round as it was kept before any scores were marked; return the id of its session."""
    session = store.create(FORM)
    entry = store.start_round(session.id, Dispute(view_a=view_a, view_b=GRILL), "drafter", "single", 4, 1, 0, "", None)
    ranks = {}
    for rank, text in enumerate(texts, start=1):
        kept = store.add_proposal(entry.id, candidate(text).model_copy(update={"scores": BEFORE}))
        store.add_edit(kept.id, f"{text} Truly.", BEFORE)
        ranks[kept.id] = rank
    store.finish_round(entry.id, "done", ranks)
    return session.id


def shown(session: Session) -> list[tuple[bool, bool]]:
    """Whether the scores of each proposal and of its edit are measured."""
    return [
        (proposal.candidate.scores.measured, proposal.edits[0].scores.measured)
        for entry in session.rounds
        for proposal in entry.proposals
        if proposal.candidate.scores is not None
    ]


@pytest.mark.parametrize(
    ("view_a", "measured"), [(SLEEP, [(True, True), (False, False)]), (RUHE, [(False, False), (False, False)])]
)
def test_scores_of_another_language_are_marked_wherever_a_session_is_read(view_a, measured):
    store = Store(None)
    session = store.get(filled(store, view_a, (ENGLISH, GERMAN)))
    assert shown(session) == measured
    for proposal in session.rounds[0].proposals:
        assert store.rate(proposal.id, "a", 3).current.scores == proposal.current.scores
    written = json.loads(as_json(session))
    for proposal in written["rounds"][0]["proposals"]:
        for part in (proposal["candidate"], *proposal["edits"]):
            part["scores"] = BEFORE.model_dump(mode="json", round_trip=True)
    assert shown(from_json(json.dumps(written), "a file")) == measured
    store.close()


def a_round(*texts: tuple[str, Scores], below_floor: int) -> Round:
    proposals = tuple(
        Proposal(id=str(rank), candidate=candidate(text).model_copy(update={"scores": of}), rank=rank)
        for rank, (text, of) in enumerate(texts, start=1)
    )
    return Round(
        id="r", number=1, dispute=Dispute(view_a=SLEEP, view_b=GRILL), model="drafter", strategy="single", count=2,
        rounds=1, seed=0, below_floor=below_floor, stopped_early=True, started_at=now(), proposals=proposals,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("texts", "below_floor"),
    [
        ((GERMAN, GERMAN, GERMAN), 0),
        ((ENGLISH, GERMAN, GERMAN), 0),
        ((GERMAN, GERMAN, ENGLISH), 1),
        ((GERMAN, ENGLISH, ENGLISH), 2),
    ],
)
def test_what_says_nothing_is_not_counted_as_far(texts, below_floor):
    read = judged(a_round(*((text, BEFORE) for text in texts), below_floor=3))
    assert (read.below_floor, read.stopped_early) == (below_floor, ENGLISH in texts)


def test_a_round_that_needs_no_change_comes_back_itself():
    english = a_round((ENGLISH, BEFORE), below_floor=1)
    assert judged(english) is english
    marked = a_round((GERMAN, BEFORE.unmeasured()), below_floor=1)
    assert judged(marked) is marked
