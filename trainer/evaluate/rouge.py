"""ROUGE of a compromise: how much of its wording is that of the best-fitting reference (the paper's Table 2).

F-measures without stemming are the default: the paper does not say whether it stems, and ``rouge-score``'s own default
does not. Stemming raises every figure by about the same amount; `best_rouge` takes it as an option.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from mediator.errors import InputError, MissingExtraError
from trainer.dataset.data import Example


class Rouge(NamedTuple):
    """Overlap with the references, F-measures, 0..1: of words (``rouge1``), of their longest common sequence."""

    rouge1: float
    rougeL: float  # noqa: N815 - the measure's name

    @property
    def together(self) -> float:
        """What `best_of` compares: the sum of the two."""
        return self.rouge1 + self.rougeL


class NoReferencesError(InputError):
    """A pair of views has no candidates, so there is nothing to compare an answer with."""


@lru_cache(maxsize=2)
def _scorer(stemmer: bool) -> Any:
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError as error:
        raise MissingExtraError("ROUGE needs an optional install.", "Run: pip install 'evenhand[train]'") from error
    return RougeScorer(["rouge1", "rougeL"], use_stemmer=stemmer)


def best_rouge(text: str, references: Sequence[str], stemmer: bool = False) -> Rouge:
    """Return ROUGE-1 and ROUGE-L of a text, each the maximum over the references, as the paper has it.

    Args:
        text: the answer; an empty one has 0.
        references: at least one.
        stemmer: whether words are cut to their stems first (Porter's).

    Raises:
        NoReferencesError: there is no reference.
        MissingExtraError: rouge-score is not installed.
    """
    if not references:
        raise NoReferencesError("There is no reference to compare with.", "Give the pair candidates: `dataset build`.")
    found = _scorer(stemmer).score_multi(list(references), text)
    return Rouge(float(found["rouge1"].fmeasure), float(found["rougeL"].fmeasure))


def best_of(texts: Sequence[str], references: Sequence[str], stemmer: bool = False) -> tuple[int, Rouge]:
    """Choose the text with the highest ROUGE-1 + ROUGE-L; return its place and its ROUGE.

    The choice reads the references, so "best of 5" is a bound that no user could reach, and stands as such in the
    paper's Table 2.
    """
    scored = [best_rouge(text, references, stemmer) for text in texts]
    best = max(range(len(scored)), key=lambda place: (scored[place].together, -place))
    return best, scored[best]


def references_of(example: Example) -> list[str]:
    """The texts of a pair's candidates. Raises `NoReferencesError` naming the pair when it has none."""
    if not example.candidates:
        raise NoReferencesError(
            f"The pair {example.id} has no candidates to compare with.", "Fill them in: evenhand dataset build."
        )
    return [candidate.text for candidate in example.candidates]


def rouge_of_answers(
    examples: Sequence[Example], answers: Sequence[Sequence[str]], stemmer: bool = False
) -> list[Rouge]:
    """Return each pair's ROUGE: of its answer, or of the best of its answers where it has several.

    Args:
        examples: the pairs, with candidates.
        answers: for each pair, at least one text.
        stemmer: as for `best_rouge`.
    """
    return [
        best_of(texts, references_of(example), stemmer)[1] for example, texts in zip(examples, answers, strict=True)
    ]
