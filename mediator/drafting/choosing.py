"""The choice among drafts: good ones that differ from each other, and from what there is already."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from mediator.drafting.composing import Plan, common_ground
from mediator.neutrality import repeats

ALIKE = 0.6
"""Shared fraction of the words of two texts, 0..1, above which the drafter proposes only one of them. Stricter than
`mediator.neutrality.NEAR_DUPLICATE`: its texts share their frames."""


_SAID_BEFORE = 0.1
"""What it costs a draft in value that another says in the same words what both sides want."""

_UNWANTED = 0.3
"""What each family of measures that only dropped proposals had costs a draft in value."""


@dataclass(frozen=True)
class Draft:
    """A worded plan; ``plan`` is None for a proposal on process. The draft of the higher ``value`` is better."""

    text: str
    plan: Plan | None
    value: float = 0.0

    @cached_property
    def families(self) -> frozenset[str]:
        """What its measures are about."""
        return frozenset(step.measure.family for step in self.plan.steps) if self.plan else frozenset()

    @cached_property
    def common_ground(self) -> str:
        """What it says that both sides want, or ""."""
        return common_ground(self.plan) if self.plan else ""

    @cached_property
    def mechanisms(self) -> frozenset[str]:
        """How its measures reconcile."""
        return frozenset(step.measure.mechanism for step in self.plan.steps) if self.plan else frozenset()


@dataclass(frozen=True)
class Known:
    """What there is already.

    Attributes:
        texts: proposals that no new one may repeat, whatever became of them.
        combinations: the families of measures that stood together in one of them: no new one is made of the same.
        used: how often each family was used lately: a new proposal with it is worth a little less.
        wanted: families that new proposals are to be made of; these may be used again and again.
        unwanted: families that only dropped proposals were made of: a new one with them is worth a good deal less.
    """

    texts: tuple[str, ...] = ()
    combinations: tuple[frozenset[str], ...] = ()
    used: Counter[str] = field(default_factory=Counter)
    wanted: frozenset[str] = frozenset()
    unwanted: frozenset[str] = frozenset()

    def has(self, families: frozenset[str]) -> bool:
        """Whether these measures stood together before, by themselves or with others."""
        return any(families <= combination for combination in self.combinations)


def choose(drafts: Iterable[Draft], count: int, known: Known, allowed: Callable[[str], bool]) -> list[Draft]:
    """Choose up to ``count`` drafts one after the other: the best value less what it repeats of those chosen before.

    Drafts without a value count by their order. One measure may stand in two proposals, with different partners, where
    few measures fit: better than a measure that does not. A wanted measure may stand in all of them.
    """
    usable = [draft for draft in drafts if allowed(draft.text) and not alike(draft.text, known.texts)]
    worth = {id(draft): draft.value - 0.01 * place for place, draft in enumerate(usable)}
    chosen: list[Draft] = []
    lately = known.used
    while len(chosen) < count:
        best: tuple[float, Draft] | None = None
        uses = Counter(name for other in chosen for name in other.families)
        for draft in usable:
            cost = _repetition(draft, chosen, uses, known, lately)
            if cost is not None and (best is None or worth[id(draft)] - cost > best[0]):
                best = (worth[id(draft)] - cost, draft)
        if best is not None:
            new = best[1]
            chosen.append(new)
            usable = [
                draft for draft in usable if not draft.families <= new.families and not alike(draft.text, [new.text])
            ]
        elif lately:
            lately = Counter()  # better a measure of an earlier round with another partner than none
        else:
            break
    return chosen


def _repetition(
    draft: Draft, chosen: Sequence[Draft], uses: Counter[str], known: Known, lately: Counter[str]
) -> float | None:
    """What a draft repeats of others, as a loss of value; None when it may not stand beside them at all.

    ``uses`` counts the families of those chosen. What is alike to one of them is not asked about any more.
    """
    families = draft.families
    limited = families - known.wanted
    if any(uses[name] >= 2 or uses[name] + lately[name] >= 3 for name in limited):
        return None
    if lately and known.has(families):
        return None
    shared = sum(uses[name] + lately[name] / 2 for name in limited)
    same = any(draft.mechanisms == other.mechanisms for other in chosen)
    said = sum(other.common_ground == draft.common_ground for other in chosen) if draft.common_ground else 0
    return 0.12 * shared + 0.06 * same + _SAID_BEFORE * said + _UNWANTED * len(families & known.unwanted)


def alike(text: str, others: Iterable[str]) -> bool:
    """Whether a text repeats too much of one of the others."""
    return repeats(text, others, ALIKE)
