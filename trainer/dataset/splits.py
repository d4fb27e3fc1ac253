"""Dividing a data set into training, validation and test so that no view's text is in two of them."""

import math
import random
from collections import Counter, defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass

from mediator.errors import InputError
from mediator.schema import View
from trainer.dataset.data import Example

PARTS = ("train", "validation", "test")

_STARTS = 4
"""Starts from which the search is made; the best end is kept."""

_FILLINGS = 300
"""Orders in which whole groups are filled into the parts; the best filling is kept."""

_GOOD_FILLING = 0.01
"""The error of the shares, summed over the parts, up to which whole groups are good enough to leave nothing out."""

_PASSES = 300
"""Passes over all texts in one search."""

_LOOKS = 1_000_000
"""Moves that one search looks at, at most: very large sets get fewer passes, but never fewer than `_FEWEST_PASSES`."""

_FEWEST_PASSES = 40

_HEAT = (3.0, 0.1)
"""Loss of worth, in disputes, that is accepted about every third time: in the first pass and in the last."""

_IMBALANCE = (0.1, 2.0)
"""What a dispute too many or too few in a part costs, in disputes left out: in the first pass and in the last."""


@dataclass(frozen=True)
class Splits:
    """The parts of a data set. No normalised text of a view, of either side, is in two of the three parts.

    Attributes:
        train: to learn from.
        validation: to choose settings by.
        test: to measure on.
        left_out: the disputes whose two views fell into different parts: each would leak a text from one to another.
    """

    train: list[Example]
    validation: list[Example]
    test: list[Example]
    left_out: list[Example]

    def parts(self) -> dict[str, list[Example]]:
        """Return the three parts by name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}


def normalised(view: View) -> str:
    """Return what two views must share to count as the same text: case and space do not matter."""
    return " ".join(view.as_text().casefold().split())


def largest_component(examples: Sequence[Example]) -> int:
    """Return the number of disputes in the largest group that is tied together by shared texts."""
    graph = _Graph(examples)
    return max((len(component) for component in graph.components()), default=0)


def split(
    examples: Sequence[Example], shares: tuple[float, float, float] = (0.75, 0.05, 0.20), seed: int = 0
) -> Splits:
    """Divide disputes so that no view's text is in two parts.

    Disputes that share a text form groups. If whole groups can fill the parts to within one per cent, nothing is left
    out. Otherwise (texts used again and again tie most disputes into one group) every text is given a part, and the
    disputes whose two texts got different ones are left out. Which part a text gets is searched for by simulated
    annealing (Kirkpatrick, Gelatt and Vecchi, 1983), from starts in which neighbours are filled into a part one after
    the other: what is kept counts for, and what is missing from the shares, more and more, against.

    Args:
        examples: the disputes.
        shares: of the disputes that are kept, for training, validation and test; they sum to 1.
        seed: the same disputes, in whatever order, with the same seed give the same parts.

    Raises:
        InputError: the shares do not sum to 1, or one is negative.
    """
    if min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
        raise InputError(f"The shares are {shares}.", "Give three numbers from 0 to 1 that sum to 1.")
    graph = _Graph(examples)
    chance = random.Random(seed)  # noqa: S311 - no secret: a reproducible division
    whole = _Search(graph, shares, _fill(graph.components(), graph.texts, shares, chance))
    found = [whole]
    if whole.error() > _GOOD_FILLING * len(examples):
        starts = (_grow(graph, shares, chance) for _ in range(_STARTS))
        found += [_Search(graph, shares, start).run(chance) for start in starts]
    best = max(found, key=lambda one: one.worth(one.kept))
    parts: dict[int | None, list[Example]] = {0: [], 1: [], 2: [], None: []}
    for pair, example in zip(graph.pairs, examples, strict=True):
        parts[best.part_of(pair)].append(example)
    return Splits(parts[0], parts[1], parts[2], parts[None])


Pair = tuple[int, int]


class _Graph:
    """Texts as nodes, numbered in the order of their content, and disputes as edges.

    Attributes:
        pairs: for each dispute its two texts, in the order of the disputes.
        texts: how many.
        weights: for each text its neighbours, with how many disputes tie them.
    """

    def __init__(self, examples: Sequence[Example]) -> None:
        ends = [(normalised(example.view_a), normalised(example.view_b)) for example in examples]
        number = {text: place for place, text in enumerate(sorted({text for pair in ends for text in pair}))}
        self.pairs: list[Pair] = [(number[a], number[b]) for a, b in ends]
        self.texts = len(number)
        self.weights: list[Counter[int]] = [Counter() for _ in number]
        for a, b in sorted(self.pairs):  # so that the neighbours' order does not depend on the file's
            self.weights[a][b] += 1
            if a != b:
                self.weights[b][a] += 1

    def components(self) -> list[list[Pair]]:
        """Return the disputes in groups that share no text, in the order of their texts."""
        group = [-1] * self.texts
        for start in range(self.texts):
            if group[start] >= 0:
                continue
            group[start] = start
            waiting = [start]
            while waiting:
                for other in self.weights[waiting.pop()]:
                    if group[other] < 0:
                        group[other] = start
                        waiting.append(other)
        found: dict[int, list[Pair]] = defaultdict(list)
        for pair in self.pairs:
            found[group[pair[0]]].append(pair)
        return [found[start] for start in sorted(found)]


class _Search:
    """One search, from one start.

    Attributes:
        part: of each text, 0..2.
        kept: disputes kept in each part.
    """

    def __init__(self, graph: _Graph, shares: Sequence[float], start: list[int]) -> None:
        self.graph, self.shares, self.part = graph, shares, start
        self.kept = [0, 0, 0]
        for pair in graph.pairs:
            part = self.part_of(pair)
            if part is not None:
                self.kept[part] += 1

    def part_of(self, pair: Pair) -> int | None:
        """The part that both texts of a dispute are in; None if they are in different ones."""
        a, b = self.part[pair[0]], self.part[pair[1]]
        return a if a == b else None

    def error(self) -> float:
        """How many disputes too many or too few the parts have, summed."""
        return _error(self.kept, self.shares)

    def worth(self, kept: Sequence[int], imbalance: float = _IMBALANCE[1]) -> float:
        """What is kept, less what the wrong sizes cost."""
        return sum(kept) - imbalance * _error(kept, self.shares)

    def run(self, chance: random.Random) -> "_Search":
        """Move texts, at first nearly at will, in the end only where it is worth while."""
        order = list(range(self.graph.texts))
        passes = max(_FEWEST_PASSES, min(_PASSES, _LOOKS // max(1, len(order))))
        for number in range(passes):
            way = number / (passes - 1)
            heat, imbalance = (first * (last / first) ** way for first, last in (_HEAT, _IMBALANCE))
            chance.shuffle(order)
            for text in order:
                self._move(text, heat, imbalance, chance)
        return self

    def _move(self, text: int, heat: float, imbalance: float, chance: random.Random) -> None:
        """Perhaps give a text another part, drawn at random."""
        here, there = self.part[text], chance.randrange(3)
        if here == there or self.shares[there] == 0:
            return
        lost = won = 0
        for other, weight in self.graph.weights[text].items():
            part = here if other == text else self.part[other]
            lost += weight * (part == here)
            won += weight * (part == there or other == text)
        kept = list(self.kept)
        kept[here] -= lost
        kept[there] += won
        gain = self.worth(kept, imbalance) - self.worth(self.kept, imbalance)
        if gain >= 0 or chance.random() < math.exp(gain / heat):
            self.part[text], self.kept = there, kept


def _error(kept: Sequence[int], shares: Sequence[float]) -> float:
    return sum(abs(count - share * sum(kept)) for count, share in zip(kept, shares, strict=True))


def _fill(components: list[list[Pair]], texts: int, shares: Sequence[float], chance: random.Random) -> list[int]:
    """Give whole groups to the parts: each to the part that lacks most, in the best of several shuffled orders."""
    total = sum(map(len, components))
    best: tuple[float, list[int]] = (float("inf"), [])
    order = list(range(len(components)))
    for _ in range(_FILLINGS):
        chance.shuffle(order)
        lacks = [share * total for share in shares]
        given = [0] * len(components)
        for place in order:
            given[place] = max(range(3), key=lambda part: (shares[part] > 0, lacks[part]))
            lacks[given[place]] -= len(components[place])
        error = sum(map(abs, lacks))
        if error < best[0]:
            best = (error, given)
    part = [0] * texts
    for place, pairs in enumerate(components):
        for pair in pairs:
            part[pair[0]] = part[pair[1]] = best[1][place]
    return part


def _grow(graph: _Graph, shares: Sequence[float], chance: random.Random) -> list[int]:
    """Fill the parts one after the other, the smallest first, each text after a neighbour of it."""
    part = [-1] * graph.texts
    order = list(range(graph.texts))
    chance.shuffle(order)
    wanted = deque(sorted((share * graph.texts, place) for place, share in enumerate(shares) if share))
    waiting: deque[int] = deque()
    filled = 0
    for start in order:
        waiting.append(start)
        while waiting:
            text = waiting.popleft()
            if part[text] >= 0:
                continue
            if len(wanted) > 1 and filled >= wanted[0][0]:
                filled = 0
                wanted.popleft()
            part[text] = wanted[0][1]
            filled += 1
            waiting += [other for other in graph.weights[text] if part[other] < 0]
    return part
