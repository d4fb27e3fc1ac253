"""The plane as HTML text: gap against warmth for every proposal of every round, as a chart and as a table."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from mediator.neutrality import WARMTH_FLOOR, gap_interval, pareto_front, tilt_kind
from mediator.schema import Candidate, Scores, Strategy
from mediator.session import Mark
from ui.components import Names, attributes, describe_scores, shortened, side_words
from ui.strings import decimal, figure, say

LONGEST_TOOLTIP = 400
"""Characters of a proposal's text that a point shows."""

LONGEST_START = 60
"""Characters of a proposal's text in the table."""

# Half the width and the height of a point in CSS pixels: the shapes cover about the same area.
_SHAPES = {
    "a": "M-7 0 L5 -6.5 L5 6.5 Z",
    "b": "M7 0 L-5 -6.5 L-5 6.5 Z",
    "equal": "M0 -5.5 A5.5 5.5 0 1 1 0 5.5 A5.5 5.5 0 1 1 0 -5.5 Z",
}
_TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class PlanePoint:
    """One proposal on the plane.

    Attributes:
        id: of the proposal.
        round: the number of its round.
        title: what its card is called. Plain text.
        text: its present wording. Plain text.
        scores: of that wording.
        selected: it is one of the selected of its round.
        mark: what the mediator thinks of it.
    """

    id: str
    round: int
    title: str
    text: str
    scores: Scores
    selected: bool = False
    mark: Mark = ""


def plane(points: Sequence[PlanePoint], names: Names, language: str) -> str:
    """The chart: gap to the right (0..1), warmth upwards (0..1), so the best is at the top on the left.

    A point's shape says which side it leans to; selected ones are larger, dropped ones hollow, kept ones ringed. A line
    joins those of which none is better in both gap and warmth, dropped ones left out. A point that is pointed at or has
    the focus shows its text, and a line over the interval of its gap where that is known: all of them at once would
    hide the points. Pressed, it carries ``data-action="show"``. Below is the same as a table.
    """
    front = _front(points)
    ordered = sorted(range(len(points)), key=lambda index: (points[index].selected, index in front))
    line = sorted((points[index] for index in front), key=lambda point: (point.scores.gap, point.scores.warmth))
    first = line[0].id if line else points[0].id if points else ""
    drawn = "".join(
        _point(points[index], index in front, points[index].id == first, names, language) for index in ordered
    )
    known = attributes(aria_label=say(language, "plane.label", count=len(points)), aria_describedby="eh-plane-how")
    nothing = "" if points else f'<p class="eh-plane-empty">{escape(say(language, "plane.empty"))}</p>'
    return (
        f'<section class="eh-plane" data-plane aria-labelledby="eh-plane-title">'
        f'<h2 id="eh-plane-title">{escape(say(language, "plane.title"))}</h2>'
        f'<p class="eh-quiet" id="eh-plane-how">{escape(say(language, "plane.how"))}</p>'
        f'<div class="eh-plane-frame"><span class="eh-axis-y" aria-hidden="true">'
        f"{escape(say(language, 'plane.warmth'))} ↑</span>{_ticks('y', language)}"
        f'<div class="eh-plot">{nothing}<svg role="group"{known}>'
        f"{_background(language)}{_front_line(line)}{drawn}"
        f'</svg><div class="eh-tip" aria-hidden="true" hidden></div></div>{_ticks("x", language)}'
        f'<span class="eh-axis-x" aria-hidden="true">{escape(say(language, "plane.gap"))} →</span></div>'
        f"{_key(names, language)}{_table(points, front, names, language)}</section>"
    )


def _front(points: Sequence[PlanePoint]) -> set[int]:
    """Return the places of the points that no other one beats in both gap and warmth, dropped ones left out."""
    candidates = {
        index: Candidate(text="-", strategy=Strategy.SINGLE, scores=point.scores)
        for index, point in enumerate(points)
        if point.mark != "dropped"
    }
    best = set(map(id, pareto_front(list(candidates.values()))))
    return {index for index, candidate in candidates.items() if id(candidate) in best}


def _place(scores: Scores) -> tuple[str, str]:
    return _right(scores.gap), _down(scores.warmth)


def _right(gap: float) -> str:
    return f"{100.0 * gap:.2f}%"


def _down(warmth: float) -> str:
    return f"{100.0 * (1.0 - warmth):.2f}%"


def _background(language: str) -> str:
    """The grid, the half that no text can reach (the higher score is at most 1), the floor, and where better is."""
    lines = "".join(
        f'<line class="eh-grid-line" x1="{_right(tick)}" x2="{_right(tick)}" y1="0" y2="100%"/>'
        f'<line class="eh-grid-line" x1="0" x2="100%" y1="{_down(tick)}" y2="{_down(tick)}"/>'
        for tick in _TICKS
    )
    floor = _down(WARMTH_FLOOR)
    below = attributes(x="100%", y=floor, dx="-6", dy="-6", text_anchor="end")
    better = attributes(x="9%", y="0", dy="15")
    return (
        '<g aria-hidden="true"><svg viewBox="0 0 100 100" preserveAspectRatio="none" width="100%" height="100%">'
        f'<path class="eh-beyond" d="M0 0 L100 0 L100 100 Z"/></svg>{lines}'
        f'<line class="eh-floor" x1="0" x2="100%" y1="{floor}" y2="{floor}"/>'
        f'<text class="eh-floor-label"{below}>{escape(say(language, "plane.floor"))}</text>'
        f'<text class="eh-better"{better}>↖ {escape(say(language, "plane.better"))}</text></g>'
    )


def _front_line(front: Sequence[PlanePoint]) -> str:
    pieces = []
    for start, end in pairwise(front):
        (x1, y1), (x2, y2) = _place(start.scores), _place(end.scores)
        pieces.append(f'<line class="eh-front-line" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>')
    return f'<g aria-hidden="true">{"".join(pieces)}</g>'


def _point(point: PlanePoint, front: bool, first: bool, names: Names, language: str) -> str:
    x, y = _place(point.scores)
    lean = _lean(point.scores)
    words = describe_scores(point.scores, names, language)
    title = _named(point, front, language)
    kept = '<circle class="eh-kept-ring" r="11"/>' if point.mark == "kept" else ""
    shown = attributes(
        _class="eh-point",
        x=x,
        y=y,
        width="1",
        height="1",
        overflow="visible",
        role="button",
        tabindex="0" if first else "-1",
        aria_label=f"{title}: {words}. {shortened(point.text, LONGEST_TOOLTIP)}",
        data_action="show",
        data_id=point.id,
        data_round=str(point.round),
        data_focus=f"point-{point.id}",
        data_gap=f"{point.scores.gap:.4f}",
        data_warmth=f"{point.scores.warmth:.4f}",
        data_lean=lean,
        data_mark=point.mark,
        data_selected="" if point.selected else None,
        data_front="" if front else None,
        data_title=title,
        data_said=f"{words} · {_figures(point.scores, language)}",
        data_text=shortened(point.text, LONGEST_TOOLTIP),
    )
    return (
        f'<svg{shown}><circle class="eh-hit" r="12"/><circle class="eh-focus-ring" r="14"/>{kept}'
        f'<path class="eh-shape" d="{_SHAPES[lean]}"/></svg>{_spread(point.scores)}'
    )


def _spread(scores: Scores) -> str:
    """The interval of the gap as a line through the point; seen while the point before it is looked at."""
    interval = gap_interval(scores)
    if interval is None:
        return ""
    ends = attributes(x1=_right(interval[0]), x2=_right(interval[1]), y1=_down(scores.warmth), y2=_down(scores.warmth))
    return f'<line class="eh-spread" aria-hidden="true"{ends}/>'


def _lean(scores: Scores) -> str:
    """Return the shape's name: that of the middle where nothing is known to lean."""
    kind = tilt_kind(scores)
    return kind[-1] if kind.endswith(("_a", "_b")) else "equal"


def _named(point: PlanePoint, front: bool, language: str) -> str:
    """Return a point's name with what is special about it."""
    remarks = [say(language, f"plane.{point.mark}")] if point.mark else []
    if front:
        remarks.append(say(language, "plane.on_front"))
    return f"{point.title} ({', '.join(remarks)})" if remarks else point.title


def _figures(scores: Scores, language: str) -> str:
    gap, interval = figure(language, scores.rounded().gap), gap_interval(scores)
    if interval is not None:
        gap = say(
            language,
            "plane.gap_between",
            gap=gap,
            low=figure(language, interval[0]),
            high=figure(language, interval[1]),
        )
    return say(language, "plane.figures", gap=gap, warmth=figure(language, scores.warmth))


def _ticks(axis: str, language: str) -> str:
    ticks = _TICKS if axis == "x" else tuple(reversed(_TICKS))
    body = "".join(f"<span>{decimal(language, f'{tick:g}')}</span>" for tick in ticks)
    return f'<div class="eh-ticks-{axis}" aria-hidden="true">{body}</div>'


def _key(names: Names, language: str) -> str:
    """What the shapes mean."""
    rows = [
        ("a", "", say(language, "plane.leans", side=side_words("a", names, language))),
        ("equal", "", say(language, "plane.equal")),
        ("b", "", say(language, "plane.leans", side=side_words("b", names, language))),
        ("equal", "dropped", say(language, "plane.key_dropped")),
        ("equal", "kept", say(language, "plane.key_kept")),
    ]
    body = "".join(
        f'<li><svg class="eh-point" viewBox="-12 -12 24 24" width="20" height="20" aria-hidden="true"'
        f'{attributes(data_lean=lean, data_mark=mark)}>{_ring(mark)}<path class="eh-shape" d="{_SHAPES[lean]}"/></svg>'
        f"{escape(text)}</li>"
        for lean, mark, text in rows
    )
    line = (
        '<li><svg viewBox="0 0 24 12" width="24" height="12" aria-hidden="true">'
        '<line class="eh-front-line" x1="0" y1="9" x2="24" y2="3"/></svg>'
        f"{escape(say(language, 'plane.key_front'))}</li>"
    )
    return f'<ul class="eh-plane-key">{body}{line}</ul>'


def _ring(mark: str) -> str:
    return '<circle class="eh-kept-ring" r="11"/>' if mark == "kept" else ""


def _table(points: Sequence[PlanePoint], front: set[int], names: Names, language: str) -> str:
    """The same as a table, by rounds."""
    heads = "".join(
        f'<th scope="col">{escape(say(language, f"plane.{name}"))}</th>'
        for name in ("round", "option", "gap", "warmth", "in_words", "text")
    )
    rows = "".join(_row(point, index in front, names, language) for index, point in enumerate(points))
    summary = escape(say(language, "plane.as_table"))
    label = attributes(aria_label=say(language, "plane.table_label"))
    return (
        f'<details class="eh-fold eh-plane-table" data-key="plane-table"><summary>{summary}</summary>'
        f'<div class="eh-table-frame" role="region" tabindex="0" data-scroll="plane-table"{label}>'
        f'<table class="eh-table"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div></details>'
    )


def _row(point: PlanePoint, front: bool, names: Names, language: str) -> str:
    cells = (
        str(point.round),
        figure(language, point.scores.rounded().gap),
        figure(language, point.scores.warmth),
        describe_scores(point.scores, names, language),
        shortened(point.text, LONGEST_START),
    )
    round_number, gap, warmth, words, start = map(escape, cells)
    shown = attributes(
        data_action="show",
        data_id=point.id,
        data_round=str(point.round),
        data_focus=f"row-{point.id}",
    )
    name = escape(_named(point, front, language))
    return (
        f'<tr><td class="eh-number">{round_number}</td>'
        f'<td><button type="button" class="eh-link"{shown}>{name}</button></td>'
        f'<td class="eh-number">{gap}</td><td class="eh-number">{warmth}</td><td>{words}</td>'
        f'<td dir="auto">{start}</td></tr>'
    )
