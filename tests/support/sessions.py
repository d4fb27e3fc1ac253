"""Sessions for the tests: one as a mediator leaves it, and any that the shapes allow."""

from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from mediator.kept_audit import AuditRun, KeptAudit
from mediator.report_parts import Parts
from mediator.schema import Candidate, Dispute, Scores, Strategy, View
from mediator.session import Edit, Form, Proposal, Rating, Round, Session, SideForm

EVERYTHING = Parts(ratings=True, history=True, audit=True, others=True)
"""All that a page can say."""

START = datetime(2026, 8, 1, 9, 30, tzinfo=UTC)

TEXTS = (
    "The sink is emptied by ten in the evening on weekdays; whoever cooked a big meal may leave the pots until noon on "
    "Saturday and Sunday. A sheet by the door lists who has the stove this week, and no fine is paid by anybody.",
    "Each shelf in the refrigerator gets one name and one shelf is for all. The long table stays free for shared "
    "meals on three evenings a week, which are announced the day before.",
    "For two months nobody keeps a rota. Anna Berger and the evening cooks meet on the first Monday and look at what "
    "worked; if the stove was left dirty more than twice, they agree on a rota together.",
    "A cleaner comes once a week, paid by all nine in equal parts.",
)


def scores(score_a: float, score_b: float) -> Scores:
    return Scores(score_a=score_a, score_b=score_b, raw_a=0.41, raw_b=0.38)


def a_view(side: str) -> View:
    if side == "a":
        return View(
            label="Anna Berger",
            place="The kitchen that the nine of us share on the third floor of Carver House.",
            reason="I work early shifts at a bakery and get home hungry at noon, to find the sink full.",
            suggestion="There should be a fixed cleaning rota with names on it.",
            demographics={"age": "41", "profession": "baker, colleague of Anna's sister"},
        )
    return View(
        label="The evening cooks",
        text="It was the evenings at that table that made it home.\n\nKeep it relaxed and trust people, Anna too.",
    )


def a_proposal(number: int, text: str, pair: tuple[float, float], rank: int | None, **more: object) -> Proposal:
    candidate = Candidate(text=text, strategy=Strategy.COT_FEEDBACK, scores=scores(*pair))
    return Proposal(id=f"{number:032x}", candidate=candidate, rank=rank, **more)  # type: ignore[arg-type]


def a_session(title: str = "The shared kitchen in Carver House", keep: bool = True) -> Session:
    """Two rounds: two proposals kept, one of them edited and rated, one dropped, one other, one not selected."""
    dispute = Dispute(view_a=a_view("a"), view_b=a_view("b"), title=title, summary="Nine people share one kitchen.")
    before = dispute.model_copy(update={"view_b": View(label="The evening cooks", text="We like long evenings.")})
    kept = "kept" if keep else ""
    edit = Edit(text=TEXTS[0].replace("ten", "eleven"), scores=scores(0.82, 0.79), made_at=START + timedelta(hours=1))
    ratings = (
        Rating(rater="a", value=4, note="If it is kept up.", made_at=START),
        Rating(rater="b", value=3, made_at=START),
        Rating(rater="Ms Caretaker", value=5, note="Simple.", made_at=START),
    )
    first = Round(
        id="a" * 32, number=1, dispute=before, model="drafter", strategy="cot-feedback", count=2, rounds=2, seed=0,
        state="done", started_at=START, finished_at=START, timings={"total": 1.5}, sources={Strategy.COT_FEEDBACK: 2},
        proposals=(
            a_proposal(1, TEXTS[3], (0.55, 0.31), 2, mark="dropped" if keep else ""),
            a_proposal(2, TEXTS[1], (0.74, 0.71), 1, mark=kept),
            a_proposal(3, "Nobody cooks.", (0.2, 0.1), None),
        ),
    )  # fmt: skip
    second = Round(
        id="b" * 32, number=2, dispute=dispute, model="openai:qwen3@https://models.example.org/v1", like=f"{2:032x}",
        strategy="cot-feedback", count=2, rounds=2, seed=0, comment="No fines. Ask Anna first.", state="stopped",
        started_at=START + timedelta(minutes=20), finished_at=START + timedelta(minutes=21),
        proposals=(
            a_proposal(4, TEXTS[0], (0.83, 0.6), 1, mark=kept, edits=(edit,), ratings=ratings),
            a_proposal(5, TEXTS[2], (0.62, 0.64), 2),
        ),
    )  # fmt: skip
    form = Form(
        side_a=SideForm(**{"form": "parts", **a_view("a").model_dump(exclude={"text"})}),
        side_b=SideForm(label="The evening cooks", text=a_view("b").text),
        summary=dispute.summary,
        model="drafter",
    )
    return Session(
        id="c" * 32, title=title, form=form, rounds=(first, second), created_at=START,
        updated_at=START + timedelta(hours=2),
    )  # fmt: skip


def an_audit(session: Session, number: int = 1, **changes: object) -> KeptAudit:
    """A swap audit of a round of a session; it speaks of Anna."""
    entry = session.rounds[number - 1]
    facts: dict[str, object] = {
        "round_id": entry.id, "dispute": entry.dispute, "model": entry.model, "strategy": entry.strategy,
        "count": entry.count, "rounds": entry.rounds, "seed": entry.seed, "comment": "Ask Anna.",
        "verdict": "differs", "scores_exchange": True, "tilt_original": 0.25, "tilt_swapped": -0.15,
        "position_bias": 0.2, "chance": 0.08, "made_at": START,
        "original": AuditRun(selected=(a_proposal(8, "Anna cooks on Mondays.", (0.7, 0.45), 1).candidate,)),
        "swapped": AuditRun(selected=(a_proposal(9, "Anna cooks.", (0.6, 0.45), 1).candidate,)),
    }  # fmt: skip
    return KeptAudit(**facts | changes)  # type: ignore[arg-type]


def sessions(text: st.SearchStrategy[str]) -> st.SearchStrategy[Session]:
    """Any session; every text that a person or a model writes is drawn from ``text``."""
    filled = text.map(lambda drawn: drawn.strip() or "x")
    short = filled.map(lambda drawn: drawn[:60].strip() or "x")
    times = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))
    share = st.floats(0, 1)
    lean = st.floats(-1, 1)
    known = {"score_error_a": share, "score_error_b": share, "tilt_low": lean, "tilt_high": lean}
    measured = st.builds(Scores, score_a=share, score_b=share, raw_a=lean, raw_b=lean, **known) | st.builds(
        Scores, score_a=share, score_b=share, raw_a=lean, raw_b=lean
    )
    about = st.dictionaries(filled, filled, max_size=2)
    free = st.builds(View, label=short, text=filled, demographics=about)
    parts = st.builds(View, place=filled, reason=filled, suggestion=filled)
    views = free | parts
    disputes = st.builds(Dispute, view_a=views, view_b=views, title=filled, summary=text)
    candidates = st.builds(
        Candidate, text=filled, strategy=st.sampled_from(Strategy), round=st.integers(1, 5), scores=st.none() | measured
    )
    raters = st.sampled_from(["a", "b"]) | short
    ratings = st.builds(Rating, rater=raters, value=st.integers(1, 5), note=text, made_at=times)
    ids = st.uuids().map(lambda drawn: drawn.hex)
    scored = st.builds(Candidate, text=filled, strategy=st.sampled_from(Strategy), scores=measured)
    some = st.lists(scored, min_size=1, max_size=2).map(tuple)
    runs = st.builds(AuditRun, selected=some, rest=st.just(()) | some)
    audits = st.builds(
        KeptAudit,
        round_id=st.none(),
        dispute=disputes,
        model=filled,
        strategy=st.sampled_from(["single", "all"]),
        comment=text,
        verdict=st.sampled_from(["identical", "same_scores", "differs"]),
        tilt_original=lean,
        tilt_swapped=lean,
        position_bias=lean,
        error_original=st.none() | share,
        error_swapped=st.none() | share,
        chance=st.none() | share,
        original=runs,
        swapped=runs,
        made_at=times,
    )
    proposals = st.builds(
        Proposal,
        id=ids,
        candidate=candidates,
        rank=st.none() | st.integers(1, 9),
        mark=st.sampled_from(["", "kept", "dropped"]),
        edits=st.lists(st.builds(Edit, text=filled, scores=measured, made_at=times), max_size=2).map(tuple),
        ratings=st.lists(ratings, max_size=2, unique_by=lambda rating: rating.rater).map(tuple),
    )
    rounds = st.builds(
        Round,
        id=ids,
        number=st.integers(1, 99),
        dispute=disputes,
        model=st.sampled_from(["drafter", "claude", "gguf:/home/somebody/model.gguf"]) | filled,
        strategy=st.sampled_from(["single", "all"]),
        count=st.integers(1, 9),
        rounds=st.integers(1, 9),
        seed=st.integers(0, 2**31),
        comment=text,
        like=st.none() | ids,
        state=st.sampled_from(["done", "stopped", "failed", "interrupted"]),
        problem=text,
        sources=st.dictionaries(st.sampled_from(Strategy), st.integers(0, 9), max_size=2),
        timings=st.dictionaries(filled, st.floats(0, 1e6), max_size=2),
        started_at=times,
        finished_at=st.none() | times,
        proposals=st.lists(proposals, max_size=2, unique_by=lambda proposal: proposal.id).map(tuple),
    )
    sides = st.builds(
        SideForm, label=short, form=st.sampled_from(["text", "parts"]), text=text, place=text, reason=text,
        suggestion=text, demographics=about,
    )  # fmt: skip
    forms = st.builds(Form, side_a=sides, side_b=sides, summary=text, comment=text, model=text)
    return st.builds(
        Session, id=ids, title=short, form=forms, rounds=st.lists(rounds, max_size=2).map(tuple),
        audits=st.lists(audits, max_size=1).map(tuple), created_at=times, updated_at=times, private=st.booleans(),
    )  # fmt: skip
