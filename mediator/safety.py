"""What a view says that may mean danger or fear: mediation may then be unsuitable. Notices, and never blocks."""

import re
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
    # What somebody means to do to themselves is looked for first and taken out: it threatens nobody else.
    for kind in sorted(rules.concerns, key=lambda kind: kind != "self_harm"):
        meant = [
            match
            for match in rules.concerns[kind].finditer(masked)
            if not rules.denied.search(_clause_before(masked, match.start()))
        ]
        if meant:
            found[kind] = " ".join(text[meant[0].start() : meant[0].end()].split())
        if kind == "self_harm":
            for match in meant:
                masked = masked[: match.start()] + _TAKEN_OUT * len(match.group()) + masked[match.end() :]
    return tuple((kind, found[kind]) for kind in rules.concerns if kind in found)


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


@lru_cache(maxsize=1)
def _rules() -> _Rules:
    entries = read_yaml(asset("safety.yaml"))
    people = {name: entries[name] for name in ("person", "ich", "selbst")}

    def pattern(texts: list[str], end: str = r"(?!\w)") -> re.Pattern[str]:
        joined = "|".join(f"(?:{text})" for text in texts)
        for name, words in people.items():
            joined = joined.replace(f"{{{name}}}", words)
        for letter, written in (("ä", "ae"), ("ö", "oe"), ("ü", "ue"), ("ß", "ss")):
            joined = joined.replace(letter, f"(?:{letter}|{written})")
        return re.compile(
            rf"(?<!\w)(?:{joined.replace(' ', _SPACE).replace(chr(39), _APOSTROPHE)}){end}", re.IGNORECASE
        )

    return _Rules(
        harmless=pattern(entries["harmless"]),
        denied=pattern(entries["denied"], end=r"\s*$"),
        concerns={
            kind: pattern([text for language in entries["concerns"][kind].values() for text in language])
            for kind in get_args(Kind)
        },
    )


_SPACE = r"\s+"
_APOSTROPHE = "['’]"
