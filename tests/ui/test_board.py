"""ui/board.py: from the events of a mediation to what the page shows."""

import pytest

from mediator.mediation import MediationDone
from mediator.schema import Candidate, Scores, Strategy
from mediator.strategies import CandidateDone, CandidateProgress, RoundDone, RoundStarted
from ui.board import Board

FEEDBACK = Strategy.COT_FEEDBACK
EVEN = Scores(score_a=0.7, score_b=0.72, raw_a=0.5, raw_b=0.5)
COLD = Scores(score_a=0.2, score_b=0.1, raw_a=0.1, raw_b=0.1)


def candidate(text, round_number=1, scores=EVEN, strategy=FEEDBACK):
    return Candidate(text=text, strategy=strategy, round=round_number, scores=scores)


def done(selected, pool, **more):
    return MediationDone(
        tuple(selected), tuple(pool), more.pop("sources", {FEEDBACK: len(selected)}), {"total": 1.25}, **more
    )


def board_after(*events, several=False):
    board = Board(several=several)
    for event in events:
        board.apply(event)
    return board


def test_a_text_grows_and_its_bars_stay_until_measured_again():
    board = board_after(
        RoundStarted(FEEDBACK, 1, 3),
        CandidateProgress(FEEDBACK, 1, 0, "Share", EVEN),
        CandidateProgress(FEEDBACK, 1, 0, "Share the hall"),
    )
    assert "Share the hall" in board.cards()
    assert 'aria-valuenow="70"' in board.cards()
    assert 'data-state="writing"' in board.cards()
    assert "round 1 of at most 3" in board.activity()


def test_the_next_round_folds_the_last_one_away():
    first = candidate("First idea")
    events = [
        RoundStarted(FEEDBACK, 1, 2),
        CandidateDone(FEEDBACK, 1, 0, first),
        RoundDone(FEEDBACK, 1, (first,), 0, 0),
    ]
    board = board_after(*events)
    assert "First idea" in board.cards()
    board.apply(RoundStarted(FEEDBACK, 2, 2))
    assert "First idea" not in board.cards()
    assert "First idea" in board.others()


def test_a_round_begun_afresh_forgets_what_it_streamed():
    board = board_after(
        RoundStarted(FEEDBACK, 1, 1),
        CandidateDone(FEEDBACK, 1, 0, candidate("Void")),
        RoundStarted(FEEDBACK, 1, 1, again=True),
    )
    assert "Void" not in board.cards() + board.others()


def test_at_the_end_the_selected_come_first_and_the_rest_is_folded():
    good, better, other = candidate("Good"), candidate("Better"), candidate("Other")
    board = board_after(done([better, good], [good, better, other], stopped_early=True))
    shown = board.cards()
    assert shown.index("Better") < shown.index("Good")
    assert shown.index("Option 1") < shown.index("Better") < shown.index("Option 2")
    assert "Other" not in shown
    assert "Other" in board.others()
    assert board.outcome() == "Done in 1.2 s. 2 proposals, best first. Further rounds were not needed."


def test_what_is_cold_is_said():
    cold = candidate("Cold", scores=COLD)
    assert "The last proposal is far from at least one side." in board_after(
        done([candidate("Warm"), cold], [cold], below_floor=1)
    ).cards()  # fmt: skip
    assert "This proposal is far" in board_after(done([cold], [cold], below_floor=1)).cards()
    assert "far from at least" not in board_after(done([candidate("Warm")], [])).cards()


def test_a_stop_says_what_was_kept():
    kept = candidate("Kept")
    assert board_after(done([kept], [kept], cancelled=True)).outcome() == "Stopped. The one finished proposal is below."
    assert board_after(done([], [], cancelled=True)).outcome() == "Stopped before the first proposal was finished."


def test_a_problem_on_the_way_is_shown_as_text():
    kept = candidate("Kept")
    shown = board_after(done([kept], [kept], problem="The server <b>broke</b> off.")).cards()
    assert "The server &lt;b&gt;broke&lt;/b&gt; off." in shown
    assert "Kept" in shown


def test_with_all_strategies_the_sources_are_named():
    kept = candidate("Kept", strategy=Strategy.SINGLE)
    sources = {strategy: int(strategy is Strategy.SINGLE) for strategy in Strategy}
    assert "Ask once: 1; Find common ground first: 0" in board_after(
        done([kept], [kept], sources=sources), several=True
    ).cards()  # fmt: skip


@pytest.mark.parametrize("several", [True, False])
def test_the_strategy_at_work_is_named_only_when_there_are_several(several):
    board = board_after(RoundStarted(Strategy.COT, 1, 1), several=several)
    assert ("Find common ground first" in board.activity()) is several
