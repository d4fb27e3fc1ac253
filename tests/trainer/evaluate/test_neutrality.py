"""Neutrality: the gap of an answer with the bundled scorer, empty answers, and the candidates' own gap."""

from collections.abc import Iterator

import pytest

from mediator.empathy import EmpathyModel
from trainer.data import Example
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


def test_the_candidates_gap_is_the_mean_of_the_files_scores(examples: list[Example], scorer: EmpathyModel) -> None:
    assert gap_of_candidates(examples[0], scorer) == pytest.approx((0.0 + 0.1 + 0.2 + 0.3) / 4)
    assert gap_of_candidates(examples[0].model_copy(update={"candidates": ()}), scorer) is None


def test_candidates_without_scores_are_scored(examples: list[Example], scorer: EmpathyModel) -> None:
    bare = [one.model_copy(update={"score_a": None}) for one in examples[0].candidates[:2]]
    example = examples[0].model_copy(update={"candidates": tuple(bare)})
    scores = scorer.score(example, [one.text for one in bare])
    assert gap_of_candidates(example, scorer) == pytest.approx((scores[0].gap + scores[1].gap) / 2)
