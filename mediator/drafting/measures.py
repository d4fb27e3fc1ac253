"""The library of hand-written measures (assets/measures/): what they say, what they serve, where they fit."""

import re
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property, lru_cache
from typing import Any

from mediator.drafting.lexicon import content_stems, place_kinds, stem
from mediator.drafting.phrases import head_of
from mediator.drafting.reading import ConcernKind, Reading
from mediator.resources import asset, read_yaml


class Mechanism(StrEnum):
    """The ways in which a measure can reconcile two sides."""

    ZONING_SPACE = "zoning-space"
    ZONING_TIME = "zoning-time"
    TRIAL = "trial"
    CONDITIONAL = "conditional"
    STEWARDSHIP = "stewardship"
    CHOICE = "choice"
    DESIGN = "design"
    SERVICE = "service"
    INFORMATION = "information"
    COST_SHARING = "cost-sharing"
    ACKNOWLEDGEMENT = "acknowledgement"


COSTS = {"none": 0.0, "low": 0.25, "medium": 0.6, "high": 1.0}

_SLOT = re.compile(r"\{(place|operator|users)\}")
_ANY_SLOT = re.compile(r"\{\w+\}")


@dataclass(frozen=True)
class Measure:
    """One measure.

    Attributes:
        name: its unique name in the library.
        text: a clause with the slots ``{place}``, ``{operator}`` and ``{users}``.
        mechanism: how it reconciles.
        themes: the concerns it answers.
        also: concerns of the other side that it takes care of; a measure with some is a bridge.
        places: the kinds of place it fits, or ``{"any"}``.
        cost: none 0, low 0.25, medium 0.6, high 1.
        general: whether it fits almost any dispute about its places; it stands in where nothing answers a view
        directly.
    """

    name: str
    text: str
    mechanism: Mechanism
    themes: tuple[str, ...]
    also: tuple[str, ...]
    places: frozenset[str]
    cost: float
    general: bool = False

    @cached_property
    def family(self) -> str:
        """What the measure is about: measures made from one wish are one family, those of the library stand alone."""
        return self.name.rsplit(": ", 1)[0]

    @property
    def neutral_text(self) -> str:
        """The text with general words in the slots: what is embedded once for the search."""
        return fill(self.text, Slots("the place", "those in charge", "visitors"))

    @cached_property
    def stems(self) -> Counter[str]:
        """Stems of its content words."""
        return Counter(content_stems(_SLOT.sub(" ", self.text)))

    @cached_property
    def signature(self) -> str:
        """The longest stretch of its text without a slot, lower case: how it is recognised in a proposal."""
        return max(_ANY_SLOT.split(self.text), key=len).strip().lower()


@dataclass(frozen=True)
class Slots:
    """What fills the slots of a measure: noun phrases in lower case."""

    place: str
    operator: str
    users: str


def fill(text: str, slots: Slots) -> str:
    """Fill the slots of a measure's text."""
    return _SLOT.sub(lambda match: str(getattr(slots, match.group(1))), text)


EACH_PLACE = Slots("each place", "those in charge", "the people who come")
NO_PLACE = Slots("the place", "those in charge", "the people involved")
PUBLIC = Slots("the country", "the authorities", "the people affected")


# Nobody sits "in the lake": measures speak of what one can stand on.
_BESIDE_WATER = {
    **{water: f"{water}side" for water in ("lake", "river", "creek", "pond", "bay")},
    "reservoir": "lakeside",
    "harbor": "harbour front",
    "mountain": "mountain trail",
}


def slots_for(kind: str, noun: str) -> Slots:
    """The slots for one kind of place, named by a noun when there is one."""
    if kind == "policy":
        return PUBLIC
    place = place_kinds().get(kind)
    if place is None:
        return NO_PLACE
    noun = noun or place.nouns[0]
    return Slots(f"the {_BESIDE_WATER.get(noun, noun)}", place.operator, place.users)


@lru_cache(maxsize=1)
def library() -> tuple[Measure, ...]:
    """All measures, in the order of the files."""
    measures: list[Measure] = []
    for path in sorted(asset("measures").glob("*.yaml")):
        entries = read_yaml(path)
        measures += [_measure(entry) for entry in entries]
    return tuple(measures)


def _measure(entry: dict[str, Any]) -> Measure:
    return Measure(
        name=entry["id"],
        text=entry["text"],
        mechanism=Mechanism(entry["mechanism"]),
        themes=tuple(entry["themes"]),
        also=tuple(entry.get("also") or ()),
        places=frozenset(entry["places"]),
        cost=COSTS[entry["cost"]],
        general=bool(entry.get("general", False)),
    )


_RELATED = (
    frozenset({"park", "playground", "nature"}),
    frozenset({"restaurant", "shop", "venue"}),
    frozenset({"apartment", "home"}),
    frozenset({"neighbourhood", "street"}),
    frozenset({"school", "campus"}),
    frozenset({"library", "museum"}),
)
# Measures for public questions speak of laws and authorities; measures for places speak of doors and benches.
_NEVER_ANY = frozenset({"policy"})


def fits(measure: Measure, kind: str) -> float:
    """How well a measure fits a kind of place: 1 made for it, 0.6 for a related kind, 0.5 anywhere, 0 not at all."""
    if kind in measure.places:
        return 1.0
    if kind in _NEVER_ANY:
        return 0.0
    for related in _RELATED:
        if kind in related and measure.places & related and "{place}" in measure.text:
            return 0.6
    return 0.5 if "any" in measure.places else 0.0


def theme_match(measure: Measure, reading: Reading) -> float:
    """How far a measure's themes are the view's main themes: 0..1; a theme it only takes care of counts half."""
    strongest = max(reading.themes.values(), default=1.0)
    answered = [reading.themes.get(theme, 0.0) / strongest for theme in measure.themes]
    cared_for = [0.5 * reading.themes.get(theme, 0.0) / strongest for theme in measure.also]
    return max([0.0, *answered, *cared_for])


def word_share(words: Counter[str], reading: Reading) -> float:
    """Share of a text's content words that the view uses, 0..1: those of its suggestion count fully, others by half."""
    if not words:
        return 0.0
    found = sum(1.0 if word in reading.suggestion_stems else 0.5 if word in reading.stems else 0.0 for word in words)
    return found / len(words)


_FROM_WISH = (
    (
        "try",
        Mechanism.TRIAL,
        "{operator} will try out %s for three months, and both sides will count what has changed before it stays",
        0.6,
    ),
    (
        "part",
        Mechanism.ZONING_SPACE,
        "%s will come to one part of {place} first, and the rest will stay as it is until both sides have seen the "
        "result",
        0.6,
    ),
    (
        "ballot",
        Mechanism.CHOICE,
        "{users} will be asked by ballot about %s, and the answer will hold for one year",
        0.25,
    ),
    (
        "where",
        Mechanism.STEWARDSHIP,
        "two people from each side will mark with {operator} where %s would help most and where not",
        0.0,
    ),
    (
        "offers",
        Mechanism.COST_SHARING,
        "{operator} will ask for two offers for %s, and will pay half of the cheaper one if donations cover the "
        "other half",
        0.25,
    ),
    (
        "milder",
        Mechanism.CONDITIONAL,
        "milder steps will come first, and %s will follow if these have not helped within eight weeks",
        0.25,
    ),
)
_FROM_WORRY = (
    (
        "noted",
        Mechanism.INFORMATION,
        "every report of %s will be noted for six weeks, and both sides will read the list before a further step is "
        "taken",
        0.0,
    ),
    (
        "reported",
        Mechanism.SERVICE,
        "{operator} will name one person to whom %s can be reported, and every report will get an answer within a week",
        0.25,
    ),
    (
        "agreed",
        Mechanism.CONDITIONAL,
        "both sides will agree on what counts as %s, with a word of warning the first time and a fixed penalty from "
        "the third",
        0.0,
    ),
)
_FROM_VALUE = (
    (
        "kept",
        Mechanism.CONDITIONAL,
        "{operator} will make no change that takes away %s, and will undo within a month any change that does",
        0.0,
    ),
)
# Only what happens in single cases can be counted, and only a nuisance is met with a word of warning: violence is not.
_INCIDENTS = frozenset(
    stem(word)
    for word in """theft vandalism graffiti litter littering smoking speeding noise trespassing
    damage accident accidents harassment bullying threats loitering fights incidents complaints overcrowding barking
    shouting activity dumping gossip""".split()
)
_NUISANCES = frozenset(
    stem(word)
    for word in """noise litter littering smoking smoke speeding barking shouting mess dirt gossip
    loitering parking music crowding""".split()
)
_UNFIT_FOR_TRIAL = frozenset(
    """respect kindness freedom equality trust honesty fairness love peace justice dignity acceptance diversity
    inclusiveness inclusion happiness faith belief feedback environment atmosphere attitude share structure
    understanding empathy compassion patience care representation approach
    fund funds budget money feature features air view feeling energy""".split()
)
# What is bought and set up: only of this can a part come first, an offer be asked for and a spot be marked.
_THINGS = frozenset(
    stem(word)
    for word in """
    light lamp lighting streetlight camera bench seat chair table fence gate door lock sign rack ramp bump hump rail
    railing handrail mirror bin can shelter sunshade shade awning equipment machine heater fan fountain alarm phone
    tree flower plant toilet restroom bathroom carpet screen mural swing slide barrier detector sidewalk path
    crosswalk bulb button box sensor net shelf shelves locker speaker cone stop-sign tent umbrella seating parking
    system playground court light-bulb hydrant map board
    """.split()
)
# What some fear and others ask for: here milder steps may come first.
_FORCEFUL = frozenset({"policing", "surveillance", "rules", "punishment"})
_OPEN_GROUND = frozenset("park playground street parking school campus nature neighbourhood worship gym venue".split())


def _wish_templates(phrase: str, theme: str) -> list[tuple[str, Mechanism, str, float]]:
    """The measures that make sense of a wish: a lamp can be bought and placed, a patrol be tried or held back."""
    head = head_of(phrase.split())
    if head in _UNFIT_FOR_TRIAL or phrase.split()[-1] in _UNFIT_FOR_TRIAL:
        return []
    thing, forceful = stem(head) in _THINGS, theme in _FORCEFUL
    use = {
        "try": not thing,
        "part": thing and not phrase.startswith(("a ", "an ")),
        "ballot": True,
        "where": thing or theme == "policing",
        "offers": thing,
    }
    return [template for template in _FROM_WISH if use.get(template[0], forceful)]


def own_measures(reading: Reading) -> list[Measure]:
    """Measures made from what a view's author asks for or worries about in so many words.

    The library cannot know every wish ("speed bumps", "a bike rack"); these put the wish itself on the table, bounded
    in time, space or by a vote. Public questions have measures of their own.
    """
    if reading.place == "policy":
        return []
    found: list[Measure] = []
    for concern in [concern for concern in reading.concerns if concern.own][:3]:
        phrase = concern.phrase
        head = stem(head_of(phrase.split()))
        templates: list[tuple[str, Mechanism, str, float]] = []
        if concern.kind is ConcernKind.WORRY:
            phrase = phrase.removeprefix("a ").removeprefix("an ").removeprefix("the ")
            templates = [t for t in _FROM_WORRY if head in (_NUISANCES if t[0] == "agreed" else _INCIDENTS)]
        elif concern.kind is ConcernKind.WISH:
            templates = _wish_templates(phrase, concern.theme)
        elif concern.kind is ConcernKind.VALUE:
            templates = [] if phrase.split()[-1] in _UNFIT_FOR_TRIAL else list(_FROM_VALUE)
        found += [
            Measure(
                name=f"own: {phrase}: {name}",
                text=text.replace("%s", phrase),
                mechanism=mechanism,
                themes=(concern.theme,) if concern.theme else (),
                also=(),
                places=_OPEN_GROUND if name == "part" else frozenset({"any"}),
                cost=cost,
            )
            for name, mechanism, text, cost in templates
        ]
    return found
