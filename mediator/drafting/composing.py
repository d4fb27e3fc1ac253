"""Composing a proposal: one to three measures and the concerns of both sides that they answer, in plain English."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache

from mediator.drafting.measures import Measure, Slots, fill
from mediator.drafting.reading import Concern, ConcernKind
from mediator.resources import asset, read_yaml

_SIDE_VERB = {
    ConcernKind.WISH: "wants",
    ConcernKind.WORRY: "worries about",
    ConcernKind.VALUE: "values",
    ConcernKind.CLAIM: "says",
}
_PEOPLE_VERB = {
    ConcernKind.WISH: "want",
    ConcernKind.WORRY: "worry about",
    ConcernKind.VALUE: "value",
    ConcernKind.CLAIM: "say",
}
_REFERENCE = {
    ConcernKind.WISH: "the wish for",
    ConcernKind.WORRY: "the worry about",
    ConcernKind.VALUE: "the love of",
    ConcernKind.CLAIM: "the point",
}


@dataclass(frozen=True)
class Step:
    """A measure with the words for its slots."""

    measure: Measure
    slots: Slots

    @cached_property
    def clause(self) -> str:
        """The measure as a clause, lower case, without a full stop."""
        return fill(self.measure.text, self.slots)


@dataclass(frozen=True)
class Plan:
    """What a proposal says, before it is worded.

    Attributes:
        steps: one to three measures in the order of the text.
        first: the first side's concern, which the first step serves, or None.
        second: the second side's concern, which the second step serves, or None.
        answers: whether each step answers the concern named with it; else the concerns are only named.
        wording: which of the wordings to use; any integer.
        shared: a noun phrase for what both sides want, for proposals that start from common ground, or "".
        review: whether a date to look at the result together closes the text.
    """

    steps: tuple[Step, ...]
    first: Concern | None
    second: Concern | None
    answers: bool = False
    wording: int = 0
    shared: str = ""
    review: bool = False


def _sentence(text: str) -> str:
    text = text.strip()
    end = "" if text.endswith((".", "!", "?", ".”")) else "."
    return text[0].upper() + text[1:] + end


def side(concern: Concern) -> str:
    """E.g. "worries about fast traffic"."""
    return f"{_SIDE_VERB[concern.kind]} {concern.phrase}"


def people(concern: Concern) -> str:
    """E.g. "worry about fast traffic"."""
    return f"{_PEOPLE_VERB[concern.kind]} {concern.phrase}"


def reference(concern: Concern) -> str:
    """E.g. "the worry about fast traffic"."""
    return f"{_REFERENCE[concern.kind]} {concern.phrase}"


Wording = Callable[[Concern, Concern, str, str], list[str]]

# These claim that each step answers the concern named with it.
_ANSWERING: tuple[Wording, ...] = (
    lambda c, d, one, two: [f"to answer {reference(c)}, {one}", f"to answer {reference(d)}, {two}"],
    lambda c, d, one, two: [one, two, f"together these take up both {reference(c)} and {reference(d)}"],
    lambda c, d, one, two: [f"for those who {people(c)}, {one}", f"for those who {people(d)}, {two}"],
    lambda c, d, one, two: [f"since one side {side(c)}, {one}", f"since the other {side(d)}, {two}"],
    lambda c, d, one, two: [one, f"that answers {reference(c)}", f"to answer {reference(d)} as well, {two}"],
    lambda c, d, one, two: [f"one side {side(c)} and the other {side(d)}", one, f"in return, {two}"],
)

# These only say what each side cares about.
_NAMING: tuple[Wording, ...] = (
    lambda c, d, one, two: [f"one side {side(c)} and the other {side(d)}", one, f"in return, {two}"],
    lambda c, d, one, two: [
        f"those who {people(c)} and those who {people(d)} settle on two steps",
        one,
        f"at the same time, {two}",
    ],
    lambda c, d, one, two: [f"with {reference(c)} and {reference(d)} both in view, {one}", f"alongside this, {two}"],
    lambda c, d, one, two: [f"one side {side(c)}, the other {side(d)}", one, f"alongside this, {two}"],
)

_ONE_STEP_ANSWERING: tuple[Callable[[Concern, Concern, str], list[str]], ...] = (
    lambda c, d, one: [one, f"this takes up both {reference(c)} and {reference(d)}"],
    lambda c, d, one: [f"to answer both {reference(c)} and {reference(d)}, {one}"],
)

_ONE_STEP_NAMING: tuple[Callable[[Concern, Concern, str], list[str]], ...] = (
    lambda c, d, one: [f"one side {side(c)} and the other {side(d)}", f"between the two, {one}"],
    lambda c, d, one: [f"with {reference(c)} and {reference(d)} both in view, {one}"],
)

_BARE = ("in return, {two}", "alongside this, {two}", "at the same time, {two}")
_THIRD = (
    "in addition, {three}",
    "beyond that, {three}",
    "finally, {three}",
    "as a third step, {three}",
)
_REVIEWS = (
    "after three months both sides will look at the result together",
    "both sides will meet again after six weeks to see what works",
    "the arrangement will be reviewed together at the end of the season",
    "after two months either side may ask for one change",
)
_PUBLIC_REVIEWS = (
    "after three years the results will be published and debated again",
    "an independent review after two years will say what has worked",
    "the arrangement will lapse after five years unless it is renewed",
)


def common_ground(plan: Plan) -> str:
    """What a plan's text says that both sides want, as a noun phrase; "" where it names no such thing."""
    first, second = plan.first, plan.second
    if plan.shared or first is None or second is None or first.phrase != second.phrase:
        return plan.shared
    return first.phrase if _wanted(first, second) else ""


def compose(plan: Plan) -> str:
    """Word a plan. The same plan always gives the same text."""
    clauses = [step.clause for step in plan.steps]
    number = plan.wording
    first, second = plan.first, plan.second
    if plan.shared or first is None or second is None or first.phrase == second.phrase:
        common = common_ground(plan)
        lines = [f"both sides want {common}"] if common else []
        lines.append(clauses[0])
        if len(clauses) > 1:
            lines.append(_BARE[number % len(_BARE)].format(two=clauses[1]))
    elif len(clauses) == 1:
        short = _ONE_STEP_ANSWERING if plan.answers else _ONE_STEP_NAMING
        lines = short[number % len(short)](first, second, clauses[0])
    else:
        wordings = _ANSWERING if plan.answers else _NAMING
        lines = wordings[number % len(wordings)](first, second, clauses[0], clauses[1])
    if len(clauses) > 2:
        lines.append(_THIRD[number % len(_THIRD)].format(three=clauses[2]))
    if plan.review:
        public = any("policy" in step.measure.places for step in plan.steps)
        reviews = _PUBLIC_REVIEWS if public else _REVIEWS
        lines.append(reviews[number % len(reviews)])
    return " ".join(_sentence(line) for line in lines)


def _wanted(first: Concern, second: Concern) -> bool:
    return first.kind is ConcernKind.WISH and second.kind is ConcernKind.WISH


def sentences_of(text: str) -> list[str]:
    """The sentences of a composed proposal, in order."""
    return re.split(r"(?<=[.!?])\s+(?=[A-Z“])", text)


@lru_cache(maxsize=1)
def _process_texts() -> tuple[str, ...]:
    return tuple(read_yaml(asset("processes.yaml")))


def processes(first_ask: str, second_ask: str) -> list[str]:
    """Proposals on how to go on that quote what each side asked: what is left when no measure fits."""
    one, two = (_quotable(ask) for ask in (first_ask, second_ask))
    return [text.format(one=one, two=two) for text in _process_texts()]


def _quotable(ask: str) -> str:
    return ask.replace("“", "‘").replace("”", "’").replace('"', "'").replace("{", "(").replace("}", ")")
