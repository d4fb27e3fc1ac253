"""What a mediator's comments mean for the drafter's search."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mediator.drafting.constraints import Constraints, understand
from mediator.drafting.lexicon import stems
from mediator.drafting.measures import Measure, Mechanism
from mediator.drafting.reading import read
from mediator.schema import View

DOGS = read(
    View(place="Alder Park.", reason="I walk my dog there.", suggestion="Dog owners should have a free meadow.")
)
CHILDREN = read(
    View(
        place="Alder Park.", reason="My daughter was knocked over.", suggestion="Parents and children need a safe lawn."
    )
)


def heard(*comments: str, a_is_first: bool = True) -> Constraints:
    return understand(comments, DOGS, CHILDREN, a_is_first)


def measure(
    text: str, mechanism: Mechanism = Mechanism.DESIGN, cost: float = 0.25, themes: tuple[str, ...] = ()
) -> Measure:
    return Measure("one", text, mechanism, themes, (), frozenset({"any"}), cost)


def allowed(constraints: Constraints, text: str) -> bool:
    return constraints.allows(set(stems(text)))


@pytest.mark.parametrize(
    "comment",
    [
        "no cameras",
        "No cameras.",
        "no cameras please",
        "please no cameras!",
        "Please avoid cameras",
        "without cameras",
        "don't use cameras",
        "do not propose cameras",
        "No more cameras",
        "we don't want cameras",
        "I want no cameras",
        "there should be no cameras",
        "more lighting but no cameras",
        "more lighting with no cameras",
        "cheaper, no cameras",
        "no police, cameras or fences",
        "<b>no cameras</b>",
        "<p>no&nbsp;cameras</p>",
        "NO CAMERAS",
        "skip the cameras",
        "cameras are not acceptable",
        "cameras aren't an option",
    ],
)
def test_what_is_ruled_out(comment: str) -> None:
    constraints = heard(comment)
    for text in (
        "cameras will watch the gate",
        "cctv will be put up",
        "the surveillance will end",
        "a camera may stay",
    ):
        assert not allowed(constraints, text), text
    assert allowed(constraints, "two lamps will be put up along the path")
    assert not constraints.allows_measure(measure("the camera will face the gate"))
    assert constraints.allows_measure(measure("two lamps will be put up along the path"))


def test_ruling_out_one_thing_leaves_its_neighbours() -> None:
    constraints = heard("no police")
    assert not allowed(constraints, "an officer will walk by")
    assert allowed(constraints, "three house rules will be written together")
    constraints = heard("no fees")
    assert not allowed(constraints, "members will pay a fee")
    assert allowed(constraints, "a warden will walk by")


@pytest.mark.parametrize(
    "comment",
    [
        "cheaper",
        "Cheaper please",
        "keep it cheap",
        "make it cheaper!",
        "low-cost",
        "less expensive",
        "not too expensive",
        "this is too expensive",
        "not so costly",
        "it costs too much",
        "no budget",
        "on a tight budget",
    ],
)
def test_cheap(comment: str) -> None:
    constraints = heard(comment)
    assert constraints.cheap == 1.0
    assert not constraints.excluded, "a comment on cost rules no words out"
    assert not constraints.allows_measure(measure("a bridge will be built", cost=1.0))
    assert constraints.weight(measure("a bench will be built", cost=0.6)) < constraints.weight(
        measure("a bench will be built", cost=0.0)
    )


def test_less_is_not_nothing() -> None:
    constraints = heard("less enforcement, keep it cheap")
    assert constraints.cheap == 1.0
    assert not constraints.excluded
    strict = measure("a fine will follow the second warning", Mechanism.CONDITIONAL)
    assert constraints.allows_measure(strict)
    assert constraints.weight(strict) < constraints.weight(measure("two lamps will be put up"))


@pytest.mark.parametrize(
    "comment",
    [
        "not so much enforcement",
        "fewer rules",
        "too many fines",
        "not too much police",
        "I would like less enforcement",
    ],
)
def test_other_words_for_less(comment: str) -> None:
    constraints = heard(comment)
    assert constraints.disliked
    assert not constraints.excluded
    assert not constraints.liked


@pytest.mark.parametrize(
    "comment",
    [
        "more lighting",
        "add lamps",
        "not enough light",
        "focus on lighting",
        "lamps",
        "we need more lamps",
        "don't forget the lamps",
    ],
)
def test_what_is_asked_for(comment: str) -> None:
    constraints = heard(comment)
    assert not constraints.excluded
    assert constraints.weight(measure("two lamps will be put up")) > constraints.weight(
        measure("two benches will be put up")
    )


def test_costly_and_police_at_once() -> None:
    constraints = heard("not too expensive and no police")
    assert constraints.cheap == 1.0
    assert not allowed(constraints, "the police will come by")
    assert allowed(constraints, "an expensive bridge will be built")


@pytest.mark.parametrize(
    ("comment", "lean"),
    [
        ("more for A", -1.0),
        ("more for B", 1.0),
        ("more for side A", -1.0),
        ("favour B", 1.0),
        ("Please do more for view B.", 1.0),
        ("less for A", 1.0),
        ("more for the dog owners", -1.0),
        ("more for the parents", 1.0),
        ("more for the astronauts", 0.0),
    ],
)
def test_which_side_should_get_more(comment: str, lean: float) -> None:
    assert heard(comment).lean == lean


def test_the_label_follows_the_order_of_the_sides() -> None:
    assert heard("more for A", a_is_first=False).lean == 1.0
    assert heard("more for the dog owners", a_is_first=False).lean == -1.0, "words are looked up in the views"


@pytest.mark.parametrize("comment", ["shorter", "make it shorter", "simpler please", "keep it brief", "fewer words"])
def test_shorter(comment: str) -> None:
    assert heard(comment).most_steps == 1
    assert not heard(comment).excluded


def test_a_short_thing_is_not_a_short_text() -> None:
    assert heard("shorter opening hours").most_steps == 3
    assert heard("a short lead for dogs").most_steps == 3


def test_longer() -> None:
    assert heard("more detail").fewest_steps == 3


def test_comments_add_up() -> None:
    constraints = heard("no cameras", "cheaper", "more for A")
    assert not allowed(constraints, "cameras")
    assert (constraints.cheap, constraints.lean) == (1.0, -1.0)


@pytest.mark.parametrize(
    "comment",
    ["", " ", "...", "!?", "please", "no", "not", "more", "less for", "ok", "</b>", "🙂", "{place}", "%s", "不要"],
)
def test_comments_that_say_nothing(comment: str) -> None:
    constraints = heard(comment)
    assert (constraints.cheap, constraints.lean, constraints.most_steps) == (0.0, 0.0, 3)
    assert allowed(constraints, "two lamps will be put up at the park by the city")


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=200))
def test_any_comment_is_taken(comment: str) -> None:
    heard(comment)


@pytest.mark.parametrize(
    "piece", ["no cameras and ", "more ", "a", "for ", "please ", "not ", "<", "don't ", " ", "\n", "no, "]
)
def test_a_hundred_thousand_characters_at_once(piece: str) -> None:
    # Far more than a comment may have: a search that tries all ways to divide it does not end before the test is ended.
    constraints = heard((piece * 100_000)[:100_000])
    assert (constraints.cheap, constraints.lean, constraints.most_steps) == (0.0, 0.0, 3)
    assert allowed(constraints, "two cameras will be put up") == ("cameras" not in piece)
    assert allowed(constraints, "two lamps will be put up")


@pytest.mark.parametrize(
    "comment",
    [
        "not about cigarettes",
        "It is about grilling, not about cigarettes.",
        "It is not about cigarettes, it is about grilling.",
        "No meals together. It is about grilling, not about cigarettes",
    ],
)
def test_who_rules_out_a_word_of_a_subject_rules_out_the_subject(comment: str) -> None:
    constraints = heard(comment)
    assert not constraints.allows_measure(measure("smokers will have one roofed spot"))
    assert not constraints.allows_measure(measure("the ashtray will stand by the door"))
    grill = measure("barbecues will go out at nine")
    assert constraints.allows_measure(grill)
    assert (
        constraints.weight(grill) > constraints.weight(measure("two benches will be set up")) or "grill" not in comment
    )


def test_a_new_sentence_takes_over_no_ban() -> None:
    constraints = heard("No cameras. Lamps at the gate.")
    assert not allowed(constraints, "two cameras")
    assert allowed(constraints, "two lamps")
    assert not allowed(heard("no cameras, lamps"), "two lamps")


@pytest.mark.parametrize(
    "comment",
    [
        "No cameras\nfences\nguards",
        "No cameras. Or fences. Nor guards.",
        "No cameras, fences or. Guards",
        "No cameras. And fences. And guards.",
        "Neither cameras nor fences. Nor guards",
    ],
)
def test_a_ban_goes_on_over_lines_and_after_or(comment: str) -> None:
    constraints = heard(comment)
    for text in ("two cameras", "a fence", "a guard will walk by"):
        assert not allowed(constraints, text), text
    assert not constraints.liked | constraints.liked_subjects


@pytest.mark.parametrize("stop", [". ", "\n", ".\n", ", "])
def test_what_it_is_about_ends_a_ban(stop: str) -> None:
    constraints = heard(f"No meals together{stop}It is about grilling")
    assert constraints.allows_measure(measure("barbecues will go out at nine"))
    assert not allowed(constraints, "meals on Monday")


@pytest.mark.parametrize(
    ("comment", "texts"),
    [
        ("no barbecue after 10 pm", ["barbecues will go out at nine", "grills may be lit in one corner"]),
        ("No drums after ten", ["music and drums may be played until eight", "loud music will stop at ten"]),
        ("no cigarette butts on the ground", ["the ashtray will stand by the door"]),
        ("no shoes in the kitchen", ["the dishes may stand until noon"]),
        ("do not ban barbecues", ["barbecues will go out at nine", "charcoal will be kept dry"]),
        ("no barbecue ban", ["barbecues will go out at nine", "charcoal will be kept dry"]),
        ("Lift the ban on dogs", ["dogs may run by day"]),
        ("A ban on dogs is not acceptable", ["dogs may run by day"]),
    ],
)
def test_who_forbids_a_circumstance_or_a_ban_leaves_the_subject(comment: str, texts: list[str]) -> None:
    constraints = heard(comment)
    for text in texts:
        assert constraints.allows_measure(measure(text)), text


def test_what_stays_forbidden_beside_a_circumstance_or_a_ban() -> None:
    assert not allowed(heard("no barbecue after 10 pm"), "four days a week will be free of barbecues")
    assert not allowed(heard("no shoes in the kitchen"), "shoes may be worn")
    assert not allowed(heard("do not ban barbecues"), "a ban will be voted on")
    assert not allowed(heard("no barbecue ban, guards"), "a guard will walk by")
    assert not heard("a ban on cigarettes").allows_measure(measure("the ashtray will stand by the door"))
    assert not heard("No cigarettes at all, please!").allows_measure(measure("the ashtray will stand by the door"))
