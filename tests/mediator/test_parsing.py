"""The streaming parser on what models really write, and on what they should not."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mediator.parsing import CandidateParser, parse
from mediator.writers.base import Delta

A = "The north meadow is open to dogs until nine in the morning."
B = "A fenced run is built by the dog owners and the city together."
C = "Leashes stay on near the playground, and wardens explain before they fine."
D = "Both groups meet after three months and review the trial."
FOUR = (A, B, C, D)
LIST = "\n".join(f"{number}. {text}" for number, text in enumerate(FOUR, start=1))


def listed(form: str, texts: tuple[str, ...] = FOUR, joint: str = "\n") -> str:
    return joint.join(form.format(n=number, text=text) for number, text in enumerate(texts, start=1))


FORMS = [
    "{n}. {text}",
    "{n}) {text}",
    "({n}) {text}",
    "[{n}] {text}",
    "{n}: {text}",
    "{n} - {text}",
    "{n}.{text}",
    "#{n}. {text}",
    "**{n}.** {text}",
    "**{n}. {text}**",
    "{n}️⃣ {text}",
    "  {n}. {text}",
    "1. {text}",
    "Response {n}: {text}",
    "**Response {n}:** {text}",
    "Option {n} - {text}",
    "Compromise #{n}: {text}",
    "Kompromiss {n}: {text}",
    "Réponse {n} : {text}",
    "### Compromise {n}\n{text}",
    "### Compromise {n}\n\n{text}\n",
    "#### {n}.\n{text}",
    "**Proposal {n}**\n{text}\n",
    "- {text}",
    "* {text}",
    "• {text}",
    "{n}. **{text}**",
    '{n}. "{text}"',
    "{n}. {text} (A: 0.71, B: 0.68)",
    "{n}. {text}\n   Scores: A 0.7, B 0.65",
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("marked", [False, True])
def test_forms_of_lists(form: str, marked: bool) -> None:
    expected = FOUR
    assert parse(listed(form), 4, marked) == expected
    assert parse("Sure! Here are four compromises:\n\n" + listed(form, joint="\n\n"), 4, marked) == expected
    assert parse(f"COMPROMISES:\n{listed(form)}\n\nI hope these help!", 4, marked) == expected
    assert parse(f"```\n{listed(form)}\n```", 4, marked) == expected


@pytest.mark.parametrize("form", FORMS)
def test_a_plain_list_streams_without_a_restart(form: str) -> None:
    for size in (1, 2, 3, 5, 8):
        parser = CandidateParser(4)
        answer = f"Here are four compromises:\n\n{listed(form)}\n\nI hope these help!"
        deltas = [delta for start in range(0, len(answer), size) for delta in parser.feed(answer[start : start + size])]
        deltas += parser.finish()
        assert not any(delta.restart for delta in deltas), size
        assert "".join(delta.text for delta in deltas) == "".join(FOUR)


@pytest.mark.parametrize(
    "form",
    [
        "{n}. **Title {n}**: {text}",
        "{n}. **Title {n}:** {text}",
        "{n}. **Title {n}**\n   {text}",
        "**{n}. Title {n}**\n{text}\n",
        "### {n}. Title {n}\n{text}\n",
        "### Compromise {n}: Title {n}\n\n{text}\n",
        "**Title {n}**\n{text}\n",
        "**Title {n}:** {text}\n",
        "## Title {n}\n{text}\n",
        "- **Title {n}**: {text}",
    ],
)
def test_titles_become_part_of_the_text(form: str) -> None:
    assert parse(listed(form), 4) == tuple(f"Title {number}: {text}" for number, text in enumerate(FOUR, start=1))


@pytest.mark.parametrize(
    "value",
    [
        list(FOUR),
        {"compromises": list(FOUR)},
        [{"title": "x", "text": text} for text in FOUR],
        {"responses": [{"id": number, "compromise": text} for number, text in enumerate(FOUR)]},
        {str(number): text for number, text in enumerate(FOUR, start=1)},
        {f"compromise_{number}": {"text": text} for number, text in enumerate(FOUR, start=1)},
    ],
)
@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("marked", [False, True])
def test_json(value: object, indent: int | None, marked: bool) -> None:
    text = json.dumps(value, indent=indent)
    assert parse(text, 4, marked) == FOUR
    assert parse(f"Here you go:\n```json\n{text}\n```\nLet me know!", 4, marked) == FOUR


def test_json_cut_off_keeps_the_whole_ones() -> None:
    text = json.dumps([*FOUR])
    assert parse(text[: text.index("wardens")], 4)[:2] == (A, B)


@pytest.mark.parametrize(("count", "expected"), [(4, FOUR), (3, FOUR[:3]), (1, (A,)), (6, FOUR)])
def test_more_or_fewer_than_asked(count: int, expected: tuple[str, ...]) -> None:
    assert parse(LIST, count) == expected


def test_similarities_are_no_candidates() -> None:
    similarities = "SIMILARITIES:\n1. Both love the park.\n2. Both fear accidents.\n3. Both pay.\n4. Both walk."
    answer = f"{similarities}\n\nCOMPROMISES:\n{LIST}"
    assert parse(answer, 4, marked=True) == FOUR
    assert parse(answer, 4, marked=False) == FOUR


@pytest.mark.parametrize(
    "heading",
    [
        "COMPROMISES:",
        "**COMPROMISES:**",
        "## Compromises",
        "Compromises:",
        "### Final compromises",
        "Improved proposals:",
    ],
)
def test_variants_of_the_heading(heading: str) -> None:
    answer = (
        f"DRAFTS:\n1. A draft.\n2. Two drafts.\n\nRATINGS:\n1. A: 0.6, B: 0.4\n2. A: 0.5, B: 0.5\n\n{heading}\n{LIST}"
    )
    assert parse(answer, 4, marked=True) == FOUR


def test_reasoning_alone_gives_nothing() -> None:
    assert parse("SIMILARITIES:\n1. Both love the park.\n2. Both fear accidents.", 4, marked=True) == ()
    assert parse("## Common ground\n- Both love the park.\n- Both fear accidents.", 4, marked=True) == ()


def test_a_missing_heading_takes_the_last_list() -> None:
    answer = f"They share this:\n1. Love of the park.\n2. Fear of accidents.\n\nSo I would say\n\n{LIST}"
    assert parse(answer, 4, marked=True) == FOUR


def test_a_later_list_restarts_the_stream() -> None:
    parser = CandidateParser(4, marked=False)
    first = parser.feed("1. A first draft.\n2. A second draft.\n")
    later = [*parser.feed(f"\nCOMPROMISES:\n{LIST}"), *parser.finish()]
    assert first[0].text.startswith("A first")
    assert [delta for delta in later if delta.restart] != []
    assert parser.candidates == FOUR


def test_remarks_after_a_complete_list_are_left_out() -> None:
    assert parse(LIST + "\n\nEach of these is cheap. Next steps:\n1. Call the city.\n2. Print signs.", 4) == FOUR
    assert parse(LIST + "\n\nThe first one is my favourite of them all.", 4) == FOUR


@pytest.mark.parametrize(
    "thought",
    [
        "<think>\n1. maybe this\n2. or that\n</think>\n",
        "<think>Let me see. COMPROMISES:\n1. no</think>",
        "1. maybe this\n2. or that\n</think>\n",
        "<thinking>hmm</thinking>\n\n",
        "<reasoning>\n- one\n</reasoning>\n",
    ],
)
def test_thoughts_are_no_candidates(thought: str) -> None:
    assert parse(thought + LIST, 4) == FOUR
    assert parse(f"{thought}COMPROMISES:\n{LIST}", 4, marked=True) == FOUR


def test_a_thought_without_an_end_holds_no_candidates() -> None:
    assert parse(f"<think>\n{LIST}", 4) == ()


def test_paragraphs_and_nested_lists_stay_in_their_candidate() -> None:
    answer = (
        "1. Open early.\n\nThe city pays.\n\n2. Close late:\n   - on Monday\n   - on Friday\n\nThe owners pay.\n\n"
        "3. Stop.\n\nNobody pays."
    )
    assert parse(answer, 4) == (
        "Open early.\nThe city pays.",
        "Close late:\n- on Monday\n- on Friday\nThe owners pay.",
        "Stop.\nNobody pays.",
    )
    steps = (
        "### Compromise 1: Trial\n1. Start in May.\n2. Review in July.\n\n"
        "### Compromise 2: Fence\n1. Plan it.\n2. Build it."
    )
    assert parse(steps, 4) == ("Trial: 1. Start in May. 2. Review in July.", "Fence: 1. Plan it. 2. Build it.")


def test_numbers_in_the_text_begin_nothing() -> None:
    text = (
        "1. The park opens at\n10:30 on weekdays and\n2024. was the last review, with\n1.5 metres between benches.\n"
        "2. Dogs rest."
    )
    assert parse(text, 4) == (
        "The park opens at 10:30 on weekdays and 2024. was the last review, with 1.5 metres between benches.",
        "Dogs rest.",
    )


def test_unnumbered_paragraphs_count_when_they_are_as_many_as_asked() -> None:
    assert parse(f"Here are some ideas:\n\n{A}\n\n{B}\n\n{C}\n\n{D}\n\nI hope this helps.", 4) == FOUR
    assert parse(f"{A}\n\n{B}", 4) == ()


@pytest.mark.parametrize(
    "answer", ["", "   \n\n", "I'm sorry, but I can't help with that.", "COMPROMISES:", "1.", "---", "[]", "{}"]
)
def test_nothing_is_found_in_nothing(answer: str) -> None:
    assert parse(answer, 4) == ()
    assert parse(answer, 4, marked=True) == ()


def test_a_candidate_that_the_end_cut_off_is_left_out() -> None:
    assert parse(f"1. {A}\n2. {B}\n3. Leashes stay on near the", 4) == (A, B)
    assert parse("1. no full stop\n2. none here either\n3. nor here", 4) == (
        "no full stop",
        "none here either",
        "nor here",
    )


def test_copies_of_a_view_are_left_out_and_never_shown() -> None:
    view = "Dogs must be kept on a leash everywhere. They frighten my children."
    answer = f'1. Dogs must be kept on a leash everywhere.\n2. View A: "{view}"\n3. {A}\n4. {view}'
    parser = CandidateParser(4, unwanted=(view,))
    deltas = [delta for start in range(0, len(answer), 3) for delta in parser.feed(answer[start : start + 3])]
    deltas += parser.finish()
    assert parser.candidates == (A,)
    assert "".join(delta.text for delta in deltas) == A
    assert not any(delta.restart for delta in deltas)


def test_the_same_candidate_twice_counts_once() -> None:
    assert parse(f"1. {A}\n2. {A.upper()}\n3. {B}", 4) == (A, B)


def test_live_text_arrives_before_the_line_is_over() -> None:
    parser = CandidateParser(4)
    assert parser.feed("1. The north mea") == [Delta(0, "The north mea")]
    assert parser.feed("dow is open.") == [Delta(0, "dow is open.")]
    assert parser.feed("\n2. Then") == [Delta(0, "", done=True), Delta(1, "Then")]
    assert parser.finish() == [Delta(1, "", done=True)]


def test_nothing_is_streamed_before_the_heading() -> None:
    parser = CandidateParser(4, marked=True)
    assert parser.feed("SIMILARITIES:\n1. Both love the park very much and they always have.\n2. Both") == []
    assert parser.feed(" walk.\nCOMPROMISES:\n1. Open") == [Delta(0, "Open")]


def replay(deltas: list[Delta]) -> tuple[list[str], set[int]]:
    """What a consumer of the deltas has at the end: the texts, and which of them are done."""
    texts: list[str] = []
    done: set[int] = set()
    for delta in deltas:
        if delta.restart:
            texts, done = [], set()
        if delta.text or delta.done:
            if delta.index == len(texts):
                texts.append("")
            assert delta.index not in done, "nothing may be added to a finished candidate"
            texts[delta.index] += delta.text
        if delta.done:
            done.add(delta.index)
    return texts, done


pieces_of_answers = st.lists(
    st.sampled_from(
        [
            *[
                "\n",
                "\n\n",
                " ",
                "1. ",
                "2. ",
                "3) ",
                "(1) ",
                "**",
                "- ",
                "* ",
                "### ",
                "Compromise 1: ",
                "Response 2:",
            ],
            *[
                "COMPROMISES:",
                "SIMILARITIES:",
                "Notes:",
                "<think>",
                "</think>",
                "<",
                "```",
                "```json\n",
                '["',
                '", "',
                '"]',
            ],
            *[
                '{"a": [',
                "]}",
                "   ",
                "(A: 0.5, B: 0.6)",
                "Scores: 0.5",
                A,
                B,
                "the dog",
                ".",
                ":",
                '"',
                "“",
                "”",
                "I hope",
            ],
            *[
                "犬",
                "Both sides",
                "Here are four compromises:",
                "Final compromises",
                "10",
                "\r\n",
                "a" * 50,
                "Title",
                "__",
            ],
        ]
    ),
    max_size=40,
).map("".join)
answers = pieces_of_answers | st.text(max_size=200)


@given(answers, st.lists(st.integers(1, 60), min_size=1), st.integers(1, 5), st.booleans())
@example("1. x\n2. “y” z\n\nCOMPROMISES:\n1. w", [1], 2, False)
@example("1.", [1], 1, True)
def test_any_chunking_gives_the_same_candidates(text: str, sizes: list[int], count: int, marked: bool) -> None:
    views = ("the dog", B)
    parser = CandidateParser(count, marked, views)
    deltas: list[Delta] = []
    start = turn = 0
    while start < len(text):
        size = sizes[turn % len(sizes)]
        deltas += parser.feed(text[start : start + size])
        start, turn = start + size, turn + 1
    deltas += parser.finish()
    expected = parse(text, count, marked, views)
    texts, done = replay(deltas)
    assert parser.candidates == expected
    assert tuple(texts) == expected
    assert done == set(range(len(expected)))
    assert len(expected) <= count
    assert all(text.strip() == text and text for text in expected)


words = st.text(st.characters(categories=["Ll", "Lu", "Lo"]), min_size=1, max_size=12)
sentences = st.lists(words, min_size=3, max_size=12).map(lambda parts: "The " + " ".join(parts) + ".")


@given(
    st.lists(sentences, min_size=1, max_size=8, unique_by=str.casefold),
    st.sampled_from(
        ["{n}. {text}", "{n}) {text}", "({n}) {text}", "**{n}.** {text}", "Response {n}: {text}", "- {text}"]
    ),
    st.sampled_from(["\n", "\n\n"]),
    st.booleans(),
)
def test_rendered_lists_come_back(texts: list[str], form: str, joint: str, marked: bool) -> None:
    answer = ("COMPROMISES:\n" if marked else "") + listed(form, tuple(texts), joint)
    assert parse(answer, len(texts), marked) == tuple(texts)
