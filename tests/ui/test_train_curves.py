"""The curves of training: drawn where the values say, thinned without losing a spike, and readable as a table."""

import math
import re

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.html import Reader, anything, stays_text

from ui.train_curves import MOST_POINTS, MOST_ROWS, STYLES, Line, chart, nice_ticks, running_mean, thinned
from ui.train_metrics import CURVES, compared_curves, curves, latest, series

ordinary = st.floats(-1e6, 1e6, allow_nan=False)


def paths(html):
    return [attributes for attributes in Reader(html).all("path") if "eh-dots" not in attributes["class"]]


def drawn(html):
    """The points of each line in the plot, from left to right and from the top, each 0..100."""
    plot = re.search(r'<svg class="eh-chart-plot".*?</svg>', html, re.DOTALL).group()
    return [
        [tuple(map(float, point.split())) for point in attributes["d"][1:].split(" L")] for attributes in paths(plot)
    ]


def test_a_line_goes_where_its_values_say():
    # The range is 1..3 with a margin of a twentieth of it: 0.9..3.1; so 1 lies 2.1/2.2 of the height below the top.
    (line,) = drawn(chart("Loss", [Line("Loss", [(1, 3.0), (5, 2.0), (10, 1.0)])], "en", "k"))
    assert line == [(10.0, 4.55), (50.0, 50.0), (100.0, 95.45)]


def test_all_charts_of_a_run_have_the_same_width():
    (line,) = drawn(chart("Loss", [Line("Loss", [(5, 3.0), (10, 2.0)])], "en", "k", last=20))
    assert [x for x, _ in line] == [25.0, 50.0]


def test_a_single_value_and_a_flat_line_are_seen():
    html = chart("Loss", [Line("Loss", [(1, 2.0)])], "en", "k")
    assert 'd="M100.00 50.00 h0"' in html
    for value in (0.0, 7.0, -3e-7):
        (line,) = drawn(chart("Loss", [Line("Loss", [(1, value), (2, math.nextafter(value, 9.0))])], "en", "k"))
        assert line == [(50.0, 50.0), (100.0, 50.0)]


def test_nothing_is_drawn_of_nothing():
    assert chart("Loss", [], "en", "k") == ""
    assert chart("Loss", [Line("Loss", [])], "en", "k") == ""
    assert chart("Loss", [Line("Loss", [(1, math.nan), (2, math.inf)])], "en", "k") == ""


def test_what_is_no_number_is_left_out_of_the_line():
    (line,) = drawn(chart("Loss", [Line("Loss", [(1, 1.0), (2, math.nan), (4, 2.0)])], "en", "k"))
    assert [x for x, _ in line] == [25.0, 100.0]


@given(st.lists(ordinary, max_size=3000), st.integers(10, MOST_POINTS))
@settings(deadline=None, max_examples=60)
def test_thinning_keeps_the_ends_the_extremes_and_the_order(values, most):
    points = [(float(step), value) for step, value in enumerate(values)]
    kept = thinned(points, most)
    assert len(kept) <= most or len(points) <= most
    assert kept == sorted(set(kept))
    assert set(kept) <= set(points)
    if points:
        assert (kept[0], kept[-1]) == (points[0], points[-1])
        assert min(value for _, value in kept) == min(values)
        assert max(value for _, value in kept) == max(values)


def test_a_long_run_is_drawn_with_few_points():
    points = [(float(step), math.sin(step)) for step in range(50_000)]
    html = chart("Loss", [Line("Loss", points)], "en", "k")
    (line,) = drawn(html)
    assert len(line) <= MOST_POINTS
    assert len(html) < 20_000


def test_the_running_mean_is_that_of_the_values_so_far():
    points = [(1, 1.0), (2, 3.0), (3, 8.0), (4, 1.0)]
    assert running_mean(points, 2) == [(1, 1.0), (2, 2.0), (3, 5.5), (4, 4.5)]
    assert running_mean(points, 1) == points
    assert running_mean([], 3) == []


@given(ordinary, st.floats(1e-9, 1e6))
def test_ticks_are_round_and_inside(low, width):
    high = low + width
    assume(width > 1e-9 * abs(low))
    ticks = nice_ticks(low, high)
    slack = 1e-6 * (high - low)
    assert 1 <= len(ticks) <= 6
    assert low - slack <= ticks[0] <= ticks[-1] <= high + slack


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.37, 0.45, ["0.38", "0.4", "0.42", "0.44"]),
        (0.0, 3.2e-5, ["0", "1e-5", "2e-5", "3e-5"]),
        (-7.0, -2.0, ["-6", "-4", "-2"]),
        (0.0, 40_000.0, ["0", "10000", "20000", "30000", "40000"]),
    ],
)
def test_ticks_are_written_with_the_digits_they_have(low, high, words):
    margin = 0.05 / 1.1 * (high - low)  # the chart adds it again
    html = chart("T", [Line("T", [(1, low + margin), (2, high - margin)])], "en", "k")
    shown = re.search(r'<div class="eh-chart-y".*?</div>', html).group()
    assert Reader(shown).texts == words


def test_lines_differ_by_their_dashes_and_have_their_name_and_last_value_beside():
    lines = [Line(f"Run {number}", [(1, 1.0), (2, float(number))], number) for number in range(STYLES)]
    html = chart("Loss", lines, "en", "k")
    kinds = [attributes["class"] for attributes in paths(html)]
    assert len(set(kinds)) == STYLES
    key = re.search(r'<ul class="eh-chart-key">.*?</ul>', html).group()
    assert [f"Run {number} {number}" for number in range(STYLES)] == re.findall(r"Run \d \d", Reader(key).text)


def test_the_legend_shows_the_dashes_of_its_line():
    html = chart("Loss", [Line("One", [(1, 1.0), (2, 2.0)], 3), Line("Two", [(1, 1.0), (2, 2.0)], 1)], "en", "k")
    in_plot, in_key = html.split('<ul class="eh-chart-key">')
    classes = [re.findall(r'<path class="(eh-line eh-line-\d)"', part) for part in (in_plot, in_key)]
    assert classes[0] == classes[1] == ["eh-line eh-line-3", "eh-line eh-line-1"]


def test_the_same_is_there_as_a_table_and_in_words():
    html = Reader(chart("Loss", [Line("Train", [(1, 3.25), (2, 2.5)]), Line("Valid", [(2, 4.0)], 1)], "en", "k"))
    assert html.balanced
    label = html.one("svg", role="img")["aria-label"]
    assert label == (
        "Loss: Train: from 3.25 to 2.5 at step 2, between 2.5 and 3.25; Valid: from 4 to 4 at step 2, between 4 and 4"
    )
    cells = re.findall(r"<t[dh]\b[^>]*>(.*?)</t[dh]>", chart("Loss", [Line("Train", [(1, 3.25), (2, 2.5)])], "en", "k"))
    assert cells == ["Step", "Train", "1", "3.25", "2", "2.5"]


def test_a_long_table_shows_some_rows_and_says_so():
    html = Reader(chart("Loss", [Line("Loss", [(step, 1.0 / step) for step in range(1, 1001)])], "en", "k"))
    assert len(html.all("th", scope="row")) == MOST_ROWS
    assert f"{MOST_ROWS} of 1000 steps" in html.text
    assert "1000" in html.texts  # the last one is there


@given(text=anything)
@settings(deadline=None, max_examples=30)
def test_text_stays_text(text):
    assert stays_text(
        lambda value: chart(value, [Line(value, [(1, 1.0)])], "en", value, about=value, legend=True), text
    )


# -- which curves a run has


def metrics(count=10, **values):
    return [{"step": step, "steps": count, "loss": 2.0 / step, **values} for step in range(1, count + 1)]


def charts(html):
    return [attributes["data-chart"].rpartition("-")[0] for attributes in Reader(html).all("figure", data_chart=True)]


def test_a_run_has_the_charts_of_what_was_measured():
    assert charts(curves("nce", metrics(), "en", "r")) == ["loss"]
    every = {name: 0.5 for curve in CURVES for name in curve.values}
    html = curves("nce", metrics(**every), "en", "r")
    common = ["rouge", "neutrality", "learning_rate", "gradient_norm"]
    assert charts(html) == ["loss", "likelihood", "validation", *common]
    # Fine-tuning's loss is the validation loss's kin: one chart. Its likelihood would be the same curve once more.
    assert charts(curves("sft", metrics(**every), "en", "r")) == ["loss", *common]
    assert Reader(html).balanced
    assert curves("nce", [], "en", "r") == ""


def test_a_short_curve_is_drawn_as_it_is_and_a_long_one_with_its_mean():
    assert len(drawn(curves("nce", metrics(20), "en", "r"))) == 1
    html = curves("nce", metrics(200), "en", "r")
    assert [("pale" in attributes["class"]) for attributes in paths(html)[:2]] == [True, False]
    assert "mean of 10" in Reader(html).text


def test_what_was_not_measured_is_left_out():
    lines = [{"step": 1, "loss": 2.0}, {"step": 2, "rouge1": 0.25}, {"step": 3, "loss": True, "rouge1": "x"}]
    assert series(lines, "loss") == [(1.0, 2.0)]
    assert (latest(lines, "rouge1"), latest(lines, "gap")) == (0.25, None)


def test_several_runs_share_a_chart_for_each_metric():
    runs = [("① SFT", metrics()), ("② NCE", metrics(rouge1=0.3))]
    html = compared_curves(runs, "en")
    assert charts(html) == ["compare", "compare"]
    first, second = re.findall(r"<figure.*?</figure>", html, re.DOTALL)
    assert "① SFT" in first
    assert "② NCE" in first
    assert "① SFT" not in second
    # A run has the same dashes in every chart, also where it is alone.
    assert "eh-line-1" in re.search(r'<svg class="eh-chart-plot".*?</svg>', second, re.DOTALL).group()
