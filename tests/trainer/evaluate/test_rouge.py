"""ROUGE of an answer: worked by hand, the maximum over references, the best of several answers."""

import pytest

pytest.importorskip("rouge_score", reason="needs the train extra")

from trainer.dataset.data import Example
from trainer.evaluate.rouge import NoReferencesError, best_of, best_rouge, rouge_of_answers


def test_by_hand() -> None:
    # 4 words against 6. Shared words: the, park, open (3). In the same order: "the park" or "open ... the"? The longest
    # common sequence of "open the park now" and "the park is open every night" is "the park": 2.
    found = best_rouge("open the park now", ["the park is open every night"])
    assert found.rouge1 == pytest.approx(2 * (3 / 4) * (3 / 6) / (3 / 4 + 3 / 6))
    assert found.rougeL == pytest.approx(2 * (2 / 4) * (2 / 6) / (2 / 4 + 2 / 6))


def test_each_measure_has_the_maximum_over_the_references() -> None:
    text = "a b c d"
    references = ["d c b a x", "a b y z q"]  # all the words in another order; half of them in this one
    both = best_rouge(text, references)
    single = [best_rouge(text, [reference]) for reference in references]
    assert both.rouge1 == single[0].rouge1 > single[1].rouge1
    assert both.rougeL == single[1].rougeL > single[0].rougeL


def test_the_ends_of_the_scale_and_case() -> None:
    assert best_rouge("Share the cost!", ["share the COST"]) == (1.0, 1.0)
    assert best_rouge("", ["share the cost"]) == (0.0, 0.0)
    assert best_rouge("nothing alike", ["share the cost"]) == (0.0, 0.0)


def test_stemming_is_a_choice() -> None:
    assert best_rouge("the runner runs", ["the run"]).rouge1 < best_rouge("the runner runs", ["the run"], True).rouge1


def test_the_best_answer_counts(examples: list[Example]) -> None:
    references = [candidate.text for candidate in examples[0].candidates]
    answers = ["something else", references[1], "open the park"]
    assert best_of(answers, references) == (1, (1.0, 1.0))
    found = rouge_of_answers(examples[:2], [answers, ["open the park"]])
    assert found[0].together == 2.0
    assert found[1] == best_rouge("open the park", references)


def test_no_references_is_an_error_that_names_the_pair(examples: list[Example]) -> None:
    bare = examples[2].model_copy(update={"candidates": ()})
    with pytest.raises(NoReferencesError, match="pair-2 has no candidates"):
        rouge_of_answers([bare], [["open the park"]])
    with pytest.raises(NoReferencesError):
        best_rouge("open", [])
