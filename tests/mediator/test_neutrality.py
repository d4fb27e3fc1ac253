"""Words, order and choice by gap and warmth."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediator.neutrality import (
    GAP_STEP,
    WARMTH_FLOOR,
    best_first,
    describe,
    gap_interval,
    order_is_clear,
    overlap,
    pareto_front,
    repeats,
    scores_of,
    select,
    tilt_kind,
    tilt_words,
    tokens,
    warmth_kind,
    without_near_duplicates,
)
from mediator.schema import Candidate, Scores, Strategy


def scores(a: float, b: float, *interval: float | None, error: float | None = None) -> Scores:
    """Scores with an interval of the tilt, and one standard error for both, if they are given."""
    low, high = interval or (None, None)
    return Scores(
        score_a=a, score_b=b, raw_a=a, raw_b=b, tilt_low=low, tilt_high=high, score_error_a=error, score_error_b=error
    )


def candidate(text: str, a: float, b: float) -> Candidate:
    return Candidate(text=text, strategy=Strategy.SINGLE, scores=scores(a, b))


unit = st.floats(0, 1).map(lambda value: round(value, 2))
pools = st.lists(st.tuples(unit, unit), max_size=12).map(
    lambda pairs: [candidate(f"text number{index} word{index}", a, b) for index, (a, b) in enumerate(pairs)]
)


@pytest.mark.parametrize(
    ("a", "b", "words"),
    [
        (0.8, 0.79, "about equal, close to both"),
        (0.62, 0.6, "about equal, fairly close to both"),
        (0.1, 0.12, "about equal, far from both"),
        (0.75, 0.6, "closer to A, fairly close to both"),
        (0.6, 0.76, "closer to B, fairly close to both"),
        (0.9, 0.2, "much closer to A, far from B"),
        (0.2, 0.9, "much closer to B, far from A"),
    ],
)
def test_words_for_the_bars(a: float, b: float, words: str) -> None:
    assert describe(scores(a, b)) == words


@pytest.mark.parametrize(
    ("a", "b", "tilt", "warmth"),
    [
        (0.8, 0.79, "equal", "close"),
        (0.62, 0.6, "equal", "fairly"),
        (0.1, 0.12, "equal", "far_both"),
        (0.75, 0.6, "closer_a", "fairly"),
        (0.6, 0.76, "closer_b", "fairly"),
        (0.9, 0.2, "much_closer_a", "far_b"),
        (0.2, 0.9, "much_closer_b", "far_a"),
    ],
)
def test_kinds_for_the_page(a: float, b: float, tilt: str, warmth: str) -> None:
    assert (tilt_kind(scores(a, b)), warmth_kind(scores(a, b))) == (tilt, warmth)


@pytest.mark.parametrize(
    ("a", "b", "low", "high", "tilt", "interval"),
    [
        (0.9, 0.6, -0.05, 0.6, "unclear", (0.0, 0.6)),  # however large the gap is
        (0.6, 0.6, -0.2, 0.1, "unclear", (0.0, 0.2)),
        (0.6, 0.5, 0.0, 0.2, "unclear", (0.0, 0.2)),
        (0.6, 0.52, 0.02, 0.15, "slightly_closer_a", (0.02, 0.15)),
        (0.52, 0.6, -0.15, -0.02, "slightly_closer_b", (0.02, 0.15)),
        (0.5, 0.7, -0.4, -0.1, "closer_b", (0.1, 0.4)),
        (0.9, 0.5, 0.2, 0.5, "much_closer_a", (0.2, 0.5)),
        (0.9, 0.5, None, None, "much_closer_a", None),
    ],
)
def test_no_side_is_named_where_the_interval_of_the_tilt_covers_zero(a, b, low, high, tilt, interval) -> None:
    known = scores(a, b, low, high)
    assert tilt_kind(known) == tilt
    assert gap_interval(known) == interval
    assert ("cannot tell them apart" in describe(known)) is (tilt == "unclear")


# Errors of 0.1: the warmths of two differ by 1.645 errors of the difference at 0.233, those of four by 2.394 at 0.339.
@pytest.mark.parametrize(
    ("first", "last", "count", "clear"),
    [
        (scores(0.7, 0.7, -0.2, 0.2, error=0.1), scores(0.7, 0.6, -0.1, 0.3, error=0.1), 2, False),
        (scores(0.7, 0.7, -0.2, 0.2, error=0.1), scores(0.9, 0.4, 0.3, 0.7, error=0.1), 2, True),  # the gaps
        (scores(0.8, 0.8, -0.2, 0.2, error=0.1), scores(0.58, 0.58, -0.2, 0.2, error=0.1), 2, False),
        (scores(0.8, 0.8, -0.2, 0.2, error=0.1), scores(0.56, 0.56, -0.2, 0.2, error=0.1), 2, True),  # the warmths
        (scores(0.8, 0.8, -0.2, 0.2, error=0.1), scores(0.48, 0.48, -0.2, 0.2, error=0.1), 4, False),
        (scores(0.8, 0.8, -0.2, 0.2, error=0.1), scores(0.45, 0.45, -0.2, 0.2, error=0.1), 4, True),
        (scores(0.7, 0.7), scores(0.7, 0.6), 2, True),  # nothing is known
    ],
)
def test_the_order_is_clear_where_the_ends_are_told_apart(first, last, count, clear) -> None:
    pool = [Candidate(text="x", strategy=Strategy.SINGLE, scores=each) for each in [first] * (count - 1) + [last]]
    assert order_is_clear(pool) is clear
    assert order_is_clear(pool[:1])


def test_what_is_known_is_chosen_last() -> None:
    pool = [candidate("dogs run at nine", 0.9, 0.9), candidate("bins at the gate", 0.8, 0.7), candidate("x", 0.2, 0.2)]
    known = ["Dogs run at NINE!"]
    assert [one.text for one in select(pool, 2, known=known).candidates] == ["bins at the gate", "x"]
    assert [one.text for one in select(pool, 3, known=known).candidates] == [
        "dogs run at nine",
        "bins at the gate",
        "x",
    ]
    assert select(pool, 3, known=known).below_floor == 1
    assert [one.text for one in select(pool, 1).candidates] == ["dogs run at nine"]
    assert repeats("dogs run at nine", known)
    assert not repeats("dogs run at ten past nine", known)


@given(unit, unit)
def test_words_swap_with_the_sides(a: float, b: float) -> None:
    swap = {"A": "B", "B": "A"}
    mirrored = " ".join(swap.get(word, word) for word in tilt_words(scores(b, a)).split())
    assert tilt_words(scores(a, b)) == mirrored


@given(pools)
def test_the_front_is_what_nothing_beats(pool: list[Candidate]) -> None:
    def beats(one: Candidate, other: Candidate) -> bool:
        x, y = scores_of(one), scores_of(other)
        return x.gap <= y.gap and x.warmth >= y.warmth and (x.gap, x.warmth) != (y.gap, y.warmth)

    expected = {each.text for each in pool if not any(beats(other, each) for other in pool)}
    assert {each.text for each in pareto_front(pool)} == expected


@given(st.text(), st.text())
def test_overlap_is_symmetric_and_whole_with_itself(first: str, second: str) -> None:
    assert overlap(first, second) == overlap(second, first)
    assert 0 <= overlap(first, second) <= 1
    assert overlap(first, first) == 1


def test_overlap_counts_shared_words() -> None:
    # {the, dog, runs} and {the, dog, sleeps, here}: two common of five different words
    assert overlap("The dog runs.", "the DOG sleeps here") == pytest.approx(2 / 5)
    assert tokens("犬は 5 pm, don't!") == ["犬", "は", "5", "pm", "don", "t"]


def test_near_duplicates_keep_the_first() -> None:
    pool = [
        candidate("Open the park to dogs until nine in the morning.", 0.5, 0.5),
        candidate("Open the park to dogs until nine in the morning!!", 0.9, 0.9),
        candidate("Build a fence around the meadow.", 0.4, 0.4),
    ]
    assert without_near_duplicates(pool) == [pool[0], pool[2]]


def test_cold_texts_do_not_win_by_a_small_gap() -> None:
    irrelevant = candidate("Bananas are yellow.", 0.05, 0.05)
    good = candidate("Share the meadow by the hour.", WARMTH_FLOOR + 0.1, WARMTH_FLOOR + 0.2)
    selection = select([irrelevant, good], 1)
    assert selection.candidates == (good,)
    assert selection.below_floor == 0


def test_all_cold_gives_the_warmest_and_says_so() -> None:
    pool = [
        candidate("One proposal here.", 0.1, 0.1),
        candidate("Another thing there.", 0.45, 0.3),
        candidate("Third wheel now.", 0.2, 0.2),
    ]
    selection = select(pool, 2, floor=0.5)
    assert [each.text for each in selection.candidates] == ["Another thing there.", "Third wheel now."]
    assert selection.below_floor == 2


@given(pools, st.integers(1, 12))
def test_selection_is_warm_first_then_even(pool: list[Candidate], count: int) -> None:
    selection = select(pool, count)
    chosen = selection.candidates
    assert len(chosen) == min(count, len(without_near_duplicates(best_first(pool))))
    kept = [scores_of(each) for each in chosen if scores_of(each).warmth >= WARMTH_FLOOR]
    warm = [(each.gap // GAP_STEP, -each.warmth) for each in kept]
    assert warm == sorted(warm)
    assert selection.below_floor == len(chosen) - len(warm)
    assert all(scores_of(each).warmth < WARMTH_FLOOR for each in chosen[len(warm) :])
    left_out = [scores_of(each) for each in without_near_duplicates(best_first(pool)) if each not in chosen]
    assert all(each.warmth < WARMTH_FLOOR or len(warm) == count for each in left_out)


def test_what_was_not_measured_keeps_its_order_and_is_not_called_cold() -> None:
    far, even, tilted = (candidate(text, *pair) for text, pair in (("x", (0, 0)), ("y", (0.9, 0.9)), ("z", (0.9, 0.2))))
    foreign = [each.model_copy(update={"scores": scores_of(each).unmeasured()}) for each in (tilted, far, even)]
    selection = select(foreign, 2)
    assert (selection.candidates, selection.below_floor) == ((foreign[0], foreign[1]), 0)
    warm, cold = candidate("warm", 0.8, 0.7), candidate("cold", 0.2, 0.1)
    selection = select([cold, foreign[0], warm], 3)
    assert (selection.candidates, selection.below_floor) == ((warm, foreign[0], cold), 1)


def test_a_gap_too_small_to_tell_does_not_beat_warmth() -> None:
    even, warm, tilted = candidate("one", 0.6, 0.6), candidate("two", 0.8, 0.77), candidate("three", 0.95, 0.85)
    assert best_first([even, tilted, warm]) == [warm, even, tilted]


def test_unscored_candidates_are_refused() -> None:
    with pytest.raises(ValueError, match="no scores"):
        select([Candidate(text="Share.", strategy=Strategy.COT)], 1)
