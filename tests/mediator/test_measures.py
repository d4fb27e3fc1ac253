"""The library of measures: its format, its range, and how each of its texts reads with the slots filled."""

import itertools
import re
from collections import Counter
from typing import Any

import pytest
import yaml

from mediator.drafting.lexicon import place_kinds, themes
from mediator.drafting.measures import (
    COSTS,
    EACH_PLACE,
    NO_PLACE,
    PUBLIC,
    Measure,
    Mechanism,
    Slots,
    fill,
    fits,
    library,
    own_measures,
    slots_for,
    theme_match,
    word_share,
)
from mediator.drafting.reading import ConcernKind, read
from mediator.neutrality import overlap
from mediator.resources import asset
from mediator.schema import View

PLACES = {*place_kinds(), "policy", "any"}
FIELDS = {"id", "text", "mechanism", "themes", "also", "places", "cost", "general"}
SLOT = re.compile(r"\{(\w*)\}")
ALL_SLOTS = [slots_for(kind, "") for kind in place_kinds()] + [EACH_PLACE, NO_PLACE, PUBLIC]


def entries() -> list[tuple[str, dict[str, Any]]]:
    return [
        (path.name, entry)
        for path in sorted(asset("measures").glob("*.yaml"))
        for entry in yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    ]


def measure(**changes: Any) -> Measure:
    fields: dict[str, Any] = {
        "name": "bench",
        "text": "two benches will be placed at {place}",
        "mechanism": Mechanism.DESIGN,
        "themes": ("comfort",),
        "also": ("elders",),
        "places": frozenset({"park"}),
        "cost": 0.25,
    }
    return Measure(**(fields | changes))


# -- the files -------------------------------------------------------------------------------------------------------


def test_the_files_use_the_vocabulary() -> None:
    problems = []
    for file, entry in entries():
        where = f"{file}: {entry.get('id')}"
        lists = {key: entry.get(key) or [] for key in ("themes", "also", "places")}
        problems += [f"{where}: {key}" for key in set(entry) - FIELDS]
        problems += [f"{where}: mechanism" for _ in [0] if entry["mechanism"] not in {item.value for item in Mechanism}]
        problems += [f"{where}: cost" for _ in [0] if entry["cost"] not in COSTS]
        problems += [f"{where}: theme {theme}" for theme in (*lists["themes"], *lists["also"]) if theme not in themes()]
        problems += [f"{where}: place {place}" for place in lists["places"] if place not in PLACES]
        problems += [f"{where}: {key} repeats" for key, names in lists.items() if len(set(names)) < len(names)]
        problems += [f"{where}: answers and minds the same" for _ in set(lists["themes"]) & set(lists["also"])]
        problems += [f"{where}: number of themes" for _ in [0] if not 1 <= len(lists["themes"]) <= 4]
        problems += [f"{where}: number of also" for _ in [0] if len(lists["also"]) > 3]
        problems += [f"{where}: no place" for _ in [0] if not lists["places"]]
        problems += [f"{where}: id" for _ in [0] if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", entry["id"])]
    assert problems == []


def test_ids_and_texts_are_unique() -> None:
    for key in ("id", "text"):
        counts = Counter(entry[key] for _, entry in entries())
        assert [value for value, number in counts.items() if number > 1] == []


def test_there_are_measures_of_every_mechanism() -> None:
    measures = library()
    assert len(measures) == len(entries()) >= 300
    counts = Counter(item.mechanism for item in measures)
    assert set(counts) == set(Mechanism)
    assert min(counts.values()) >= 0.06 * len(measures)
    assert max(counts.values()) <= 0.2 * len(measures)


def test_a_third_are_bridges() -> None:
    bridges = [item for item in library() if item.also]
    assert 0.25 <= len(bridges) / len(library()) <= 0.6


def test_there_is_something_for_every_kind_of_place() -> None:
    counts = Counter(place for item in library() for place in item.places)
    assert {place: counts[place] for place in PLACES if counts[place] < 8} == {}


def test_there_is_something_for_nearly_every_theme() -> None:
    answered = Counter(theme for item in library() for theme in (*item.themes, *item.also))
    assert len([theme for theme in themes() if answered[theme] < 3]) <= 3


# -- the texts -------------------------------------------------------------------------------------------------------


def violations(pattern: str, texts: list[str]) -> list[str]:
    found = re.compile(pattern)
    return [text for text in texts if found.search(text)]


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return [item.text for item in library()]


def test_texts_are_clauses_of_a_fit_length(texts: list[str]) -> None:
    assert [text for text in texts if not 8 <= len(text.split()) <= 30] == []
    assert [text for text in texts if not re.search(r"\b(?:will|can|may|must)\b", text)] == [], "a finite clause"
    # "{users}" and the names of months and days are all that may stand first in another form.
    assert violations(r"^[^a-z{]", texts) == []
    assert violations(r"[.!?,;:\s]$|^\s", texts) == []
    assert violations(r"[;()\"“”—–]|  | ,|\.\.", texts) == []
    assert violations(r"[^ -~]", texts) == [], "ASCII"


def test_texts_use_each_slot_once(texts: list[str]) -> None:
    for text in texts:
        names = SLOT.findall(text)
        assert len(set(names)) == len(names) <= 2, text
        assert set(names) <= {"place", "operator", "users"}, text
    assert violations(r"(?i)\b(?:the|a|an|each|every|its|their) \{", texts) == [], "slots bring their own article"
    assert violations(r"\{\w+\}(?:s|'s|’s)\b|\{[^}]*$|^[^{]*\}", texts) == []


def test_texts_are_free_of_slogans_and_insults(texts: list[str]) -> None:
    slogans = (
        r"\b(?:foster|promot\w+|encourag\w+|enhanc\w+|leverag\w+|stakeholder\w*|raise awareness|ensur\w+|empower\w*)\b"
    )
    assert violations(slogans, texts) == []
    assert violations(r"(?i)\b(?:stupid|idiot\w*|lazy|bums?|thugs?|junkies?|illegals?|gypsies)\b", texts) == []
    assert violations(r"(?i)\b(?:neighbor\w*|color\w*|center\w*|theater\w*|organiz\w+)\b", texts) == [], (
        "British spelling"
    )


@pytest.mark.parametrize("slots", ALL_SLOTS, ids=lambda slots: slots.operator.replace(" ", "-"))
def test_filled_texts_read_well(slots: Slots) -> None:
    filled = [fill(item.text, slots) for item in library()]
    assert violations(r"[{}]", filled) == []
    assert violations(r"(?i)\b(\w+) \1\b", filled) == [], "a word said twice"
    assert violations(r"(?i)\b(?:the|a|an) (?:the|a|an|each|those|everyone)\b", filled) == []


def test_no_two_measures_say_the_same(texts: list[str]) -> None:
    bags = [frozenset(item.stems) for item in library()]
    alike = [
        (one.name, other.name)
        for (here, one), (there, other) in itertools.combinations(enumerate(library()), 2)
        if (common := len(bags[here] & bags[there]) / len(bags[here] | bags[there])) > 0.3
        and (common > 0.5 or overlap(one.text, other.text) > 0.6)
    ]
    assert alike == []


def test_openings_vary(texts: list[str]) -> None:
    [(opening, most)] = Counter(" ".join(text.split()[:3]) for text in texts).most_common(1)
    assert most <= 0.06 * len(texts), opening


# -- what the drafter asks of a measure -----------------------------------------------------------------------------


def test_slots_are_filled_whatever_they_hold() -> None:
    odd = Slots("{place} \\1 %s", "{operator}", "{users}")
    assert fill("{operator} will ask {users} at {place}", odd) == "{operator} will ask {users} at {place} \\1 %s"
    assert fill("{other} will stay", odd) == "{other} will stay"


def test_slots_for_a_place() -> None:
    assert slots_for("restaurant", "diner") == Slots("the diner", "the management", "guests")
    assert slots_for("library", "").place == "the library"
    assert slots_for("policy", "") == PUBLIC
    assert slots_for("", "") == slots_for("nonsense", "noun") == NO_PLACE


def test_where_a_measure_fits() -> None:
    assert fits(measure(), "park") == 1.0
    assert fits(measure(), "nature") == 0.6, "a related kind of place, and the text does not name the park"
    assert fits(measure(text="two benches will be placed in the park"), "nature") == 0.0
    assert fits(measure(), "office") == 0.0
    assert fits(measure(places=frozenset({"any"})), "office") == 0.5
    assert fits(measure(places=frozenset({"any"})), "policy") == 0.0, "laws are no places"
    assert fits(measure(places=frozenset({"policy"})), "policy") == 1.0


def test_theme_and_word_match_of_a_reading() -> None:
    reading = read(View(place="A park.", suggestion="There should be benches and shade for tired walkers."))
    assert theme_match(measure(), reading) == 1.0
    assert theme_match(measure(themes=("weapons",), also=()), reading) == 0.0
    assert theme_match(measure(themes=("weapons",), also=("comfort",)), reading) == 0.5
    assert 0.0 < word_share(measure().stems, reading) <= 1.0
    assert word_share(measure(text="{place}").stems, reading) == 0.0
    assert word_share(measure().stems, read(View(text="噪音"))) == 0.0


def test_measures_made_from_the_authors_own_words() -> None:
    made = own_measures(
        read(
            View(
                place="A street.",
                reason="I am afraid of reckless speeding.",
                suggestion="They should install speed bumps.",
            )
        )
    )
    assert any("speed bumps" in item.text for item in made)
    assert len({item.name for item in made}) == len(made)
    for item in made:
        assert set(SLOT.findall(item.text)) <= {"place", "operator", "users"}
        assert "%" not in item.text
        assert item.text[-1].isalpha()
        assert not re.search(r"\b(\w+) \1\b", fill(item.text, EACH_PLACE))


def test_no_measures_are_made_from_public_questions_or_virtues() -> None:
    assert own_measures(read(View(text="The government should ban fireworks by law."))) == []
    virtue = read(View(place="A cafe.", suggestion="There should be more respect."))
    assert not any(
        item.text.count("respect")
        for item in own_measures(virtue)
        if any(c.kind is ConcernKind.WISH for c in virtue.concerns)
    )
