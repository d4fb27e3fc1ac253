"""ui/components.py: what users and models write stays text, and the bars say what they draw."""

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.html import Reader, anything, stays_text

from mediator.safety import Concern
from mediator.schema import Scores, Strategy
from ui.components import (
    STRATEGY_LABELS,
    Names,
    balance,
    bars_explained,
    consent,
    data_words,
    describe_scores,
    folded,
    meter,
    names_of,
    note,
    placeholder,
    safety_note,
    shortened,
    side_words,
    status,
    unknown_writer,
    where_the_text_goes,
    word_count,
)
from ui.strings import LANGUAGES, say

NOBODY = names_of("", "", "en")
unit = st.floats(0, 1)
scored = st.builds(Scores, score_a=unit, score_b=unit, raw_a=st.floats(-1, 1), raw_b=st.floats(-1, 1))


def scores(a, b):
    return Scores(score_a=a, score_b=b, raw_a=0.5, raw_b=0.5)


def unsure(a, b, half=0.2, error=0.08):
    known = {"score_error_a": error, "score_error_b": error, "tilt_low": a - b - half, "tilt_high": a - b + half}
    return scores(a, b).model_copy(update=known)


BUILDERS = {
    "bars": lambda text: balance(scores(0.5, 0.5), Names(text, text), "en"),
    "status": lambda text: status(text, "error", 3),
    "note": note,
    "placeholder": placeholder,
    "destination": lambda text: where_the_text_goes(text, "de"),
    "question": lambda text: consent(text, "en"),
    "unknown writer": unknown_writer,
    "concern": lambda text: safety_note([Concern("a", "threat", text)], Names(text, text), "en"),
    "fold": lambda text: folded(text, "<p>body</p>", text),
    "words": lambda text: f"<p{data_words({'word': text})}></p>",
}


@pytest.mark.parametrize("name", BUILDERS)
@settings(deadline=None, max_examples=60)
@given(text=anything)
def test_text_stays_text(name, text):
    assert stays_text(BUILDERS[name], text)


@settings(deadline=None, max_examples=60)
@given(text=anything)
def test_what_is_said_is_the_text(text):
    for build in (note, placeholder, unknown_writer, status, lambda text: where_the_text_goes(text, "en")):
        assert text in Reader(build(text)).text
    assert json.loads(Reader(f"<p{data_words({'word': text})}></p>").one("p")["data-words"]) == {"word": text}


@settings(deadline=None, max_examples=60)
@given(score=unit, side=st.sampled_from(["a", "b"]), language=st.sampled_from(LANGUAGES))
def test_a_bar_says_what_it_draws(score, side, language):
    (_, bar), (_, fill), (_, whisker) = Reader(meter(side, score, names_of("", "", language), language)).elements
    assert bar["role"] == "meter"
    assert bar["aria-label"] == say(language, "status.closeness_to", side=side.upper())
    assert (bar["aria-valuemin"], bar["aria-valuemax"]) == ("0", "100")
    assert abs(int(bar["aria-valuenow"]) - 100 * score) <= 0.5
    # The script fills the same words in when it measures anew.
    assert bar["aria-valuetext"] == bar["data-said"].replace("{number}", bar["aria-valuenow"])
    width = float(re.fullmatch(r"width:([\d.]+)%", fill["style"])[1])
    assert abs(width - 100 * score) <= 0.051
    assert whisker["data-error"] == ""


@settings(deadline=None, max_examples=60)
@given(score=unit, error=unit, language=st.sampled_from(LANGUAGES))
def test_a_whisker_reaches_a_standard_error_to_both_sides_and_is_said(score, error, language):
    (_, bar), _, (_, whisker) = Reader(meter("b", score, names_of("", "", language), language, error)).elements
    low, wide = (float(figure) for figure in re.findall(r"([\d.]+)%", whisker["style"]))
    assert abs(low - 100 * max(0, score - error)) <= 0.051
    assert abs(low + wide - 100 * min(1, score + error)) <= 0.11
    assert whisker["data-error"] == f"{100 * error:.0f}"
    said = bar["data-unsure"].replace("{number}", bar["aria-valuenow"]).replace("{error}", whisker["data-error"])
    assert bar["aria-valuetext"] == said


def test_a_bar_without_a_score_says_so():
    (_, bar), _, _ = Reader(meter("a", None, NOBODY, "en")).elements
    assert bar["aria-valuetext"] == "not measured yet"
    assert bar["aria-valuenow"] == "0"


def test_a_bar_without_a_score_has_the_elements_of_one_with_a_score():
    shapes = [Reader(balance(each, NOBODY, "en")).shape for each in (None, scores(0.2, 0.9), unsure(0.2, 0.9))]
    assert shapes[0] == shapes[1] == shapes[2]


@settings(deadline=None, max_examples=60)
@given(given_scores=scored)
def test_the_sides_differ_by_letter_place_and_class_and_by_nothing_else(given_scores):
    mirrored_scores = scores(given_scores.score_b, given_scores.score_a)
    read, mirror = (Reader(balance(each, NOBODY, "en")) for each in (given_scores, mirrored_scores))
    bars, mirrored = read.all(role="meter"), mirror.all(role="meter")
    assert [bar["aria-label"][-1] for bar in bars] == ["A", "B"]
    assert [bar["class"] for bar in bars] == ["eh-meter eh-meter-a", "eh-meter eh-meter-b"]
    assert [bar["aria-valuenow"] for bar in bars] == [bar["aria-valuenow"] for bar in reversed(mirrored)]
    assert read.texts == ["A", "B"]


@pytest.mark.parametrize(
    ("a", "b", "english", "german"),
    [
        (0.80, 0.82, "about equal, close to both", "etwa gleich, beiden nah"),
        (0.60, 0.55, "about equal, fairly close to both", "etwa gleich, beiden recht nah"),
        (0.90, 0.70, "closer to A, fairly close to both", "näher an A, beiden recht nah"),
        (0.20, 0.90, "much closer to B, far from A", "viel näher an B, fern von A"),
        (0.10, 0.10, "about equal, far from both", "etwa gleich, beiden fern"),
    ],
)
def test_the_words_for_the_bars(a, b, english, german):
    assert describe_scores(scores(a, b), NOBODY, "en") == english
    assert describe_scores(scores(a, b), names_of("", "", "de"), "de") == german


@pytest.mark.parametrize(
    ("a", "b", "half", "english", "german"),
    [
        (0.80, 0.82, 0.2, "cannot tell them apart, close to both", "kein Unterschied feststellbar, beiden nah"),
        (0.90, 0.55, 0.4, "cannot tell them apart, fairly close to both",
         "kein Unterschied feststellbar, beiden recht nah"),
        (0.82, 0.75, 0.05, "slightly closer to A, close to both", "etwas näher an A, beiden nah"),
        (0.20, 0.90, 0.3, "much closer to B, far from A", "viel näher an B, fern von A"),
    ],
)  # fmt: skip
def test_the_words_claim_no_difference_that_the_interval_denies(a, b, half, english, german):
    assert describe_scores(unsure(a, b, half), NOBODY, "en") == english
    assert describe_scores(unsure(a, b, half), names_of("", "", "de"), "de") == german


def test_a_side_is_called_by_its_name_beside_its_letter():
    names = names_of(" The tenants ", "", "en")
    assert names == Names("The tenants", "View B")
    assert describe_scores(scores(0.9, 0.3), names, "en") == "much closer to A (The tenants), far from B"
    assert side_words("b", Names("x", "The " + "very " * 20 + "long name"), "en").endswith("…)")


@settings(deadline=None, max_examples=60)
@given(text=st.text(max_size=80), most=st.integers(2, 60))
def test_a_shortened_text_is_a_beginning_on_one_line(text, most):
    short, line = shortened(text, most), " ".join(text.split())
    assert len(short) <= most
    assert line.startswith(short.removesuffix("…"))
    assert short == line or short.endswith("…")


def test_every_strategy_has_a_name_in_every_language():
    assert set(STRATEGY_LABELS) == set(Strategy)
    for language in LANGUAGES:
        assert len({say(language, key) for key in STRATEGY_LABELS.values()}) == len(Strategy)


def test_the_line_says_whether_text_leaves():
    assert "stays on this computer" in where_the_text_goes(None, "en")
    assert "bleibt auf diesem Computer" in where_the_text_goes(None, "de")
    away = where_the_text_goes("api.anthropic.com", "en")
    assert "<strong>api.anthropic.com</strong>" in away
    assert "Leaves this computer" in away


def test_the_question_names_the_host_takes_the_focus_and_has_two_answers():
    read = Reader(consent("api.anthropic.com", "en"))
    panel = read.one("section")
    assert panel["tabindex"] == "-1"
    assert "data-autofocus" in panel
    assert {panel["aria-labelledby"], panel["aria-describedby"]} <= {each["id"] for each in read.all(id=True)}
    answers = [(button["data-action"], button["data-value"]) for button in read.all("button")]
    assert answers == [("consent", "api.anthropic.com"), ("decline", "api.anthropic.com")]
    assert read.text.count("api.anthropic.com") == 2


def test_an_error_interrupts_and_a_clock_is_not_read_out():
    assert Reader(status("No.", "error")).elements[0][1]["role"] == "alert"
    busy = Reader(status("Writing…", "busy", 4)).elements
    assert busy[0][1]["role"] == "status"
    assert busy[1][1]["aria-hidden"] == "true"


def test_the_note_on_safety_says_each_thing_once_and_repeats_nobodys_words():
    concerns = [
        Concern("a", "threat", "burn it down"),
        Concern("a", "threat", "or else"),
        Concern("b", "fear", "scared"),
    ]
    read = Reader(safety_note(concerns, names_of("Ann", "", "en"), "en"))
    assert len(read.all("li")) == 2
    assert "A (Ann) speaks of threats." in read.text
    assert "B speaks of being afraid of somebody." in read.text
    assert "burn" not in read.text
    assert safety_note([], NOBODY, "en") == ""


def test_every_kind_of_concern_has_words():
    from typing import get_args

    from mediator.safety import Kind

    for language in LANGUAGES:
        for kind in get_args(Kind):
            assert "{" not in Reader(safety_note([Concern("b", kind, "x")], NOBODY, language)).text


@pytest.mark.parametrize(("text", "said"), [("", "0 words"), ("one", "1 word"), (" two  words\n", "2 words")])
def test_words_are_counted(text, said):
    assert Reader(word_count(text, "en")).text == said


def test_a_fold_is_known_by_its_key():
    assert Reader(folded("Others", "<p>x</p>", "others")).one("details")["data-key"] == "others"
    assert all(Reader(bars_explained(language)).balanced for language in LANGUAGES)
