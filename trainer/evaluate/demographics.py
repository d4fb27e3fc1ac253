"""The ablation of the paper's Table 3: the same model asked with and without who the two sides are."""

from collections.abc import Sequence

from trainer.dataset.data import Example

NONE_THERE = "No view of this data set says who holds it, so there is nothing to leave out of the prompt."


def with_demographics(examples: Sequence[Example]) -> list[Example]:
    """Return the pairs of which at least one view has demographics."""
    return [example for example in examples if example.view_a.demographics or example.view_b.demographics]
