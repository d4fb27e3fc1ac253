"""What a view says that may mean danger or fear: mediation may then be unsuitable. Notices, and never blocks."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

from mediator.resources import asset, read_yaml
from mediator.schema import Dispute, View

Side = Literal["a", "b"]
Kind = Literal["violence", "threat", "fear", "self_harm", "abuse", "weapons", "stalking", "coercion"]


@dataclass(frozen=True)
class Concern:
    """Something in a view that a mediator should look at before bringing the two together.

    Attributes:
        side: whose view speaks of it.
        kind: what it speaks of.
        phrase: the words that say so, as they stand in the view.
    """

    side: Side
    kind: Kind
    phrase: str


def concerns(dispute: Dispute) -> tuple[Concern, ...]:
    """Find what the two views say of violence, threats, fear, self-harm, abuse, weapons, stalking and coercion.

    A list of words (assets/safety.yaml, English and German) that knows figures of speech ("killing time") and plain
    denials ("never any violence"), and does not understand: it misses what is only hinted at, and it cannot know who
    did what to whom. So it gives a reason to look, never a judgement. Nothing is blocked by it, scored by it or kept.

    Returns:
        At most one concern of each kind for each side, those of A first, in the order of `Kind`.
    """
    sides: tuple[tuple[Side, View], ...] = (("a", dispute.view_a), ("b", dispute.view_b))
    return tuple(Concern(side, kind, phrase) for side, view in sides for kind, phrase in _concerns_of(_all_of(view)))


def _all_of(view: View) -> str:
    """All texts of a view; a sentence never runs from one field into the next."""
    return "\n".join(text for text in (view.place, view.reason, view.suggestion, view.text) if text)


@lru_cache(maxsize=64)
def _concerns_of(text: str) -> tuple[tuple[Kind, str], ...]:
    rules = _rules()
    masked = rules.harmless.sub(lambda match: _TAKEN_OUT * len(match.group()), text)
    found: dict[Kind, str] = {}
    for kind, pattern in rules.concerns.items():
        searched = _without_own_harm(masked, rules) if kind == "threat" else masked
        if match := next(_meant(pattern, searched, rules), None):
            found[kind] = " ".join(text[match.start() : match.end()].split())
    return tuple(found.items())


def _meant(pattern: re.Pattern[str], text: str, rules: "_Rules") -> Iterator[re.Match[str]]:
    """The hits of a pattern that are not denied, in the order of the text."""
    return (match for match in pattern.finditer(text) if not rules.denied.search(_clause_before(text, match.start())))


def _without_own_harm(text: str, rules: "_Rules") -> str:
    """A text of the same length without the German words for what somebody means to do to nobody but themselves.

    German says "mich umbringen" of the speaker and of the threatened alike. Where somebody else is named too, or may
    be who does it, the words stay in: a threat named wrongly costs a look, one missed may cost a life.
    """
    for match in _meant(rules.own_harm, text, rules):
        if not (
            rules.shared_before.search(text, max(0, match.start() - 80), match.start())
            or rules.shared.search(match.group())
            or rules.shared_after.match(text, match.end())
        ):
            text = text[: match.start()] + _TAKEN_OUT * len(match.group()) + text[match.end() :]
    return text


_TAKEN_OUT = "\N{MIDDLE DOT}"
_CLAUSE_END = re.compile(r"[.!?;:,()\n\N{MIDDLE DOT}]")


def _clause_before(text: str, position: int) -> str:
    """What stands before a position in its clause, at most 80 characters."""
    return _CLAUSE_END.split(text[max(0, position - 80) : position])[-1]


@dataclass(frozen=True)
class _Rules:
    harmless: re.Pattern[str]
    denied: re.Pattern[str]
    concerns: dict[Kind, re.Pattern[str]]
    own_harm: re.Pattern[str]
    shared: re.Pattern[str]
    shared_before: re.Pattern[str]
    shared_after: re.Pattern[str]


@lru_cache(maxsize=1)
def _rules() -> _Rules:
    entries = read_yaml(asset("safety.yaml"))
    people = {name: entries[name] for name in ("person", "ich", "selbst")}

    def pattern(texts: list[str], end: str = r"(?!\w)", start: str = r"(?<!\w)") -> re.Pattern[str]:
        joined = "|".join(f"(?:{text})" for text in texts)
        for name, words in people.items():
            joined = joined.replace(f"{{{name}}}", words)
        for letter, written in (("ä", "ae"), ("ö", "oe"), ("ü", "ue"), ("ß", "ss")):
            joined = joined.replace(letter, f"(?:{letter}|{written})")
        return re.compile(
            rf"{start}(?:{joined.replace(' ', _SPACE).replace(chr(39), _APOSTROPHE)}){end}", re.IGNORECASE
        )

    return _Rules(
        harmless=pattern(entries["harmless"]),
        denied=pattern(entries["denied"], end=r"\s*$"),
        concerns={
            kind: pattern([text for language in entries["concerns"][kind].values() for text in language])
            for kind in get_args(Kind)
        },
        own_harm=pattern(entries["concerns"]["self_harm"]["de"]),
        shared=pattern([*entries["shared"]["in"], *entries["shared"]["after"]]),
        shared_before=pattern(entries["shared"]["before"], end=r"\s*$"),
        shared_after=pattern(entries["shared"]["after"], start=r",?\s*"),
    )


_SPACE = r"\s+"
_APOSTROPHE = "['’]"
