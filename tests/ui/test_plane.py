"""ui/plane.py: every proposal is a point where its scores say, can be reached without a mouse, and is in the table."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.html import Reader, anything, stays_text

from mediator.schema import Scores
from ui.components import Names, names_of
from ui.plane import PlanePoint, plane

NOBODY = names_of("", "", "en")


def scores(a, b, half=None):
    known = {} if half is None else {"tilt_low": a - b - half, "tilt_high": a - b + half}
    return Scores(score_a=a, score_b=b, raw_a=0.5, raw_b=0.5, **known)


def point(identity="p1", a=0.8, b=0.8, **more):
    return PlanePoint(identity, more.pop("round", 1), more.pop("title", "Proposal 1"), more.pop("text", "Share."),
                      scores(a, b, more.pop("half", None)), **more)  # fmt: skip


def points_of(html):
    return Reader(html).all("svg", data_action="show")


BUILDERS = {
    "text": lambda text: plane([point(text=text)], NOBODY, "en"),
    "title": lambda text: plane([point(title=text)], NOBODY, "en"),
    "id": lambda text: plane([point(identity=text)], NOBODY, "en"),
    "names": lambda text: plane([point(a=0.9, b=0.2)], Names(text, text), "de"),
}


@pytest.mark.parametrize("name", BUILDERS)
@settings(deadline=None, max_examples=40)
@given(text=anything)
def test_text_stays_text(name, text):
    assert stays_text(BUILDERS[name], text)


@settings(deadline=None, max_examples=60)
@given(pairs=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=30))
def test_a_point_stands_where_its_scores_say(pairs):
    given_points = [point(f"p{index}", a, b) for index, (a, b) in enumerate(pairs)]
    html = plane(given_points, NOBODY, "en")
    drawn = {each["data-id"]: each for each in points_of(html)}
    assert len(drawn) == len(pairs)
    for each in given_points:
        shown = drawn[each.id]
        assert abs(float(shown["x"].removesuffix("%")) - 100 * each.scores.gap) < 0.01
        assert abs(float(shown["y"].removesuffix("%")) - 100 * (1 - each.scores.warmth)) < 0.01
    # One point is on the way of the Tab key; the arrow keys lead to the others.
    assert [shown["tabindex"] for shown in drawn.values()].count("0") == min(1, len(pairs))
    assert Reader(html).balanced


def test_a_points_shape_and_words_say_where_it_leans():
    html = plane([point("a", 0.9, 0.5), point("b", 0.5, 0.9), point("e", 0.7, 0.7)], names_of("Ann", "", "en"), "en")
    drawn = {each["data-id"]: each for each in points_of(html)}
    assert [drawn[name]["data-lean"] for name in "abe"] == ["a", "b", "equal"]
    shapes = [shape["d"] for shape in Reader(html).all("path", _class="eh-shape")[:3]]
    assert len(set(shapes)) == 3
    assert "much closer to A (Ann)" in drawn["a"]["aria-label"]
    assert "gap 0.40, warmth 0.50" in drawn["b"]["data-said"]
    assert all(each["role"] == "button" for each in drawn.values())


def test_a_point_leans_only_where_it_can_be_told_to_and_shows_the_interval_of_its_gap():
    html = plane([point("far", 0.9, 0.5, half=0.25), point("unclear", 0.9, 0.5, half=0.5)], NOBODY, "en")
    drawn = {each["data-id"]: each for each in points_of(html)}
    assert [drawn[name]["data-lean"] for name in ("far", "unclear")] == ["a", "equal"]
    assert "gap 0.40 (0.15 to 0.65)" in drawn["far"]["data-said"]
    assert "cannot tell them apart" in drawn["unclear"]["aria-label"]
    lines = [(line["x1"], line["x2"], line["y1"]) for line in Reader(html).all("line", _class="eh-spread")]
    assert lines == [("15.00%", "65.00%", "50.00%"), ("0.00%", "90.00%", "50.00%")]
    assert "eh-spread" not in plane([point()], NOBODY, "en")


def test_the_front_is_marked_and_leaves_out_what_was_dropped():
    best, worse, warm = point("best", 0.7, 0.7), point("worse", 0.7, 0.6), point("warm", 0.9, 0.8)
    dropped = point("gone", 0.99, 0.99, mark="dropped")
    html = plane([worse, warm, best, dropped], NOBODY, "en")
    drawn = {each["data-id"]: each for each in points_of(html)}
    assert [name for name, each in drawn.items() if "data-front" in each] == ["warm", "best"]
    lines = Reader(html).all("line", _class="eh-front-line", x1="0.00%")
    assert [(line["y1"], line["x2"], line["y2"]) for line in lines] == [("30.00%", "10.00%", "20.00%")]
    assert "dropped" in drawn["gone"]["aria-label"]
    assert drawn["best"]["tabindex"] == "0"


def test_selected_and_kept_points_stand_out():
    html = plane([point("p1", selected=True, mark="kept"), point("p2")], NOBODY, "en")
    drawn = {each["data-id"]: each for each in points_of(html)}
    assert "data-selected" in drawn["p1"]
    assert "data-selected" not in drawn["p2"]
    assert "kept" in drawn["p1"]["aria-label"]
    rings = Reader(html).all("circle", _class="eh-kept-ring")
    assert len(rings) == 2  # the point's and the key's


def test_the_floor_and_the_better_corner_are_named():
    read = Reader(plane([point()], NOBODY, "en"))
    assert read.one("line", _class="eh-floor")["y1"] == "50.00%"
    assert "below: far from a side" in read.texts
    assert "↖ better" in read.texts


def test_the_table_has_every_point():
    html = plane(
        [point("p1", 0.9, 0.5, round=1), point("p2", round=2, title="Proposal 2", mark="kept", text="word " * 50)],
        NOBODY,
        "en",
    )
    read = Reader(html)
    assert [head["scope"] for head in read.all("th")] == ["col"] * 6
    assert read.tags.count("tr") == 3
    rows = read.texts[read.texts.index("Begins") + 1 :]
    assert rows[:6] == ["1", "Proposal 1", "0.40", "0.50", "much closer to A, fairly close to both", "Share."]
    assert rows[6:8] == ["2", "Proposal 2 (kept, none better in both)"]
    assert len(rows[11]) <= 60
    assert [(button["data-action"], button["data-id"], button["data-round"]) for button in read.all("button")] == [
        ("show", "p1", "1"),
        ("show", "p2", "2"),
    ]


def test_an_empty_plane_says_what_comes():
    read = Reader(plane([], NOBODY, "de"))
    assert "Hier erscheinen die Vorschläge als Punkte." in read.texts
    assert read.balanced


def test_two_hundred_points_stay_within_reason():
    html = plane([point(f"p{index}", index / 200, 0.5, text="word " * 200) for index in range(200)], NOBODY, "en")
    assert len(points_of(html)) == 200
    assert len(html) < 500_000


def test_figures_have_commas_in_german_and_points_for_machines():
    html = plane([point(a=0.8, b=0.55), point("p2", a=0.7, b=0.6, half=0.1)], NOBODY, "de")
    assert not re.search(r"\d\.\d", Reader(html).text)
    assert {"0,25", "0,75"} <= set(Reader(html).texts)
    assert [float(found["data-gap"]) for found in points_of(html)] == [0.25, 0.1]
