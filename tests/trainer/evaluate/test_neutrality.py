"""Neutrality: the gap of an answer with the bundled scorer, empty answers, and the candidates' own gap."""

from collections.abc import Iterator

import pytest

from mediator.empathy import EmpathyModel
from trainer.dataset.data import Example
from trainer.evaluate.neutrality import gap_of_candidates, leanings


@pytest.fixture(scope="module")
def scorer() -> Iterator[EmpathyModel]:
    model = EmpathyModel.load()
    yield model
    model.close()


def test_an_answer_for_one_side_leans_to_it(examples: list[Example], scorer: EmpathyModel) -> None:
    example = examples[0]
    for_a, for_b, empty = leanings([example] * 3, [example.view_a.as_text(), example.view_b.as_text(), " \n"], scorer)
    assert for_a is not None
    assert for_b is not None
    assert empty is None
    assert for_a.score_a > for_a.score_b
    assert for_b.score_b > for_b.score_a
    assert for_a.gap == abs(for_a.score_a - for_a.score_b)
    assert for_a.warmth == min(for_a.score_a, for_a.score_b)


def test_the_candidates_are_scored_as_the_answers_are(examples: list[Example], scorer: EmpathyModel) -> None:
    example = examples[0]  # whose file says other scores
    gaps = [one.gap for one in scorer.score(example, [candidate.text for candidate in example.candidates])]
    assert gap_of_candidates(example, scorer) == pytest.approx(sum(gaps) / len(gaps))
    assert gap_of_candidates(example.model_copy(update={"candidates": ()}), scorer) is None
