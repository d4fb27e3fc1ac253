"""What the tests of the store keep in it: a form, a dispute, candidates, and a whole session with all that can be."""

from typing import Any

from mediator.kept_audit import AuditRun, KeptAudit
from mediator.schema import Candidate, Dispute, Scores, Strategy, View
from mediator.session import Form, Session, SideForm, now
from mediator.store import Store

FORM = Form(
    side_a=SideForm(label="Dog owners", text="Dogs need to run free in the park."),
    side_b=SideForm(form="parts", place="The park", reason="Children are afraid.", suggestion="A leash for every dog."),
    summary="Two neighbours share one park.",
    comment="no fences",
    count=3,
)
DISPUTE = Dispute(
    view_a=View(label="Dog owners", text="Dogs need to run free in the park."),
    view_b=View(place="The park", reason="Children are afraid.", suggestion="A leash for every dog."),
    title="Dogs in the park",
    summary="Two neighbours share one park.",
)


def scores(a: float = 0.7, b: float = 0.6) -> Scores:
    """Scores with these calibrated values."""
    return Scores(score_a=a, score_b=b, raw_a=a / 2, raw_b=b / 2)


def candidate(text: str, a: float = 0.7, b: float = 0.6, strategy: str = "single", number: int = 1) -> Candidate:
    """A scored candidate; ``number`` is the pass that wrote it."""
    return Candidate(text=text, strategy=Strategy(strategy), round=number, scores=scores(a, b))


def start(store: Store, session_id: str, comment: str = "", like: str | None = None) -> str:
    """Start a round and return its id."""
    return store.start_round(session_id, DISPUTE, "drafter", "cot-feedback", 3, 2, 7, comment, like).id


def an_audit(**changes: Any) -> KeptAudit:
    """A finished swap audit of what `start` asks for."""
    facts: dict[str, Any] = {
        "dispute": DISPUTE,
        "model": "drafter",
        "strategy": "cot-feedback",
        "count": 3,
        "rounds": 2,
        "seed": 7,
        "verdict": "differs",
        "scores_exchange": True,
        "tilt_original": 0.3,
        "tilt_swapped": -0.1,
        "position_bias": 0.2,
        "error_original": 0.05,
        "chance": 0.07,
        "original": AuditRun(selected=(candidate("Bella runs on the meadow.", 0.8, 0.5),)),
        "swapped": AuditRun(
            selected=(candidate("Bella runs by day.", 0.7, 0.6),), rest=(candidate("No dogs at all.", 0.9, 0.1),)
        ),
        "made_at": now(),
    }
    return KeptAudit(**facts | changes)


def filled(store: Store, title: str = "Dogs") -> Session:
    """Make a session with two rounds, edits, marks and ratings, and an audit of the first."""
    session = store.create(FORM, title)
    first = start(store, session.id)
    kept = store.add_proposal(first, candidate("A meadow for the dogs before nine.", 0.8, 0.7))
    other = store.add_proposal(first, candidate("Leashes near the playground only.", 0.6, 0.9))
    third = store.add_proposal(first, candidate("Both sides meet once a month.", 0.55, 0.6))
    store.finish_round(
        first, "done", {kept.id: 1, third.id: 2}, below_floor=1, sources={Strategy.SINGLE: 2}, timings={"total": 1.25}
    )
    store.mark(kept.id, "kept")
    store.mark(other.id, "dropped")
    store.add_edit(kept.id, "A meadow for the dogs before ten.", scores(0.75, 0.75))
    store.add_edit(kept.id, "A fenced meadow for the dogs before ten.", scores(0.7, 0.8))
    store.rate(kept.id, "a", 4, "good")
    store.rate(kept.id, "b", 2)
    store.rate(kept.id, "a", 5, "better")
    second = start(store, session.id, "cheaper", like=kept.id)
    again = store.add_proposal(second, candidate("Signs tell where dogs may run.", 0.7, 0.7))
    store.finish_round(second, "stopped", {again.id: 1}, stopped_early=True)
    store.add_audit(session.id, an_audit(), 1)
    return store.get(session.id)
