"""ui/forms.py: from the fields of the page to a dispute and to what is asked of the writer."""

import pytest

from mediator.errors import InputError
from mediator.mediation import LONGEST_COMMENT, LONGEST_VIEW, MOST_AVOIDED
from mediator.schema import Candidate, Dispute, Scores, Strategy, View
from mediator.session import Edit, Form, Proposal, Round, SideForm, now
from ui.forms import dispute_of, form_of, options_of, view_text

EVEN = Scores(score_a=0.7, score_b=0.72, raw_a=0.5, raw_b=0.5)
QUIET = SideForm(text="The library must be quiet.", label="Readers")
PLAY = SideForm(form="parts", place="The library", suggestion="Let children talk there.", text="typed before")
FORM = Form(side_a=QUIET, side_b=PLAY, model="drafter", comment="No cameras")


def proposal(name, **changes):
    made = Candidate(text=f"Text {name}", strategy=Strategy.SINGLE, scores=EVEN)
    return Proposal(**({"id": name, "candidate": made, "rank": 1} | changes))


def entry(number, *proposals, dispute=None, comment=""):
    return Round(
        id=f"r{number}", number=number, dispute=dispute or dispute_of(FORM, "en"), model="drafter", strategy="single",
        count=4, rounds=1, seed=0, comment=comment, started_at=now(), proposals=proposals, state="done",
    )  # fmt: skip


def test_the_form_that_is_shown_counts_and_the_name_goes_along():
    dispute = dispute_of(FORM, "en")
    assert dispute.view_a == View(label="Readers", text="The library must be quiet.")
    assert dispute.view_b == View(place="The library", suggestion="Let children talk there.")


@pytest.mark.parametrize("side", ["a", "b"])
def test_an_empty_side_is_named_in_the_language_of_the_page(side):
    form = FORM.model_copy(update={f"side_{side}": SideForm(text=" \n")})
    with pytest.raises(InputError, match=f"View {side.upper()} is empty"):
        dispute_of(form, "en")
    with pytest.raises(InputError, match=f"Sicht {side.upper()} ist leer"):
        dispute_of(form, "de")


def test_text_in_the_other_form_is_pointed_out():
    form = FORM.model_copy(update={"side_a": SideForm(form="parts", text="typed here")})
    with pytest.raises(InputError, match="switch it to “In one text”"):
        dispute_of(form, "en")


def test_a_dispute_and_its_form_are_each_other_s_inverse():
    dispute = Dispute(
        view_a=View(label="A side", text="One"), view_b=View(place="P", demographics={"age": "34"}), summary="Both."
    )
    assert dispute_of(form_of(dispute, FORM), "en") == dispute
    assert form_of(dispute, FORM).model == "drafter"


def test_the_next_round_knows_what_was_kept_dropped_and_said():
    edited = proposal("e", edits=(Edit(text="Edited", scores=EVEN, made_at=now()),), rank=2)
    before = (
        entry(1, proposal("a"), proposal("pool", rank=None), proposal("b", mark="dropped"), comment="Cheap"),
        entry(2, edited, proposal("k", mark="kept", rank=None), comment="Soon"),
    )
    options = options_of(FORM, before, like="e")
    assert [candidate.text for candidate in options.earlier] == ["Text a", "Edited", "Text k"]
    assert options.avoid == ("Text b",)
    assert options.like == ("Edited",)
    assert options.comments == ("Cheap", "Soon", "No cameras")
    assert all(candidate.scores == EVEN for candidate in options.earlier)


def test_of_rounds_that_were_left_only_what_was_dropped_and_what_is_liked_goes_along():
    left = entry(2, proposal("x", mark="dropped"), proposal("y"), proposal("z", mark="kept"), comment="Given up")
    left = left.model_copy(update={"id": "left"})
    options = options_of(FORM, (entry(1, proposal("a")),), like="y", aside=(left,))
    assert [candidate.text for candidate in options.earlier] == ["Text a"]
    assert (options.avoid, options.like) == (("Text x",), ("Text y",))
    assert "Given up" not in options.comments


def test_scores_for_other_views_are_left_out():
    other = dispute_of(FORM, "en").model_copy(update={"view_a": View(text="Something else")})
    before = (entry(1, proposal("a"), dispute=other), entry(2, proposal("b")))
    assert [candidate.scores for candidate in options_of(FORM, before).earlier] == [None, EVEN]


def test_only_the_last_dropped_texts_go_along_each_once():
    dropped = [proposal(str(number), mark="dropped") for number in range(MOST_AVOIDED + 7)]
    options = options_of(FORM, (entry(1, dropped[0], *dropped),))
    assert options.avoid == tuple(f"Text {number}" for number in range(7, MOST_AVOIDED + 7))


def test_what_earlier_rounds_left_too_long_does_not_keep_the_next_from_beginning():
    made = Candidate(text="x" * (LONGEST_VIEW + 1), strategy=Strategy.SINGLE, scores=EVEN)
    options = options_of(FORM, (entry(1, proposal("1", candidate=made, mark="dropped"), comment="y" * 9_000),))
    assert options.avoid == ("x" * LONGEST_VIEW,)
    assert [len(comment) for comment in options.comments] == [LONGEST_COMMENT, len("No cameras")]


def test_a_form_in_parts_without_a_word_is_empty():
    assert view_text(SideForm(form="parts", text="unseen")) == ""
    assert view_text(SideForm(form="parts", place="Here", suggestion="Stay.")) == "Here Stay."
