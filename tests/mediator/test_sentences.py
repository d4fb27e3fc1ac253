"""Sentences: where they end, and which one tilts a text."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediator.disputes import example
from mediator.empathy import EmpathyModel
from mediator.neutrality import ABOUT_EQUAL
from mediator.schema import Dispute, Scores, View
from mediator.sentences import MOST_PIECES, NOTICEABLE, influence, sentences, spans_of

WHOLE_SENTENCES = [
    ["Dogs run free before nine. ", "Later they are on a lead."],
    ["Dr. Lee and Mrs. Ott meet at 9.30. ", "They start at once!"],
    ["The fee is 3.50 euros, i.e. less than before. ", "Who pays it? ", "The city, e.g. from the parking fees."],
    ["“Is that late?” ", "It is not. ", "“No,” she said."],
    ["She said “Stop it. Now. Please.” and left. ", "He stayed."],
    ["“Why not?” asks one side. ", "The other (it was there first. It stays.) says no."],
    ["Wait … until nine. ", "Then go..."],
    ["For side A. ", "They get the mornings."],
    ["J. Smith and K. T. Young agree. ", "Nobody else does."],
    ["By 8. ", "Then the doors close at 10 p.m. ", "Both sides agree."],
    ["At No. 14 the bus stops. ", "See p. 3 of the plan."],
    ["Am 3. Mai trifft sich der 2. Stock. ", "Frau Dr. Weiß kommt, d.h. sie leitet. ", "Nr. 5 bleibt zu."],
    ["„Muss das sein?“ ", "Ja, z.B. am Abend bzw. nachts. ", "Es gilt bis 22. ", "Danach ist Ruhe."],
    ["Er sagt »Nein. Nie.« und geht. ", "Sie bleibt."],
    ["Both agree:\n", "- dogs before nine\n", "- children after nine\n", "* a sign at the gate"],
    ["Steps:\n", "1. A sign.\n", "2) A fence. ", "It is low.\n\n", "And a meeting in May"],
    ["狗在早上跑。", "孩子们下午玩！", "「可以吗？不行。」", "好。"],
    ["犬は朝に走る。", "(本当に？そうだ。)", "子供は昼に遊ぶ。"],
    ["कुत्ते सुबह दौड़ते हैं। ", "बच्चे बाद में खेलते हैं।"],
    ["Share the park.", "Then meet again.\n\n", "A new part."],
    ["See v2.Beta and main.py and www.example.org. ", "Write to a.b@c.de."],
    ["One line\nthat goes on here. ", "Next."],
    ['"Stop." ', '"Go." ', "That is all."],
    ["No stop at all"],
    ["   Space before. ", "And after.   "],
    ["!!!"],
    ["Really?! ", "Yes!!! ", "No"],
]  # fmt: skip


@pytest.mark.parametrize("expected", WHOLE_SENTENCES, ids=lambda parts: parts[0][:20])
def test_sentences(expected: list[str]) -> None:
    assert sentences("".join(expected)) == expected


texts = st.one_of(
    st.text(max_size=200),
    st.text(alphabet="ab AB.!?…。！“”\"'()„«»\n-1 2\t。」「", max_size=120),
    st.lists(st.sampled_from([part for parts in WHOLE_SENTENCES for part in parts])).map("".join),
)


@given(texts)
def test_the_pieces_are_the_text(text: str) -> None:
    spans = list(spans_of(text))
    assert "".join(text[start:end] for start, end in spans) == text
    assert [start for start, _ in spans] == [0, *(end for _, end in spans[:-1])][: len(spans)]
    if len(spans) > 1:
        assert all(text[start:end].strip() for start, end in spans)


@pytest.mark.parametrize(
    ("part", "length"),
    [
        *((part, 200_000) for part in (".", ")", "x.", "“", "\n ", "(a")),
        *((part, 80_000) for part in ('“(„«"A b. C d! ', "1. ", ". ")),  # many sentences
    ],
)
def test_a_long_text_is_cut(part: str, length: int) -> None:
    # 20,000 stops once took 86 seconds: these would not have been cut before the test is ended.
    text = part * (length // len(part))
    assert "".join(sentences(text)) == text


DOGS = Dispute(view_a=View(text="Dogs need to run free."), view_b=View(text="My child was bitten by a dog."))


class Counting:
    """A scorer by words: how often a text says "dog" is closeness to A, "child" closeness to B."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    def score(self, dispute: Dispute, texts: Sequence[str]) -> list[Scores]:
        self.calls.append(list(texts))
        found = [(0.1 * text.count("dog"), 0.1 * text.count("child")) for text in texts]
        return [Scores(score_a=a, score_b=b, raw_a=a, raw_b=b) for a, b in found]


def test_the_sentence_that_tilts_is_marked() -> None:
    text = "One dog and one child. A dog, a dog and a dog. A child."
    scorer = Counting()
    found = influence(scorer, DOGS, text)
    assert [round(each.tilt_change, 6) for each in found] == [0.0, 0.3, -0.1]
    # By hand: the text has 4 dogs and 2 children, so its warmth is 0.2; without the three parts it is 0.1, 0.1, 0.1.
    assert [round(each.warmth_change, 6) for each in found] == [0.1, 0.1, 0.1]
    assert [each.tilts for each in found] == [False, True, False]
    assert "".join(each.text for each in found) == text
    assert all(text[each.start : each.end] == each.text for each in found)
    assert scorer.calls == [
        [text, "A dog, a dog and a dog. A child.", "One dog and one child. A child.", text[:-9].strip()]
    ], "all in one call"


@pytest.mark.parametrize(
    "text", ["A dog, a dog, a dog.", "A dog and a child. A child and a dog. Nothing.", "A dog. A child."]
)
def test_none_is_marked_where_none_tilts(text: str) -> None:
    assert not any(each.tilts for each in influence(Counting(), DOGS, text))


def test_none_is_marked_where_the_text_cannot_be_told_to_lean() -> None:
    class Unsure(Counting):
        def score(self, dispute: Dispute, texts: Sequence[str]) -> list[Scores]:
            interval = {"tilt_low": -0.9, "tilt_high": 0.9}
            return [scores.model_copy(update=interval) for scores in super().score(dispute, texts)]

    text = "Dogs dogs dogs. They meet."
    assert any(each.tilts for each in influence(Counting(), DOGS, text))
    assert not any(each.tilts for each in influence(Unsure(), DOGS, text))


def test_a_text_of_one_sentence_and_an_empty_one() -> None:
    (only,) = influence(Counting(), DOGS, "A dog, a dog, a dog. ")
    assert (only.start, only.end, only.tilt_change, only.warmth_change, only.tilts) == (0, 21, 0.0, 0.0, False)
    assert influence(Counting(), DOGS, " \n") == ()


def test_a_long_text_is_measured_in_groups() -> None:
    scorer = Counting()
    found = influence(scorer, DOGS, "A thing. " * 399 + "A dog, a dog.")
    assert len(found) == MOST_PIECES
    assert found[-1].tilts
    assert len(scorer.calls[0]) == MOST_PIECES + 1
    assert "".join(each.text for each in influence(Counting(), DOGS, "B. " * 41)) == "B. " * 41


def test_a_one_sided_sentence_is_found_with_the_real_scorer(scorer: EmpathyModel) -> None:
    dispute = example("dogs-in-the-park")
    text = (
        "Both sides meet again after six weeks. "
        "A small girl was knocked over by a large dog, so toddlers run about on the lawn beside the playground and "
        "somebody checks the leads."
    )
    found = influence(scorer, dispute, text)
    assert [each.tilts for each in found] == [False, True]
    assert found[1].tilt_change < -NOTICEABLE, "towards B"


def test_exchanging_the_sides_turns_the_changes_round(scorer: EmpathyModel) -> None:
    for name in ("dogs-in-the-park", "night-buses", "shared-kitchen"):
        dispute = example(name)
        text = f"{dispute.view_a.as_text()} They will meet again after six weeks."
        here, there = influence(scorer, dispute, text), influence(scorer, dispute.swapped(), text)
        assert [each.tilt_change for each in here] == [-each.tilt_change for each in there]
        assert [each.warmth_change for each in here] == [each.warmth_change for each in there]
        assert [each.tilts for each in here] == [each.tilts for each in there]
        whole = scorer.score(dispute, [text])[0]
        assert any(each.tilts for each in here) <= (whole.gap > ABOUT_EQUAL)
