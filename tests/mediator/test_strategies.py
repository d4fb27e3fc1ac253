"""Which briefs the strategies send, what their events say, and when `cot-feedback` ends."""

import pytest
from support.scripted import ScriptedWriter, TableScorer, whole

from mediator.cancellation import Cancellation, Cancelled
from mediator.schema import Candidate, Dispute, Strategy, View
from mediator.strategies import (
    CandidateDone,
    CandidateProgress,
    Plan,
    RoundDone,
    RoundStarted,
    Scorer,
    StrategyEvent,
    Throttle,
    run,
    strategies_of,
)
from mediator.writers.base import Delta, UnusableOutput

DOGS = Dispute(view_a=View(text="Dogs need to run."), view_b=View(text="Dogs must be on a leash."))


def events(
    writer: ScriptedWriter, scorer: Scorer, strategy: Strategy = Strategy.COT_FEEDBACK, plan: Plan | None = None
) -> list[StrategyEvent]:
    return list(run(strategy, DOGS, writer, scorer, plan or Plan(count=1), Cancellation()))


def rounds(found: list[StrategyEvent]) -> list[RoundDone]:
    return [event for event in found if isinstance(event, RoundDone)]


def test_all_is_the_four_in_turn() -> None:
    assert strategies_of("all") == tuple(Strategy)
    assert strategies_of("cot") == (Strategy.COT,)


def test_the_events_of_one_round() -> None:
    writer = ScriptedWriter(
        [
            Delta(0, "Open "),
            Delta(0, "early."),
            Delta(1, "Close"),
            Delta(0, "", done=True),
            Delta(1, " late.", done=True),
        ]
    )
    scorer = TableScorer(**{"Open early.": (0.7, 0.6), "Close late.": (0.8, 0.3), "Open": (0.5, 0.4)})
    found = events(writer, scorer, Strategy.COT, Plan(count=2, seed=7, comments=("cheap",)))
    started, *progress, done_0, done_1, end = found
    assert started == RoundStarted(Strategy.COT, 1, 1)
    assert all(isinstance(event, CandidateProgress) for event in progress)
    assert [(event.index, event.text) for event in progress if isinstance(event, CandidateProgress)] == [
        (0, "Open"),
        (0, "Open early."),
        (1, "Close"),
    ]
    first = progress[0]
    assert isinstance(first, CandidateProgress)
    assert first.scores is not None, "the first piece is scored at once"
    assert (first.scores.score_a, first.scores.score_b) == (0.5, 0.4)
    assert isinstance(done_0, CandidateDone)
    assert isinstance(done_1, CandidateDone)
    assert (done_0.index, done_0.candidate.text, done_0.candidate.round) == (0, "Open early.", 1)
    assert done_1.candidate.scores is not None
    assert done_1.candidate.scores.gap == pytest.approx(0.5)
    assert isinstance(end, RoundDone)
    assert end.candidates == (done_0.candidate, done_1.candidate)
    assert end.best_warmth == pytest.approx(0.6)
    assert end.best_gap == pytest.approx(0.1)
    (brief,) = writer.briefs
    assert (brief.strategy, brief.count, brief.seed, brief.comments) == (Strategy.COT, 2, 7, ("cheap",))


def test_feedback_sends_every_earlier_candidate_with_its_scores() -> None:
    writer = ScriptedWriter(whole("one"), whole("two"), whole("three"))
    scorer = TableScorer(one=(0.5, 0.1), two=(0.5, 0.3), three=(0.5, 0.4))
    found = events(writer, scorer, plan=Plan(count=1, rounds=3, seed=10, comments=("no fees",)))
    assert [[each.text for each in brief.earlier] for brief in writer.briefs] == [[], ["one"], ["one", "two"]]
    assert all(each.scores is not None for brief in writer.briefs for each in brief.earlier)
    assert [brief.seed for brief in writer.briefs] == [10, 11, 12]
    assert {brief.comments for brief in writer.briefs} == {("no fees",)}
    assert [(done.round, done.best_warmth) for done in rounds(found)] == [(1, 0.1), (2, 0.3), (3, 0.4)]
    assert not any(done.stopped_early for done in rounds(found))


def test_feedback_keeps_the_best_when_a_round_is_worse() -> None:
    writer = ScriptedWriter(whole("good"), whole("bad"), whole("never"))
    found = events(writer, TableScorer(good=(0.7, 0.6), bad=(0.9, 0.1)), plan=Plan(count=1, rounds=3))
    assert rounds(found)[-1].best_gap == pytest.approx(0.1)
    assert rounds(found)[-1].best_warmth == pytest.approx(0.6)
    assert rounds(found)[-1].round == 2
    assert rounds(found)[-1].stopped_early, "neither gap nor warmth got better"


def test_feedback_stops_when_enough_are_good() -> None:
    writer = ScriptedWriter(whole("first text", "second idea"), whole("never"))
    scorer = TableScorer(**{"first text": (0.9, 0.9), "second idea": (0.85, 0.86)})
    (done,) = rounds(events(writer, scorer, plan=Plan(count=2, rounds=3)))
    assert done.stopped_early
    cold = TableScorer(**{"first text": (0.2, 0.2), "second idea": (0.2, 0.2)})
    writer = ScriptedWriter(whole("first text", "second idea"), whole("first text"))
    assert len(rounds(events(writer, cold, plan=Plan(count=2, rounds=2)))) == 2, "even but far from both is not good"


@pytest.mark.parametrize("table", [{}, {"eins": (0.9, 0.9), "zwei": (0.9, 0.9), "drei": (0.9, 0.9)}])
def test_feedback_does_not_stop_by_scores_that_say_nothing(table: dict[str, tuple[float, float]]) -> None:
    writer = ScriptedWriter(whole("eins"), whole("zwei"), whole("drei"))
    scorer = TableScorer(**table)
    scorer.unmeasured = {"eins", "zwei", "drei"}
    found = rounds(events(writer, scorer, plan=Plan(count=1, rounds=3)))
    assert [done.stopped_early for done in found] == [False] * 3


def test_feedback_compares_measured_scores_only() -> None:
    writer = ScriptedWriter(whole("gut"), whole("one"), whole("two"))
    scorer = TableScorer(gut=(0.95, 0.95), one=(0.5, 0.3), two=(0.6, 0.5))
    scorer.unmeasured = {"gut"}
    found = rounds(events(writer, scorer, plan=Plan(count=1, rounds=3)))
    assert [(done.best_gap, done.best_warmth) for done in found[1:]] == [
        (pytest.approx(0.2), 0.3),
        (pytest.approx(0.1), 0.5),
    ]


def test_feedback_goes_on_while_warmth_grows() -> None:
    writer = ScriptedWriter(*(whole(text) for text in ("a", "b", "c", "d")))
    scorer = TableScorer(a=(0.2, 0.2), b=(0.3, 0.3), c=(0.4, 0.4), d=(0.5, 0.5))
    assert len(rounds(events(writer, scorer, plan=Plan(count=1, rounds=4)))) == 4


@pytest.mark.parametrize("strategy", [Strategy.SINGLE, Strategy.COT, Strategy.COT_SELF_SCORE])
def test_the_others_have_one_round(strategy: Strategy) -> None:
    writer = ScriptedWriter(whole("one"))
    assert len(rounds(events(writer, TableScorer(), strategy, Plan(count=1, rounds=5)))) == 1


def test_earlier_candidates_of_the_caller_are_scored_and_sent() -> None:
    before = Candidate(text="before", strategy=Strategy.COT)
    writer = ScriptedWriter(whole("one"))
    found = events(writer, TableScorer(before=(0.6, 0.4)), plan=Plan(count=1, rounds=1, earlier=(before,)))
    (sent,) = writer.briefs[0].earlier
    assert sent.scores is not None
    assert sent.scores.score_a == 0.6
    assert [each.text for each in rounds(found)[0].candidates] == ["one"], "they are not candidates of this run"


def test_a_restart_voids_what_came() -> None:
    writer = ScriptedWriter([*whole("draft"), Delta(1, "mo"), Delta(0, "", restart=True), *whole("final")])
    found = events(writer, TableScorer(), Strategy.COT)
    assert RoundStarted(Strategy.COT, 1, 1, again=True) in found
    assert [each.text for each in rounds(found)[0].candidates] == ["final"]


def test_what_a_writer_leaves_open_is_finished() -> None:
    (done,) = rounds(events(ScriptedWriter([Delta(0, " Open "), Delta(1, "  ")]), TableScorer(), Strategy.COT))
    assert [each.text for each in done.candidates] == ["Open"]


def test_a_first_round_without_candidates_is_an_error() -> None:
    with pytest.raises(UnusableOutput, match="scripted wrote no compromise"):
        events(ScriptedWriter([]), TableScorer(), Strategy.SINGLE)
    writer = ScriptedWriter(whole("one"), [])
    assert rounds(events(writer, TableScorer(), plan=Plan(count=1, rounds=3)))[-1].candidates == ()


def test_cancel_ends_the_run_after_what_is_finished() -> None:
    cancel = Cancellation()
    writer = ScriptedWriter(whole("one", "two", "three"))
    seen: list[StrategyEvent] = []
    stream = run(Strategy.COT, DOGS, writer, TableScorer(), Plan(), cancel)
    while not any(isinstance(event, CandidateDone) for event in seen):
        seen.append(next(stream))
    cancel.cancel()
    with pytest.raises(Cancelled):
        next(stream)
    assert len([event for event in seen if isinstance(event, CandidateDone)]) == 1


def test_walking_away_closes_the_writers_stream() -> None:
    closed: list[bool] = []

    class Watched(ScriptedWriter):
        def write(self, brief, cancel):  # type: ignore[no-untyped-def]
            try:
                yield from super().write(brief, cancel)
            finally:
                closed.append(True)

    stream = run(Strategy.COT, DOGS, Watched(whole("one", "two")), TableScorer(), Plan(), Cancellation())
    next(stream)
    next(stream)
    stream.close()
    assert closed == [True]


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_throttle_lets_through_twelve_in_a_second_and_not_more() -> None:
    clock = Clock()
    throttle = Throttle(1 / 12, clock)
    let_through = 0
    for _ in range(1000):  # a piece each millisecond for one second
        let_through += throttle.ready()
        clock.now += 0.001
    assert 11 <= let_through <= 12


def test_the_throttle_rests_as_long_as_the_work_took() -> None:
    clock = Clock()
    throttle = Throttle(1 / 12, clock)
    assert throttle.ready()
    clock.now += 0.5
    throttle.rest()
    assert not throttle.ready()
    clock.now += 0.49
    assert not throttle.ready()
    clock.now += 0.02
    assert throttle.ready()
