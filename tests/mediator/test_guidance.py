"""The drafter with "more like this" and "dropped": closer to what is liked, and nothing of either again."""

from collections import Counter
from collections.abc import Sequence
from statistics import fmean

import pytest

from mediator.cancellation import Cancellation
from mediator.disputes import example, examples
from mediator.drafting.choosing import Draft, Known, choose
from mediator.drafting.composing import Plan, Step
from mediator.drafting.measures import NO_PLACE, library
from mediator.drafting.retrieval import Retrieval
from mediator.empathy import EmpathyModel
from mediator.neutrality import NEAR_DUPLICATE, overlap
from mediator.schema import Candidate, Dispute, Strategy, View
from mediator.writers.base import Brief
from mediator.writers.drafter import Drafter

NAMES = sorted(examples())
QUICK = ((Strategy.SINGLE, NAMES[::2]), (Strategy.COT, NAMES[1::2]))
"""Strategies that encode no text of their own, each with half of the examples."""

EDITED = {
    "dogs-in-the-park": "A low fence goes around the playground, and until nine the meadow is for dogs off the lead.",
    "night-buses": "Drivers are trained to help, and staff without uniforms ride on the last bus on Fridays.",
    "shared-kitchen": "Everyone cleans their pans by morning, and once a month all scrub the kitchen together.",
}  # fmt: skip


def write(scorer: EmpathyModel, dispute: Dispute, strategy: Strategy, **rest: object) -> list[str]:
    texts: dict[int, str] = {}
    for delta in Drafter(scorer).write(Brief(dispute, strategy, **rest), Cancellation()):  # type: ignore[arg-type]
        texts[delta.index] = texts.get(delta.index, "") + delta.text
    return [texts[index] for index in sorted(texts)]


def as_candidates(texts: Sequence[str]) -> tuple[Candidate, ...]:
    """Candidates without scores: the drafter looks at the texts alone."""
    return tuple(Candidate(text=text, strategy=Strategy.SINGLE) for text in texts)


def closeness(scorer: EmpathyModel, texts: Sequence[str], liked: str) -> float:
    return fmean(float(value) for value in scorer.embed(texts) @ scorer.embed([liked])[0])


def measures_of(text: str, dispute: Dispute, scorer: EmpathyModel) -> set[str]:
    lowered = text.lower()
    return {measure.name for measure in library() if max(_fixed(measure.text), key=len).strip().lower() in lowered}


def _fixed(text: str) -> list[str]:
    return [part.split("}")[-1] for part in text.split("{")]


@pytest.mark.parametrize(("strategy", "names"), QUICK)
def test_more_like_this_comes_closer_and_repeats_nothing(
    scorer: EmpathyModel, strategy: Strategy, names: Sequence[str]
) -> None:
    near, far = [], []
    for name in names:
        dispute = example(name)
        first = write(scorer, dispute, strategy)
        earlier = as_candidates(first)
        new = write(scorer, dispute, strategy, earlier=earlier, like=(first[0],), seed=1)
        assert len(new) == 4
        if strategy is Strategy.COT:
            assert write(scorer, dispute.swapped(), strategy, earlier=earlier, like=(first[0],), seed=1) == new
        for place, text in enumerate(new):
            assert all(overlap(text, other) < NEAR_DUPLICATE for other in (*first, *new[:place]))
        near.append(closeness(scorer, new, first[0]))
        far.append(closeness(scorer, write(scorer, dispute, strategy, earlier=earlier, seed=1), first[0]))
    assert fmean(near) > fmean(far) + 0.05
    assert sum(a > b for a, b in zip(near, far, strict=True)) >= len(names) - 1


def test_most_keep_a_measure_of_the_liked_text(scorer: EmpathyModel) -> None:
    dispute = example("dogs-in-the-park")
    liked = write(scorer, dispute, Strategy.COT_FEEDBACK)[0]
    kept = measures_of(liked, dispute, scorer)
    new = write(scorer, dispute, Strategy.COT_FEEDBACK, like=(liked,), seed=1)
    assert kept, "the drafter's own text is made of known measures"
    assert sum(bool(measures_of(text, dispute, scorer) & kept) for text in new) >= 3
    assert not any(measures_of(text, dispute, scorer) <= kept for text in new), "and something else besides"


def test_a_text_of_somebody_else_can_be_liked_too(scorer: EmpathyModel) -> None:
    near, far = [], []
    for name, liked in EDITED.items():
        dispute = example(name)
        new = write(scorer, dispute, Strategy.SINGLE, like=(liked,))
        assert write(scorer, dispute.swapped(), Strategy.SINGLE, like=(liked,)) == new
        near.append(closeness(scorer, new, liked))
        far.append(closeness(scorer, write(scorer, dispute, Strategy.SINGLE), liked))
    assert fmean(near) > fmean(far) + 0.03
    assert all(a > b for a, b in zip(near, far, strict=True))


@pytest.mark.parametrize(("strategy", "names"), QUICK)
def test_what_was_dropped_does_not_come_again(scorer: EmpathyModel, strategy: Strategy, names: Sequence[str]) -> None:
    again, before = 0, 0
    for name in names:
        dispute = example(name)
        first = write(scorer, dispute, strategy)
        dropped, kept = (first[0], first[1]), as_candidates(first[2:])
        spared = {measure for text in first[2:] for measure in measures_of(text, dispute, scorer)}
        gone = {measure for text in dropped for measure in measures_of(text, dispute, scorer)} - spared
        new = write(scorer, dispute, strategy, earlier=kept, avoid=dropped, seed=1)
        assert len(new) == 4
        assert all(overlap(text, other) < NEAR_DUPLICATE for text in new for other in first)
        assert write(scorer, dispute.swapped(), strategy, earlier=kept, avoid=dropped, seed=1) == new
        again += sum(bool(measures_of(text, dispute, scorer) & gone) for text in new)
        free = write(scorer, dispute, strategy, earlier=kept, seed=1)
        before += sum(bool(measures_of(text, dispute, scorer) & gone) for text in free)
    assert again < 0.6 * before


def test_everything_dropped_leaves_something_to_propose(scorer: EmpathyModel) -> None:
    dispute = example("library-hours")
    dropped: list[str] = []
    for seed in range(6):
        new = write(scorer, dispute, Strategy.SINGLE, avoid=tuple(dropped), seed=seed)
        assert len(set(new)) == 4
        assert not set(new) & set(dropped)
        dropped += new


def test_a_comment_goes_before_what_is_liked(scorer: EmpathyModel) -> None:
    dispute = Dispute(
        view_a=View(place="The park.", reason="I was robbed there.", suggestion="Install cameras at the gates."),
        view_b=View(place="The park.", reason="I hate being filmed.", suggestion="No surveillance and no cameras."),
    )
    free = [text for seed in range(4) for text in write(scorer, dispute, Strategy.SINGLE, seed=seed)]
    liked = next(text for text in free if "camera" in text.lower())
    new = write(scorer, dispute, Strategy.SINGLE, like=(liked,), comments=("no cameras",))
    assert not any("camera" in text.lower() for text in new)


@pytest.mark.parametrize("text", ["", "x", "好的。", "A " * 600, "{place} %s"])
def test_odd_examples_do_no_harm(scorer: EmpathyModel, text: str) -> None:
    dispute = example("shared-kitchen")
    examples_given = (text,) if text else ()
    assert len(set(write(scorer, dispute, Strategy.SINGLE, like=examples_given, avoid=examples_given))) == 4


# -- the summary -------------------------------------------------------------------------------------------------------


def test_the_summary_says_where_it_is_when_the_views_do_not(scorer: EmpathyModel) -> None:
    dispute = Dispute(
        view_a=View(text="I need quiet after ten, because I get up at five."),
        view_b=View(text="I want to practise after work, and the evening is all I have."),
        summary="Two tenants of one apartment building disagree about music in the evening.",
    )
    bare = dispute.model_copy(update={"summary": ""})
    with_summary = " ".join(write(scorer, dispute, Strategy.SINGLE, count=6))
    assert with_summary != " ".join(write(scorer, bare, Strategy.SINGLE, count=6))
    assert "building" in with_summary
    assert write(scorer, dispute.swapped(), Strategy.SINGLE) == write(scorer, dispute, Strategy.SINGLE)


def test_the_views_go_before_the_summary(scorer: EmpathyModel) -> None:
    dispute = example("library-hours")
    told = dispute.model_copy(update={"summary": "A quarrel in a park about a playground."})
    assert write(scorer, told, Strategy.SINGLE) == write(scorer, dispute, Strategy.SINGLE)
    texts = write(scorer, dispute, Strategy.SINGLE)
    assert scorer.score(told, texts) == scorer.score(dispute, texts), "nothing is scored against it"


# -- choosing ----------------------------------------------------------------------------------------------------------


def draft(words: str, value: float, *measures: int) -> Draft:
    steps = tuple(Step(library()[place], NO_PLACE) for place in measures)
    return Draft(words, Plan(steps, None, None), value)


def family(place: int) -> str:
    return library()[place].family


def chosen(drafts: list[Draft], count: int, known: Known) -> list[str]:
    return [each.text for each in choose(drafts, count, known, lambda text: True)]


def test_the_best_that_differ_are_chosen() -> None:
    drafts = [draft("one two three", 0.9, 0, 1), draft("one two three!", 0.8, 2, 3), draft("four five", 0.2, 4, 5)]
    assert chosen(drafts, 2, Known()) == ["one two three", "four five"], "the second has the same words"
    assert chosen(drafts, 1, Known(texts=("Three two one",))) == ["four five"]
    assert chosen(
        drafts, 1, Known(used=Counter({family(0): 1}), combinations=(frozenset({family(0), family(1)}),))
    ) == ["one two three!"]


def test_a_wanted_measure_may_stand_in_all_and_an_unwanted_one_costs() -> None:
    drafts = [draft(word, 0.9 - place / 100, 0, place + 1) for place, word in enumerate(["aa", "bb", "cc", "dd"])]
    assert len(chosen(drafts, 4, Known())) == 2
    assert len(chosen(drafts, 4, Known(wanted=frozenset({family(0)})))) == 4
    unwanted = Known(unwanted=frozenset({family(1)}), wanted=frozenset({family(0)}))
    assert chosen(drafts, 1, unwanted) == ["bb"]


def test_retrieval_knows_its_own_texts(scorer: EmpathyModel) -> None:
    from mediator.drafting.constraints import Constraints

    dispute = example("night-buses")
    retrieval = Retrieval((dispute.view_a, dispute.view_b), Constraints(), scorer)
    for text in write(scorer, dispute, Strategy.SINGLE):
        assert measures_of(text, dispute, scorer) <= set(retrieval.measures_in(text))
