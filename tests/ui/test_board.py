"""ui/board.py: from the events of a mediation to the drafts and the words that the page shows."""

import pytest

from mediator.schema import Candidate, Dispute, Scores, Strategy, View
from mediator.session import Proposal, Round, now
from mediator.strategies import CandidateDone, CandidateProgress, RoundDone, RoundStarted
from ui.board import Board, outcome

FEEDBACK = Strategy.COT_FEEDBACK
EVEN = Scores(score_a=0.7, score_b=0.72, raw_a=0.5, raw_b=0.5)
DISPUTE = Dispute(view_a=View(text="Quiet, please."), view_b=View(text="Let them play."))


UNSURE = EVEN.model_copy(update={"tilt_low": -0.2, "tilt_high": 0.15})


def candidate(text, number=1, scores=EVEN):
    return Candidate(text=text, strategy=FEEDBACK, round=number, scores=scores)


def board_after(*events, several=False):
    board = Board(several=several)
    for event in events:
        board.apply(event)
    return board


def test_a_text_grows_and_its_bars_stay_until_measured_again():
    text = "Share the hall from three to six each"
    board = board_after(RoundStarted(FEEDBACK, 1, 3), CandidateProgress(FEEDBACK, 1, 0, "Share the hall", EVEN))
    assert board.drafts()[0].scores is None  # too little to know its language
    for event in (CandidateProgress(FEEDBACK, 1, 0, text, EVEN), CandidateProgress(FEEDBACK, 1, 0, f"{text} day")):
        board.apply(event)
    (draft,) = board.drafts()
    assert (draft.text, draft.scores, draft.done) == (f"{text} day", EVEN, False)
    assert "pass 1 of at most 3" in board.activity("en")
    assert "Durchgang 1 von höchstens 3" in board.activity("de")


def test_the_next_pass_begins_with_an_empty_board_and_remembers_how_many_are_finished():
    first = candidate("First idea")
    board = board_after(
        RoundStarted(FEEDBACK, 1, 2),
        CandidateDone(FEEDBACK, 1, 0, first),
        RoundDone(FEEDBACK, 1, (first,), 0, 0),
    )
    assert [draft.done for draft in board.drafts()] == [True]
    board.apply(RoundStarted(FEEDBACK, 2, 2))
    assert board.drafts() == []
    board.apply(CandidateProgress(FEEDBACK, 2, 0, "Second"))
    assert "1 finished" in board.activity("en")


def test_a_pass_begun_afresh_forgets_what_it_streamed():
    board = board_after(
        RoundStarted(FEEDBACK, 1, 1),
        CandidateDone(FEEDBACK, 1, 0, candidate("Void")),
        RoundStarted(FEEDBACK, 1, 1, again=True),
        CandidateProgress(FEEDBACK, 1, 0, "New"),
    )
    assert [draft.text for draft in board.drafts()] == ["New"]
    assert "0 finished" in board.activity("en")


@pytest.mark.parametrize("several", [True, False])
def test_the_strategy_at_work_is_named_only_when_there_are_several(several):
    board = board_after(RoundStarted(Strategy.COT, 1, 1), several=several)
    assert ("Find common ground first" in board.activity("en")) is several


def entry(finished, scores=EVEN, **changes):
    proposals = tuple(
        Proposal(id=str(number), candidate=candidate(f"Text {number}", scores=scores), rank=number)
        for number in range(1, finished + 1)
    )
    values = {
        "id": "r", "number": 1, "dispute": DISPUTE, "model": "drafter", "strategy": "single", "count": 4, "rounds": 1,
        "seed": 0, "state": "done", "started_at": now(), "proposals": proposals,
    }  # fmt: skip
    return Round(**(values | changes))


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (entry(2, count=2, timings={"total": 1.25}, stopped_early=True),
         "Done in 1.2 s. 2 proposals, best first. Further passes were not needed."),
        (entry(2, UNSURE, count=2, timings={"total": 1.25}),
         "Done in 1.2 s. 2 proposals. Their order is no ranking: they differ by less than the measure can tell."),
        (entry(2, UNSURE.unmeasured(), count=2, timings={"total": 1.25}), "Done in 1.2 s. 2 proposals."),
        (entry(1, timings={"total": 1.25}),
         "Done in 1.2 s. 1 proposal. 4 were asked for; the writer gave no more that differ."),
        (entry(1, state="stopped"), "Stopped. The one finished proposal is below."),
        (entry(0, state="stopped"), "Stopped before the first proposal was finished."),
        (entry(0, state="failed", problem="The server is away."), "The server is away."),
        (entry(1, state="interrupted"),
         "Evenhand ended in the midst of this round. The one proposal that was finished is here."),
    ],
)  # fmt: skip
def test_the_sentence_at_the_end_says_how_it_ended(made, sentence):
    assert outcome(made, "en") == sentence
    assert outcome(made, "de") != sentence or made.state == "failed"
