"""The reading of views: phrases that may be said of somebody else, kinds of place, and texts of every sort survived."""

import json
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mediator.disputes import examples
from mediator.drafting.lexicon import (
    PERSON_HEADS,
    PhraseFinder,
    content_stems,
    place_kinds,
    stem,
    stems,
    theme_finder,
    themes,
)
from mediator.drafting.reading import Concern, ConcernKind, Reading, read, sentences, shared_place
from mediator.schema import View

FIRST_PERSON = re.compile(r"\b(?:i|me|my|mine|myself|we|us|our|ours|ourselves|you|your|yours)\b", re.IGNORECASE)


def wanted(suggestion: str, reason: str = "") -> View:
    return View(place="A park.", reason=reason, suggestion=suggestion)


def own(view: View, *kinds: ConcernKind) -> set[str]:
    """Phrases in the author's own words that are not quoted."""
    wanted_kinds = set(kinds) or {ConcernKind.WISH, ConcernKind.WORRY, ConcernKind.VALUE}
    return {concern.phrase for concern in read(view).concerns if concern.own and concern.kind in wanted_kinds}


def unquoted(reading: Reading) -> list[Concern]:
    """The concerns that a proposal says in its own voice."""
    return [concern for concern in reading.concerns if concern.kind is not ConcernKind.CLAIM]


# -- lexicon ---------------------------------------------------------------------------------------------------------


def test_stems_join_the_forms_of_a_word() -> None:
    assert stem("cameras") == stem("camera")
    assert stem("Neighbour’s") == stem("neighbours")
    assert stems("The guards, at night!") == ["the", "guard", "at", "night"]
    assert content_stems("I want the guards at night") == ["guard", "night"]


def test_the_finder_prefers_the_longest_phrase_of_a_label() -> None:
    finder = PhraseFinder({"drinks": ["coffee", "coffee shop"], "places": ["coffee shop"], "exact": ["=lit"]})
    assert finder.find("Two coffee shops") == [("drinks", "coffee shop"), ("places", "coffee shop")]
    assert finder.find("a lit path, a little coffee") == [("exact", "lit"), ("drinks", "coffee")]
    assert finder.find("") == []


@pytest.mark.parametrize("name", themes())
def test_each_theme_is_found_by_each_of_its_words(name: str) -> None:
    for word in themes()[name].words:
        assert name in {label for label, _ in theme_finder().find(f"It is about {word.removeprefix('=')} here.")}, word


@pytest.mark.parametrize("name", themes())
def test_the_phrases_of_a_theme_can_be_said_of_anybody(name: str) -> None:
    theme = themes()[name]
    assert theme.wish
    assert theme.worry
    for phrase in (*theme.wish, *theme.worry):
        assert not FIRST_PERSON.search(phrase)
        assert phrase == phrase.strip()
        assert phrase[0].islower()
        assert phrase[-1].isalpha()
        assert len(phrase.split()) <= 9
    assert not set(theme.wish) & set(theme.worry)


# -- phrases ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("suggestion", "phrase"),
    [
        ("They should add more lighting.", "more lighting"),
        ("Please install security cameras.", "security cameras"),
        ("I would like to see speed bumps here.", "speed bumps"),
        ("There should be a fence around the playground.", "a fence around the playground"),
    ],
)
def test_what_is_asked_for_is_a_wish(suggestion: str, phrase: str) -> None:
    assert phrase in own(wanted(suggestion), ConcernKind.WISH)


@pytest.mark.parametrize(
    ("sentence", "phrase"),
    [
        ("We must stop the graffiti.", "graffiti"),
        ("I am afraid of dangerous dogs.", "dangerous dogs"),
        ("Loud music should be banned.", "loud music"),
        ("There should be no cameras.", "cameras"),
    ],
)
def test_what_is_feared_or_forbidden_is_a_worry(sentence: str, phrase: str) -> None:
    assert any(phrase in found for found in own(wanted(sentence), ConcernKind.WORRY))
    assert not any(phrase in found for found in own(wanted(sentence), ConcernKind.WISH, ConcernKind.VALUE))


@pytest.mark.parametrize(
    "sentence",
    [
        "They should keep my bench where it is.",
        "I want my garden and our dog to be safe from us.",
        "We need our security guards and your cameras.",
        "I'd like more lights for me and my friends.",
        "Let us have our own space, I think.",
        "I WANT MY LIGHTS BACK AND OUR CAMERAS",
    ],
)
def test_no_phrase_speaks_in_the_first_person(sentence: str) -> None:
    reading = read(wanted(sentence, reason=sentence))
    assert not any(FIRST_PERSON.search(concern.phrase) for concern in unquoted(reading))


PEOPLE = (
    "black people", "homeless people", "Muslims", "teenagers", "immigrants", "gay men", "drug addicts", "smokers",
    "drunk men", "the homeless", "white people", "Mexicans", "tourists", "dog owners", "skaters", "skateboarders",
    "drug dealers", "elderly women", "noisy children", "the elderly", "disabled people", "drunks", "beggars", "the "
    "poor",
)  # fmt: skip


@pytest.mark.parametrize(
    "frame",
    [
        "I am afraid of {}.", "There are too many {}.", "We must stop {}.", "{} should be banned.", "More {} please.",
        "Get rid of {} here.", "I want fewer {} in the park.", "No {}.",
    ],
)  # fmt: skip
def test_people_are_no_concern(frame: str) -> None:
    for group in PEOPLE:
        sentence = frame.format(group)
        sentence = sentence[0].upper() + sentence[1:]
        nouns = {stem(group.split()[-1])}
        for view in (wanted(sentence, reason=sentence), View(text=sentence)):
            for phrase in own(view):
                assert not nouns & set(stems(phrase)), f"{phrase!r} from {sentence!r}"


@pytest.mark.parametrize("ban", ["should be forbidden", "must be prohibited", "should be banned"])
def test_who_wants_a_group_kept_out_says_nothing_for_it(ban: str) -> None:
    reading = read(wanted(f"Skateboarding in the courtyard {ban}.", "The wheels clatter."))
    assert "youth" not in reading.themes
    assert "youth" in read(wanted("Skateboarding in the courtyard should be allowed.", "The wheels clatter.")).themes


@pytest.mark.parametrize(
    ("suggestion", "theme"),
    [
        ("Lift the ban on teenagers.", "youth"),
        ("Children should never be banned.", "children"),
        ("There must be no ban on prayer.", "religion"),
    ],
)
def test_who_wants_no_ban_speaks_for_those_it_is_on(suggestion: str, theme: str) -> None:
    kinds = {concern.theme: concern.kind for concern in read(wanted(suggestion, "I go there often.")).concerns}
    assert kinds[theme] is ConcernKind.WISH
    assert kinds["rules"] is ConcernKind.WORRY, "no ban is no wish for rules"


@pytest.mark.parametrize(
    "word", ["racism", "crime", "litter", "violence", "graffiti", "bullying", "pollution", "theft"]
)
@pytest.mark.parametrize(
    "frame",
    [
        "Something must be done about {}.",
        "They should stop {}.",
        "We need less {}.",
        "{} is everywhere.",
        "I want {} to end.",
    ],
)
def test_nobody_wishes_for_a_bad_thing(word: str, frame: str) -> None:
    sentence = frame.format(word)
    view = wanted(sentence[0].upper() + sentence[1:], reason=sentence)
    assert not any(word in phrase for phrase in own(view, ConcernKind.WISH, ConcernKind.VALUE))


def test_a_remedy_is_no_worry() -> None:
    assert "crime prevention" not in own(wanted("They must invest in crime prevention."), ConcernKind.WORRY)
    assert not any("less" in phrase.split() for phrase in own(wanted("We need less noise and a bit less crime.")))


def test_what_is_lacking_may_be_wished_for() -> None:
    assert "lighting" in own(wanted("There is no lighting after dark."), ConcernKind.WISH)
    assert not own(wanted("There is no crime here."), ConcernKind.WORRY, ConcernKind.WISH)


@pytest.mark.parametrize(
    "sentence", ["No cameras.", "There should be no cameras.", "I don't want cameras.", "Do not install cameras."]
)
def test_what_is_refused_is_not_wished_for(sentence: str) -> None:
    assert not any("camera" in phrase for phrase in own(View(text=sentence), ConcernKind.WISH, ConcernKind.VALUE))
    assert not any("camera" in phrase for phrase in own(wanted(sentence), ConcernKind.WISH, ConcernKind.VALUE))


def test_the_lesser_evil_is_not_wished_for() -> None:
    assert not own(wanted("Talk to people instead of putting up rules and lists."), ConcernKind.WISH)
    assert not own(wanted("Hire helpers rather than having fines."), ConcernKind.WISH)


def test_where_something_is_forbidden_is_not_what_is_forbidden() -> None:
    assert "the courtyard" not in own(wanted("Skateboarding in the courtyard should be forbidden."))


@pytest.mark.parametrize(
    "sentence", ["Add more securty camras.", "Install lihgts and bencehs.", "We need beter sinage."]
)
def test_misspelt_words_are_not_repeated(sentence: str) -> None:
    misspelt = {"securty", "camras", "lihgts", "bencehs", "beter", "sinage"}
    assert not any(misspelt & set(phrase.split()) for phrase in own(wanted(sentence)))


def test_phrases_of_real_views_can_be_repeated(data: Path) -> None:
    """Three hundred views by as many people."""
    rows = [
        json.loads(line) for line in (data / "efp" / "pairs.jsonl").read_text(encoding="utf-8").splitlines()[:2000:13]
    ]
    views = [
        View(**{key: row[side].get(key, "") for key in ("place", "reason", "suggestion")})
        for row in rows
        for side in ("view_a", "view_b")
    ]
    with_phrases = 0
    for view in views:
        reading = read(view)
        with_phrases += any(concern.own for concern in unquoted(reading))
        for concern in unquoted(reading):
            words = concern.phrase.split()
            assert not FIRST_PERSON.search(concern.phrase), concern.phrase
            assert len(words) <= 10
            assert concern.phrase.isascii()
            assert not re.search(r"\b(\w+) \1\b", concern.phrase), concern.phrase
            assert re.fullmatch(r"[a-z0-9' ,-]+", concern.phrase), concern.phrase
            if concern.own:
                assert stem(words[-1]) not in PERSON_HEADS or " " in concern.phrase, concern.phrase
        assert all(weight > 0 for weight in reading.themes.values())
    assert with_phrases > len(views) / 4


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200).filter(lambda text: text.strip()))
def test_what_is_quoted_stands_in_marks_of_its_own(text: str) -> None:
    for concern in read(View(text="The government must act. " + text)).concerns:
        if concern.kind is ConcernKind.CLAIM:
            assert (concern.phrase[0], concern.phrase[-1]) == ("“", "”")
            assert not set(concern.phrase[1:-1]) & set('“”"')


# -- places ----------------------------------------------------------------------------------------------------------

PLACES = {
    "allotment-hedge": "neighbourhood",
    "care-of-a-parent": "home",
    "church-courtyard": "apartment",
    "dogs-in-the-park": "park",
    "forum-moderation": "online",
    "library-hours": "library",
    "night-buses": "transit",
    "office-days": "office",
    "school-phones": "school",
    "shared-kitchen": "home",
}


@pytest.mark.parametrize("name", PLACES)
def test_the_place_of_the_bundled_examples(name: str) -> None:
    dispute = examples()[name]
    kind, noun = shared_place(read(dispute.view_a), read(dispute.view_b))
    assert kind == PLACES[name] or (name == "church-courtyard" and kind == "worship")
    assert noun in place_kinds()[kind].nouns


def test_every_example_has_a_place_to_be_found() -> None:
    assert set(PLACES) == set(examples())


@pytest.mark.parametrize(
    ("text", "kind", "noun"),
    [
        ("The diner on our street should hire friendlier waiters.", "restaurant", "diner"),
        ("I ride the bus home every night and it needs a guard.", "transit", "bus"),
        ("My flatmates never clean the kitchen.", "home", "kitchen"),
        ("The library should open on Sundays.", "library", "library"),
    ],
)
def test_the_place_of_free_text(text: str, kind: str, noun: str) -> None:
    reading = read(View(text=text))
    assert (reading.place, reading.place_noun) == (kind, noun)


@pytest.mark.parametrize(
    "text",
    [
        "The government should abolish the death penalty.",
        "Taxes on the rich are unjust and harm the economy.",
        "Animal testing should be banned by law.",
        "Every citizen deserves free healthcare.",
    ],
)
def test_a_public_question_is_no_place(text: str) -> None:
    reading = read(View(text=text))
    assert (reading.place, reading.place_noun) == ("policy", "")


def reading_of(place: str) -> Reading:
    return read(View(place=place, suggestion="It should be cleaner."))


def test_two_different_places_share_none() -> None:
    assert shared_place(reading_of("The library."), reading_of("A bus.")) == ("", "")
    assert shared_place(reading_of("The library."), reading_of("Room 5.")) == ("library", "library")
    assert shared_place(reading_of("A diner."), reading_of("A cafe."))[0] == "restaurant"


# -- texts of every sort ---------------------------------------------------------------------------------------------


def test_what_is_asked_is_quoted_in_few_words() -> None:
    reading = read(wanted("Well, hello. They should put up two lamps, because it is dark. Thanks!"))
    assert reading.ask == "They should put up two lamps"
    assert read(View(text="x")).ask == "x"


@settings(max_examples=150, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=300).filter(lambda text: text.strip()))
def test_any_text_can_be_read(text: str) -> None:
    for view in (View(text=text), View(place=text), View(suggestion=text, reason=text)):
        reading = read(view)
        assert sum(reading.themes.values()) == pytest.approx(1.0 if reading.themes else 0.0)
        assert len(reading.ask.split()) <= 16
        assert len(reading.ask) <= 160
        assert all(concern.weight > 0 and concern.phrase for concern in reading.concerns)
        assert read(view) == reading


WORDS = st.sampled_from(
    """i my we our the a more no not should be is are stop want need dogs cameras people kids racism lights security
    park library teenagers black and of in , . ! ? because too many ban safe quiet homeless muslim i'd don't please
    add guards"""
    .split()
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(WORDS, min_size=2, max_size=25))
def test_phrases_of_any_words_are_fit_to_repeat(words: list[str]) -> None:
    reading = read(wanted(" ".join(words), reason=" ".join(reversed(words))))
    for concern in unquoted(reading):
        assert not FIRST_PERSON.search(concern.phrase), concern.phrase
        if concern.own:
            assert stem(concern.phrase.split()[-1]) not in PERSON_HEADS, concern.phrase
            if concern.kind is not ConcernKind.WORRY:
                assert "racism" not in concern.phrase


LONG = {
    "words": "The park needs more light and the dogs should be on a lead because my children are afraid, ",
    "one word": "x",
    "sentences": "Dogs should be on a lead. ",
    "lines": "no\n",
    "stops": ".",
    "quotes": "\"'”’)",
    "commas": "a, ",
    "spaces": "a" + " " * 200,
    "hyphens": "well-known-",
    "chinese": "公园太吵了。",
    "cyrillic": "Собаки должны быть на поводке. ",
    "emoji": "🐶🔊",
    "html": "<div class='x'>{place}</div> &amp; %s ",
    "the park": "the park ",
    "apostrophes": "don't ",
}


@pytest.mark.parametrize("piece", LONG.values(), ids=LONG)
def test_twenty_thousand_characters_are_read(piece: str) -> None:
    # As long as a view may be. A search that tries all ways to divide it does not end before the test is ended.
    text = (piece * (20_000 // len(piece) + 1))[:20_000]
    for view in (View(text=text), View(place=text, reason=text, suggestion=text)):
        reading = read(view)
        assert len(reading.ask) <= 160


def test_sentences_end_at_stops_and_lines() -> None:
    assert sentences("One. Two!\nThree?  “Four.” Five; six") == ["One.", "Two!", "Three?", "“Four.", "Five", "six"]


def test_stems_are_right_in_many_threads_at_once() -> None:
    words = [f"{base}{end}" for base in ("walk", "sign", "park", "guard", "light") for end in ("s", "ing", "ed", "er")]
    stem.cache_clear()
    expected = {word: stem(word) for word in words}
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            for _ in range(20):
                stem.cache_clear()
                assert list(pool.map(stem, words * 8)) == [expected[word] for word in words * 8]
    finally:
        sys.setswitchinterval(interval)
