"""ui/drawing.py: what the page shows of a session, from its rounds."""

import pytest

from mediator.session import Form, SideForm
from mediator.store import Store
from tests.support.sessions import START, a_proposal, a_session
from tests.ui.test_forms import FORM, entry, proposal
from ui import drawing
from ui.board import Board
from ui.running import Running
from ui.strings import say


def session_of(*rounds, form=FORM):
    return a_session().model_copy(update={"rounds": rounds, "form": form})


def running(of):
    return Running("session", of, Board(), None)


def test_without_a_round_it_says_what_will_come_and_nothing_while_one_runs():
    assert "appear here" in drawing.board(None, 0, "en")
    assert "Hier erscheinen" in drawing.board(session_of(), 0, "de")
    first = entry(1).model_copy(update={"state": "running"})
    assert drawing.board(session_of(first), 0, "en", running(first)) == ""
    assert drawing.picture(session_of(), "en") == ""


def test_while_a_round_runs_the_one_before_stays():
    second = entry(2, proposal("new")).model_copy(update={"state": "running"})
    shown = drawing.board(session_of(entry(1, proposal("old")), second), 0, "en", running(second))
    assert "Text old" in shown
    assert "Text new" not in shown
    assert 'data-action="like"' in shown
    assert 'aria-disabled="true"' in shown


def test_while_a_round_runs_the_one_it_goes_on_from_is_shown_and_nobody_looks_back():
    third = entry(3).model_copy(update={"state": "running", "after": 1})
    session = session_of(entry(1, proposal("1")), entry(2, proposal("2")), third)
    shown = drawing.board(session, 0, "en", running(third))
    assert ("Text 1" in shown, "Text 2" in shown, "looking back" in shown) == (True, False, False)


def test_a_round_that_failed_says_why_and_hides_no_tag():
    failed = entry(1).model_copy(update={"state": "failed", "problem": "No <b>connection</b>."})
    shown = drawing.board(session_of(failed), 0, "en")
    assert "No &lt;b&gt;connection" in shown
    assert "<b>" not in shown
    known = entry(1).model_copy(update={"state": "failed", "problem": "M wrote no compromise at all. Ask again."})
    assert "Diese Runde ist misslungen: M hat gar keinen Kompromiss geschrieben." in drawing.board(
        session_of(known), 0, "de"
    )


def test_looking_back_is_said_and_offers_the_way_back():
    session = session_of(entry(1, proposal("1")), entry(2, proposal("2")))
    back, last = drawing.board(session, 1, "en"), drawing.board(session, 2, "en")
    assert 'data-action="restore" data-round="1"' in back
    assert "Text 1" in back
    assert 'data-action="restore"' not in last


@pytest.mark.parametrize("number", [0, 7, -1])
def test_a_round_that_is_not_there_stands_for_the_last_one(number):
    session = session_of(entry(1), entry(2))
    assert drawing.shown_round(session, number).number == 2


def test_changed_views_are_said_and_a_new_name_of_a_side_is_a_change_too():
    session = session_of(entry(1, proposal("1")))
    assert "views were changed" not in drawing.board(session, 0, "en")
    for side in (SideForm(text="Something else."), SideForm(text="")):
        changed = session.model_copy(update={"form": FORM.model_copy(update={"side_a": side})})
        assert "views were changed" in drawing.board(changed, 0, "en")


def test_a_hundred_rounds_are_drawn_whole():
    rounds = tuple(
        entry(
            number, *(a_proposal(number * 1000 + place, f"Text {place}", (0.6, 0.7), place) for place in range(1, 17))
        )
        for number in range(1, 101)
    )
    session = session_of(*rounds)
    picture = drawing.picture(session, "en")
    assert picture.count('class="eh-point"') > 1600


@pytest.mark.parametrize(("language", "words"), [("en", "made from English texts"), ("de", "an englischen Texten")])
def test_bars_that_say_nothing_are_said_to_and_are_no_points_of_the_picture(language, words):
    def of(session):
        return drawing.board(session, 0, language), drawing.picture(session, language)

    one = proposal("1")
    scores = one.candidate.scores.unmeasured()
    foreign = one.model_copy(update={"candidate": one.candidate.model_copy(update={"scores": scores})})
    board, picture = of(session_of(entry(1, foreign)))
    assert words in board
    assert "eh-point" not in picture
    others = entry(1, foreign, proposal("2", rank=2)).model_copy(update={"below_floor": 1})
    board, picture = of(session_of(others))
    assert words in board
    assert say(language, "mediate.some_far", count=1) in board
    board, picture = of(session_of(entry(1, one)))
    assert words not in board
    assert "eh-point" in picture


def test_ready_made_measures_are_said_to_be_such_and_what_a_model_wrote_is_not():
    assert "ready-made measures" in drawing.board(session_of(entry(1, proposal("1"))), 0, "en")
    written = entry(1, proposal("1")).model_copy(update={"model": "claude"})
    assert "ready-made measures" not in drawing.board(session_of(written), 0, "en")


def test_the_points_are_named_by_round_and_place():
    picture = drawing.picture(session_of(entry(3, proposal("1"), proposal("2", rank=None))), "en")
    assert "Round 3, proposal 1" in picture
    assert picture.count("Text 2") > 0


def test_names_of_sides_are_those_typed_now():
    store = Store(None)
    session = store.create(Form(side_a=SideForm(label="Mrs <Lee>", text="x"), side_b=SideForm(text="y")))
    store.close()
    assert drawing.side_names(session.form, "en").of("a") == "Mrs <Lee>"
    assert session.created_at > START
