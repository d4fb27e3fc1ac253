"""The wording of proposals: whole sentences from measures and concerns, whatever the views say."""

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediator.drafting.composing import Plan, Step, compose, people, processes, reference, sentences_of, side
from mediator.drafting.measures import EACH_PLACE, PUBLIC, Measure, Mechanism, library, slots_for
from mediator.drafting.reading import Concern, ConcernKind

LIBRARY = slots_for("library", "library")
LAMPS = Measure(
    "lamps", "two lamps will be put up at {place}", Mechanism.DESIGN, ("lighting",), (), frozenset({"any"}), 0.6
)
HOURS = Measure(
    "hours", "{users} may talk in the afternoons", Mechanism.ZONING_TIME, ("noise",), (), frozenset({"any"}), 0.0
)
ROTA = Measure("rota", "{operator} will keep a rota", Mechanism.STEWARDSHIP, ("fairness",), (), frozenset({"any"}), 0.0)
LAW = Measure("law", "the law will lapse after a time", Mechanism.TRIAL, ("rules",), (), frozenset({"policy"}), 0.0)
LIGHT = Concern(ConcernKind.WISH, "good lighting after dark", 1.0, own=False, theme="lighting")
NOISE = Concern(ConcernKind.WORRY, "noise", 1.0, own=True, theme="noise")
QUIET = Concern(ConcernKind.VALUE, "a quiet corner", 0.5, own=True, theme="quiet")


def steps(*measures: Measure) -> tuple[Step, ...]:
    return tuple(Step(measure, LIBRARY) for measure in measures)


def well_formed(text: str) -> bool:
    return all(
        re.fullmatch(r"[A-Z“].*[.!?]”?", sentence) and not re.search(r" [,.]|\.\.|  |[{}]|\b(\w+) \1\b", sentence)
        for sentence in sentences_of(text)
    )


def test_concerns_in_words() -> None:
    assert side(LIGHT) == "wants good lighting after dark"
    assert people(NOISE) == "worry about noise"
    assert reference(QUIET) == "the love of a quiet corner"


@pytest.mark.parametrize("wording", range(12))
@pytest.mark.parametrize("answers", [True, False])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_every_wording_names_both_sides_and_every_step(wording: int, answers: bool, number: int) -> None:
    chosen = steps(LAMPS, HOURS, ROTA)[:number]
    text = compose(Plan(chosen, LIGHT, NOISE, answers=answers, wording=wording))
    assert well_formed(text), text
    assert "good lighting after dark" in text
    assert re.search(r"\bnoise\b", text)
    for step in chosen:
        assert step.clause in text.lower()


def test_wordings_differ_and_repeat() -> None:
    plan = Plan(steps(LAMPS, HOURS), LIGHT, NOISE, answers=True)
    texts = {compose(Plan(plan.steps, LIGHT, NOISE, answers=True, wording=wording)) for wording in range(60)}
    assert len(texts) >= 5
    assert compose(plan) == compose(plan)


def test_a_plan_without_concerns_is_its_steps() -> None:
    text = compose(Plan(steps(LAMPS, HOURS), None, NOISE))
    assert text.startswith("Two lamps will be put up at the library. ")
    assert text.endswith(" readers may talk in the afternoons.")
    assert well_formed(text)


def test_common_ground_is_said_only_of_wishes() -> None:
    assert compose(Plan(steps(LAMPS), LIGHT, LIGHT)).startswith("Both sides want good lighting after dark. ")
    assert "want" not in compose(Plan(steps(LAMPS), NOISE, NOISE))
    assert compose(Plan(steps(LAMPS), LIGHT, NOISE, shared="peace")).startswith("Both sides want peace. ")


def test_a_review_closes_the_text_in_the_words_of_its_scale() -> None:
    local = compose(Plan(steps(LAMPS), LIGHT, NOISE, review=True))
    public = compose(Plan((Step(LAW, PUBLIC),), LIGHT, NOISE, review=True))
    assert len(sentences_of(local)) == len(sentences_of(compose(Plan(steps(LAMPS), LIGHT, NOISE)))) + 1
    assert re.search(r"years", sentences_of(public)[-1])
    assert not re.search(r"years", sentences_of(local)[-1])


def test_all_measures_compose() -> None:
    measures = library()
    for number, (one, two) in enumerate(itertools.pairwise(measures)):
        text = compose(
            Plan((Step(one, EACH_PLACE), Step(two, EACH_PLACE)), LIGHT, NOISE, answers=number % 2 == 0, wording=number)
        )
        assert well_formed(text), text


def test_sentences_are_found_again() -> None:
    text = compose(Plan(steps(LAMPS, HOURS, ROTA), LIGHT, NOISE, wording=3, review=True))
    assert " ".join(sentences_of(text)) == text


ODD = [
    "{place}",
    "{0}",
    "%s %(x)d",
    "a {one} and {two}",
    '“quoted” "twice"',
    "<b>bold</b>",
    "\\1 $1",
    "}{",
    "噪音",
    "🐶",
]


@pytest.mark.parametrize("one", ODD)
@pytest.mark.parametrize("other", ["{two}", "plain"])
def test_what_is_quoted_is_never_taken_for_a_format(one: str, other: str) -> None:
    for text in processes(one, other):
        assert "{" not in text
        assert text.count("“") == text.count("”") == 2
        assert text.count('"') == 0


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_request_can_be_quoted(one: str, other: str) -> None:
    texts = processes(one, other)
    assert len(set(texts)) == len(texts) == 12  # as many as may be asked for
    assert all(text[0].isupper() and text[-1] == "." for text in texts)
