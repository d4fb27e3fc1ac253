"""ui/trail.py: every round can be returned to, and says what led to it and how it ended."""

import pytest
from hypothesis import given, settings
from support.html import Reader, anything, stays_text

from mediator.schema import Candidate, Dispute, Strategy, View
from mediator.session import Proposal, Round, now
from ui.trail import trail

DISPUTE = Dispute(view_a=View(text="Quiet, please."), view_b=View(text="Let them play."))


def proposal(identity, rank=None):
    return Proposal(id=identity, candidate=Candidate(text="Share.", strategy=Strategy.SINGLE), rank=rank)


def a_round(number, proposals=(), state="done", **more):
    asked = {"dispute": DISPUTE, "model": "drafter", "strategy": "single", "count": 4, "rounds": 1, "seed": 0}
    return Round(
        id=f"r{number}", number=number, state=state, started_at=now(), proposals=tuple(proposals), **asked, **more
    )


@settings(deadline=None, max_examples=60)
@given(text=anything)
def test_a_comment_stays_text(text):
    assert stays_text(lambda comment: trail([a_round(1, comment=comment + "x")], 1, "en", False), text)


def test_every_round_is_a_button_and_the_shown_one_is_said():
    rounds = [a_round(1, [proposal("p1", 1), proposal("p2", 2), proposal("p3")]), a_round(2, [proposal("p4", 1)])]
    read = Reader(trail(rounds, 1, "en", False))
    buttons = read.all("button")
    assert [(button["data-action"], button["data-round"]) for button in buttons] == [("show", "1"), ("show", "2")]
    assert [button.get("aria-current") for button in buttons] == ["step", None]
    assert "2 proposals" in read.texts
    assert "1 proposal" in read.texts


def test_a_round_says_what_led_to_it():
    first = a_round(1, [proposal("p1", 1), proposal("p2", 2)])
    like, gone = a_round(2, like="p2", comment="less\nenforcement"), a_round(3, like="deleted")
    read = Reader(trail([first, like, gone], 3, "en", False))
    assert "like Round 1, proposal 2, “less enforcement”" in read.texts
    assert "like an earlier proposal" in read.texts
    aside = a_round(4, after=1, comment="cheaper")
    assert "from round 1, “cheaper”" in Reader(trail([first, like, gone, aside], 4, "en", False)).texts
    long = Reader(trail([a_round(1, comment="word " * 60)], 1, "en", False))
    assert max(map(len, long.texts)) <= 48
    assert len(long.one("button")["title"]) > 200


@pytest.mark.parametrize(
    ("state", "said"),
    [("running", "being written"), ("stopped", "stopped"), ("failed", "failed"), ("interrupted", "interrupted")],
)
def test_a_round_says_how_it_ended(state, said):
    read = Reader(trail([a_round(1, state=state)], 1, "en", state == "running"))
    assert said in read.texts
    assert ("aria-busy" in read.one("nav")) == (state == "running")
    assert said not in Reader(trail([a_round(1)], 1, "en", False)).texts


def test_there_is_no_trail_before_the_first_round():
    assert trail([], 0, "en", False) == ""
