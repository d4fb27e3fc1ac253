"""Neutrality: the gap of an answer with the bundled scorer, empty answers, and the candidates' own gap."""

from collections.abc import Iterator

import pytest

from mediator.empathy import EmpathyModel
from trainer.dataset.data import Example
from trainer.evaluate.neutrality import leanings, leanings_of_candidates


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
    found = leanings_of_candidates(example, scorer)
    assert found == leanings([example] * len(found), [candidate.text for candidate in example.candidates], scorer)
    assert all(one.score_a != candidate.score_a for one, candidate in zip(found, example.candidates, strict=True))
    assert leanings_of_candidates(example.model_copy(update={"candidates": ()}), scorer) == []
