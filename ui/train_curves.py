"""Line charts of what is measured while a model learns, as HTML and SVG text, each with the same as a table."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from ui.components import attributes
from ui.strings import say
from ui.train_words import figure

MOST_POINTS = 400
"""Points that one line is drawn with; of more, each stretch keeps its lowest and its highest."""

MOST_ROWS = 20
"""Rows of the table below a chart."""

STYLES = 6
"""Kinds of lines that can be told apart, by their dashes as well as by their colour."""

_DOTS = 40  # with fewer points, each is marked
_TICKS = 4  # stretches between the lines across, at most

Point = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Attributes:
        label: what the legend calls it. Plain text.
        points: (step, value), in the order of the steps; values may be any float.
        style: 0..`STYLES` - 1.
        pale: drawn thin, behind the others, and left out of the table: the single values behind a mean.
    """

    label: str
    points: Sequence[Point]
    style: int = 0
    pale: bool = False

    @property
    def finite(self) -> list[Point]:
        """The points that can be drawn."""
        return [point for point in self.points if math.isfinite(point[1])]


def chart(
    title: str, lines: Sequence[Line], language: str, key: str, about: str = "", last: float = 0.0, legend: bool = False
) -> str:
    """Draw lines over steps; empty text where no line has a point.

    Args:
        title: what is measured. Plain text.
        lines: at least one point in at least one of them.
        language: of the page.
        key: unlike that of every other chart of the page: what the reader opened stays open by it.
        about: one sentence on how to read it. Plain text.
        last: the last step of the page's charts, so that all of them have the same width; at least the lines' own.
        legend: name the line also where it is the only one.
    """
    lines = [line for line in lines if line.finite]
    if not lines:
        return ""
    values = [value for line in lines for _, value in line.finite]
    steps = [step for line in lines for step, _ in line.finite]
    low, high = _room(min(values), max(values))
    last, ticks = max(last, max(steps), 1.0), nice_ticks(low, high)
    heights = [_down(tick, low, high) for tick in ticks]
    across = "".join(f'<line class="eh-grid-line" x1="0" x2="100" y1="{y}" y2="{y}"/>' for y in heights)
    drawn = "".join(_line(line, last, low, high) for line in sorted(lines, key=lambda line: not line.pale))
    told = [line for line in lines if not line.pale] or lines
    now = "" if len(lines) > 1 or legend else _now(lines[0], language)
    label = attributes(aria_label=f"{title}: {'; '.join(_in_words(line, language) for line in told)}")
    numbers = _ticks(ticks, heights, language)
    said = f'<p class="eh-chart-about">{escape(about)}</p>' if about else ""
    key_below = _legend(lines, language) if len(lines) > 1 or legend else ""
    return (
        f'<figure class="eh-chart"{attributes(data_chart=key)}><figcaption><span class="eh-chart-title">{escape(title)}'
        f"</span>{now}</figcaption>"
        f"{said}"
        f'<div class="eh-chart-frame"><div class="eh-chart-y" aria-hidden="true">{numbers}</div>'
        f'<svg class="eh-chart-plot" viewBox="0 0 100 100" preserveAspectRatio="none" role="img"{label}>'
        f"{across}{drawn}</svg>"
        f'<div class="eh-chart-x" aria-hidden="true"><span>0</span><span>{escape(say(language, "train.step"))}</span>'
        f"<span>{last:.0f}</span></div></div>{key_below}{_table(title, told, language, key)}</figure>"
    )


def thinned(points: Sequence[Point], most: int = MOST_POINTS) -> list[Point]:
    """Return at most so many of the points, in their order: of each stretch the lowest and the highest.

    The first and the last stay. What a line is drawn with looks the same, spikes included.
    """
    if len(points) <= most:
        return list(points)
    inner, stretches = points[1:-1], max(1, (most - 2) // 2)
    kept = [points[0]]
    for number in range(stretches):
        stretch = inner[number * len(inner) // stretches : (number + 1) * len(inner) // stretches]
        lowest, highest = (choose(range(len(stretch)), key=lambda at: stretch[at][1]) for choose in (min, max))
        kept += [stretch[at] for at in sorted({lowest, highest})]
    return [*kept, points[-1]]


def running_mean(points: Sequence[Point], count: int) -> list[Point]:
    """Return, at each point, the mean of it and the up to ``count`` - 1 points before it."""
    found: list[Point] = []
    total = 0.0
    for at, (step, value) in enumerate(points):
        total += value
        if at >= count:
            total -= points[at - count][1]
        found.append((step, total / min(at + 1, count)))
    return found


def nice_ticks(low: float, high: float) -> list[float]:
    """Return two to five round numbers, evenly spaced, between ``low`` and ``high``, which must be larger."""
    rough = (high - low) / _TICKS
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1.0, 2.0, 2.5, 5.0, 10.0) if size * factor >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def _room(low: float, high: float) -> tuple[float, float]:
    """Return the range that is drawn: a little more than that of the values."""
    size = max(abs(low), abs(high))
    flat = high - low <= max(1e-9 * size, 1e-300)
    margin = (0.1 * size or 0.5) if flat else 0.05 * (high - low)
    return low - margin, high + margin


def _line(line: Line, last: float, low: float, high: float) -> str:
    points = thinned(line.finite)
    places = [f"{100 * step / last:.2f} {_down(value, low, high)}" for step, value in points]
    kind = f"eh-line eh-line-{line.style % STYLES}{' eh-line-pale' if line.pale else ''}"
    path = f'<path class="{kind}" d="M{" L".join(places)}"/>' if len(places) > 1 else ""
    if len(places) > _DOTS or line.pale:
        return path
    dots = " ".join(f"M{place} h0" for place in places)
    return f'{path}<path class="{kind} eh-dots" d="{dots}"/>'


def _down(value: float, low: float, high: float) -> str:
    return f"{100 * (high - value) / (high - low):.2f}"


def _ticks(ticks: Sequence[float], heights: Sequence[str], language: str) -> str:
    # As many digits as the round numbers have.
    near = 1e-6 * max(map(abs, ticks))
    digits = next((n for n in range(1, 7) if all(abs(float(f"{tick:.{n}g}") - tick) < near for tick in ticks)), 7)
    words = [figure(tick, language, digits) for tick in ticks]
    rows = zip(words, heights, strict=True)
    return "".join(f'<span style="top:{height}%">{escape(word)}</span>' for word, height in rows)


def _in_words(line: Line, language: str) -> str:
    points = line.finite
    lowest, highest = min(points, key=lambda point: point[1]), max(points, key=lambda point: point[1])
    return say(
        language,
        "train.chart_words",
        label=line.label,
        first=figure(points[0][1], language),
        last=figure(points[-1][1], language),
        step=f"{points[-1][0]:.0f}",
        lowest=figure(lowest[1], language),
        highest=figure(highest[1], language),
    )


def _legend(lines: Sequence[Line], language: str) -> str:
    """The name of each line and its last value."""
    rows = "".join(
        '<li><svg viewBox="0 0 34 8" width="34" height="8" aria-hidden="true">'
        f'<path class="eh-line eh-line-{line.style % STYLES}{" eh-line-pale" if line.pale else ""}" d="M1 4 L33 4"/>'
        f"</svg>{escape(line.label)}{'' if line.pale else _now(line, language)}</li>"
        for line in lines
    )
    return f'<ul class="eh-chart-key">{rows}</ul>'


def _now(line: Line, language: str) -> str:
    return f' <span class="eh-chart-now">{escape(figure(line.finite[-1][1], language))}</span>'


def _table(title: str, lines: Sequence[Line], language: str, key: str) -> str:
    """The same as a table: the steps at which any line has a value, at most `MOST_ROWS` of them, evenly."""
    found = [dict(line.points) for line in lines]
    steps = sorted({step for line in found for step in line})
    shown = steps
    if len(steps) > MOST_ROWS:
        shown = [steps[round(at * (len(steps) - 1) / (MOST_ROWS - 1))] for at in range(MOST_ROWS)]
    heads = "".join(f'<th scope="col" class="eh-number">{escape(line.label)}</th>' for line in lines)
    rows = "".join(
        f'<tr><th scope="row" class="eh-number">{step:.0f}</th>'
        + "".join(
            f'<td class="eh-number">{escape(figure(line[step], language, 4)) if step in line else ""}</td>'
            for line in found
        )
        + "</tr>"
        for step in shown
    )
    some = say(language, "train.table_some", shown=len(shown), all=len(steps)) if shown is not steps else ""
    label = attributes(aria_label=say(language, "train.table_label", title=title))
    return (
        f'<details class="eh-fold"{attributes(data_key=f"table-{key}")}><summary>'
        f"{escape(say(language, 'train.as_table'))}</summary>"
        f'<div class="eh-table-frame" role="region" tabindex="0"{attributes(data_scroll=f"table-{key}")}{label}>'
        f'<table class="eh-table">{f"<caption>{escape(some)}</caption>" if some else ""}<thead><tr>'
        f'<th scope="col" class="eh-number">{escape(say(language, "train.step"))}</th>{heads}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div></details>"
    )
