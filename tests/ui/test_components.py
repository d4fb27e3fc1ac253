"""ui/components.py: what users and models write stays text, and the bars say what they draw."""

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediator.schema import Candidate, Scores, Strategy
from ui.components import (
    STRATEGY_LABELS,
    Card,
    balance,
    bars_explained,
    card,
    card_of,
    cards,
    folded_cards,
    meter,
    note,
    placeholder,
    status,
    unknown_writer,
    where_the_text_goes,
)

VOID = {"img", "br", "input", "meta", "link", "hr"}


class Reader(HTMLParser):
    """Reads HTML as a browser does: elements with attributes, and the text between them."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.elements, self.text, self.open, self.balanced = [], [], [], True
        self.feed(html)
        self.close()
        self.balanced = self.balanced and not self.open

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        self.balanced = self.balanced and bool(self.open) and self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    @property
    def tags(self):
        return [tag for tag, _ in self.elements]


# Half of the texts are made of what breaks out of HTML where it is not escaped.
hostile = st.lists(
    st.sampled_from(
        ["<img src=x onerror=alert(1)>", "<script>", "</p>", "</article>", '"', "'", "&", "&lt;", "<!--", "-->", "<",
         ">", 'x" onmouseover="alert(1)', "${alert(1)}", "{{value}}", "`", "a", " "]
    ),
    min_size=1,
    max_size=8,
).map("".join)  # fmt: skip
anything = st.one_of(hostile, st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1))
unit = st.floats(0, 1)
scored = st.builds(Scores, score_a=unit, score_b=unit, raw_a=st.floats(-1, 1), raw_b=st.floats(-1, 1))

PLAIN = "plain words"
BUILDERS = {
    "card": lambda text: card(Card(text, text, text, Scores(score_a=0.5, score_b=0.5, raw_a=0, raw_b=0))),
    "a card's numbers": lambda text: card(Card("key", "Option 1", PLAIN, numbers=((text, text),))),
    "a card being written": lambda text: card(Card(text, text, text, writing=True)),
    "cards": lambda text: cards([Card(text, text, text)], text, text),
    "folded cards": lambda text: folded_cards([Card(text, text, text)], text, text),
    "status": lambda text: status(text, "error", 3),
    "note": note,
    "placeholder": placeholder,
    "destination": where_the_text_goes,
    "unknown writer": unknown_writer,
}


@pytest.mark.parametrize("name", BUILDERS)
@given(text=anything)
def test_text_stays_text(name, text):
    harmless, given_text = Reader(BUILDERS[name](PLAIN)), Reader(BUILDERS[name](text))
    assert given_text.balanced
    assert given_text.tags == harmless.tags
    assert [set(attributes) for _, attributes in given_text.elements] == [
        set(attributes) for _, attributes in harmless.elements
    ]
    assert text in "".join(given_text.text)


@given(score=unit, side=st.sampled_from(["A", "B"]))
def test_a_bar_says_what_it_draws(score, side):
    (_, bar), (_, fill) = Reader(meter(side, score)).elements
    assert bar["role"] == "meter"
    assert bar["aria-label"] == f"Closeness to view {side}"
    assert (bar["aria-valuemin"], bar["aria-valuemax"]) == ("0", "100")
    assert abs(int(bar["aria-valuenow"]) - 100 * score) <= 0.5
    width = float(re.fullmatch(r"width:([\d.]+)%", fill["style"])[1])
    assert abs(width - 100 * score) <= 0.051


def test_a_bar_without_a_score_says_so():
    (_, bar), _ = Reader(meter("A", None)).elements
    assert bar["aria-valuetext"] == "not measured yet"
    assert bar["aria-valuenow"] == "0"


@given(scores=scored)
def test_the_sides_differ_by_letter_place_and_class_and_by_nothing_else(scores):
    html = balance(scores)
    equal = balance(Scores(score_a=scores.score_b, score_b=scores.score_a, raw_a=scores.raw_b, raw_b=scores.raw_a))
    bars = [attributes for _, attributes in Reader(html).elements if attributes.get("role") == "meter"]
    mirrored = [attributes for _, attributes in Reader(equal).elements if attributes.get("role") == "meter"]
    assert [bar["aria-label"][-1] for bar in bars] == ["A", "B"]
    assert [bar["class"] for bar in bars] == ["eh-meter eh-meter-a", "eh-meter eh-meter-b"]
    assert [bar["aria-valuenow"] for bar in bars] == [bar["aria-valuenow"] for bar in reversed(mirrored)]
    assert Reader(html).text == ["A", "B"]


def test_the_words_of_a_card_match_its_bars():
    even = Scores(score_a=0.8, score_b=0.82, raw_a=0.5, raw_b=0.5)
    leaning = Scores(score_a=0.9, score_b=0.2, raw_a=0.5, raw_b=0.1)
    assert "about equal, close to both" in card(Card("k", "Option 1", "text", even))
    assert "much closer to A, far from B" in card(Card("k", "Option 1", "text", leaning))
    assert "so far" in card(Card("k", "Draft 1", "text", even, writing=True))


def test_numbers_are_folded_away_and_come_only_with_a_finished_text():
    candidate = Candidate(
        text="Share the hall.",
        strategy=Strategy.COT,
        round=2,
        scores=Scores(score_a=0.75, score_b=0.5, raw_a=0.4, raw_b=0.3),
    )
    reader = Reader(card(card_of(candidate, "key", "Option 1")))
    folded = dict(zip(reader.text, reader.text[1:], strict=False))
    assert folded["Gap between the two"] == "0.25"
    assert folded["Warmth (the lower of the two)"] == "0.50"
    assert folded["Written by"] == STRATEGY_LABELS[Strategy.COT]
    assert folded["Round"] == "2"
    assert [attributes for tag, attributes in reader.elements if tag == "details"] == [
        {"class": "eh-numbers", "data-key": "key"}
    ]
    assert "details" not in Reader(card(Card("key", "Draft 1", "text", candidate.scores, writing=True))).tags


def test_every_strategy_has_a_label():
    assert set(STRATEGY_LABELS) == set(Strategy)


def test_the_line_says_whether_text_leaves():
    assert "stays on this computer" in where_the_text_goes(None)
    away = where_the_text_goes("api.anthropic.com")
    assert "api.anthropic.com" in away
    assert "Leaves this computer" in away


def test_an_error_interrupts_and_a_clock_is_not_read_out():
    assert Reader(status("No.", "error")).elements[0][1]["role"] == "alert"
    busy = Reader(status("Writing…", "busy", 4)).elements
    assert busy[0][1]["role"] == "status"
    assert busy[1][1]["aria-hidden"] == "true"


def test_no_folded_section_without_cards():
    assert folded_cards([], "Others", "others") == ""
    assert Reader(bars_explained()).balanced
