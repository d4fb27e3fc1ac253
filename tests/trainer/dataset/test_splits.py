"""Splits: no text in two parts, the shares asked for, and as little left out as can be."""

import random

import pytest

from mediator.errors import InputError
from mediator.schema import View
from trainer.dataset.data import Example, read_disputes
from trainer.dataset.splits import Splits, largest_component, normalised, split


def pair(number: int, a: str, b: str) -> Example:
    return Example(id=str(number), view_a=View(text=a), view_b=View(text=b))


def texts(part: list[Example]) -> set[str]:
    return {normalised(view) for example in part for view in (example.view_a, example.view_b)}


def check(found: Splits, examples: list[Example]) -> None:
    """No text of one part is in another, and no dispute is lost or doubled."""
    train, validation, test = (texts(part) for part in found.parts().values())
    assert not train & validation
    assert not train & test
    assert not validation & test
    everything = [*found.train, *found.validation, *found.test, *found.left_out]
    assert sorted(example.id for example in everything) == sorted(example.id for example in examples)


def shares(found: Splits) -> list[float]:
    sizes = [len(part) for part in found.parts().values()]
    return [size / sum(sizes) for size in sizes]


def test_disputes_that_share_nothing_are_divided_exactly():
    examples = [pair(number, f"a {number}", f"b {number}") for number in range(200)]
    found = split(examples)
    check(found, examples)
    assert (len(found.train), len(found.validation), len(found.test)) == (150, 10, 40)


def test_a_text_on_the_other_side_or_in_other_letters_counts_as_the_same():
    """Each text stands once as A and once as B, in capitals and with other spaces: chains of two disputes."""
    examples = []
    for number in range(100):
        examples.append(pair(2 * number, f"first {number}", f"shared {number}"))
        examples.append(pair(2 * number + 1, f" SHARED   {number} ", f"last {number}"))
    found = split(examples)
    check(found, examples)
    assert not found.left_out
    part_of = {example.id: name for name, part in found.parts().items() for example in part}
    assert all(part_of[str(2 * number)] == part_of[str(2 * number + 1)] for number in range(100))
    assert largest_component(examples) == 2


def test_whole_groups_are_kept_together_when_that_gives_the_shares():
    """One A for many Bs, in groups of 1 to 12 disputes."""
    chance = random.Random(5)
    examples = []
    for group in range(90):
        for _ in range(chance.randint(1, 12)):
            examples.append(pair(len(examples), f"a {group}", f"b {len(examples)}"))
    found = split(examples)
    check(found, examples)
    assert not found.left_out
    assert shares(found) == pytest.approx([0.75, 0.05, 0.20], abs=0.01)


def test_one_tied_group_is_cut_where_few_disputes_are_lost():
    """Ten clusters of forty disputes on ten by ten texts, tied to one group by thirty disputes between them."""
    chance = random.Random(1)
    examples = []
    for cluster in range(10):
        for _ in range(40):
            a, b = chance.randrange(10), chance.randrange(10)
            examples.append(pair(len(examples), f"a {cluster} {a}", f"b {cluster} {b}"))
    for link in range(30):
        examples.append(pair(len(examples), f"a {link % 10} 0", f"b {(link + 1 + link // 10) % 10} 0"))
    assert largest_component(examples) > 400
    found = split(examples, (0.7, 0.1, 0.2))
    check(found, examples)
    assert 0 < len(found.left_out) <= 30
    assert shares(found) == pytest.approx([0.7, 0.1, 0.2], abs=0.03)


def test_an_even_tangle_still_gives_the_shares():
    chance = random.Random(0)
    examples = [pair(n, f"a {chance.randrange(150)}", f"b {chance.randrange(40)}") for n in range(400)]
    found = split(examples)
    check(found, examples)
    assert shares(found) == pytest.approx([0.75, 0.05, 0.20], abs=0.03)
    by_chance = 1 - (0.75**2 + 0.05**2 + 0.20**2)  # what is lost when every text gets its part by lot
    assert len(found.left_out) < 0.6 * by_chance * len(examples)


def test_the_division_depends_on_the_seed_and_not_on_the_order():
    chance = random.Random(2)
    examples = [pair(n, f"a {chance.randrange(60)}", f"b {chance.randrange(30)}") for n in range(150)]
    shuffled = list(examples)
    chance.shuffle(shuffled)
    first, again, other = split(examples), split(shuffled), split(examples, seed=1)

    def ids(found: Splits) -> list[set[str]]:
        return [{example.id for example in part} for part in (*found.parts().values(), found.left_out)]

    assert ids(first) == ids(again)
    assert ids(first) != ids(other)


def test_small_and_odd_sets():
    assert split([]) == Splits([], [], [], [])
    one = [pair(1, "same", "same")]
    found = split(one)
    check(found, one)
    assert not found.left_out
    everything = [pair(number, f"a {number}", "b") for number in range(20)]
    assert split(everything, (1.0, 0.0, 0.0)).train == everything
    for wrong in ((0.5, 0.2, 0.2), (1.5, -0.5, 0.0)):
        with pytest.raises(InputError, match="The shares are"):
            split(one, wrong)


def test_the_public_pairs_divide_without_a_loss(data):
    examples, _ = read_disputes(data / "efp" / "pairs.jsonl")
    assert largest_component(examples) == 369
    found = split(examples)
    check(found, examples)
    assert not found.left_out
    assert shares(found) == pytest.approx([0.75, 0.05, 0.20], abs=0.005)
