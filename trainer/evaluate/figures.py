"""Measurements as PNG figures: bars with their 95 % intervals, the gaps pair by pair, likelihoods before and after."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

from mediator.errors import MissingExtraError
from trainer.evaluate.measure import CANDIDATES, Figure, Measurement

# Okabe and Ito's palette: told apart with any kind of colour vision.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
INK, QUIET = "#222222", "#777777"
_LABEL = 14  # characters in a line below a bar


def new_axes(width: float, height: float) -> tuple[Any, Any]:
    """Return a drawing and its axes. The canvas is made here: no window opens, whatever backend is set."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure as Drawing
    except ImportError as error:
        raise MissingExtraError("Figures need matplotlib.", "Run: pip install 'evenhand[train]'") from error
    drawing = Drawing(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(drawing)
    axes = drawing.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK)
    return drawing, axes


def save_drawing(drawing: Any, path: Path) -> Path:
    """Write a drawing as PNG and return the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Without the date and the version, the same measurement gives the same file.
    drawing.savefig(path, format="png", metadata={"Software": None})
    return path


def _error(figure: Figure) -> tuple[list[float], list[float]]:
    return [max(figure.mean - figure.low, 0.0)], [max(figure.high - figure.mean, 0.0)]


def bars(
    measurement: Measurement,
    names: Mapping[str, str],
    path: Path,
    title: str,
    published: Mapping[str, Mapping[str, float]] | None = None,
) -> Path:
    """Draw a group of bars for each row, one bar for each figure, with 95 % intervals.

    Args:
        measurement: to draw.
        names: figure -> its name in the legend.
        path: of the PNG.
        title: above the drawing.
        published: row -> figure -> the paper's value, drawn as a diamond.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    rows = list(measurement.rows)
    drawing, axes = new_axes(max(5.0, 1.1 * len(rows) + 1.5), 3.6)
    width = 0.8 / len(names)
    marked = False
    for number, (name, words) in enumerate(names.items()):
        for place, row in enumerate(rows):
            figure = measurement.rows[row].get(name)
            if figure is None or not figure.counted:
                continue
            x = place + (number - (len(names) - 1) / 2) * width
            axes.bar(
                x,
                figure.mean,
                width * 0.92,
                yerr=_error(figure),
                color=COLOURS[number % len(COLOURS)],
                ecolor=INK,
                capsize=3,
                label=words if place == 0 else None,
            )
            value = (published or {}).get(row, {}).get(name)
            if value is not None:
                axes.plot(x, value, "D", color="white", markeredgecolor=INK, label=None if marked else "the paper")
                marked = True
    axes.set_xticks(range(len(rows)), [fill(row, _LABEL) for row in rows])
    axes.set_title(title, loc="left", color=INK)
    axes.legend(frameon=False)
    return save_drawing(drawing, path)


def gaps(measurement: Measurement, path: Path, title: str) -> Path:
    """Draw |score_A - score_B| of every pair, a box for each model, and the candidates' mean as a line (Figure 4)."""
    rows = [row for row in measurement.rows if row != CANDIDATES]
    drawing, axes = new_axes(max(5.0, 1.1 * len(rows) + 1.5), 3.6)
    for place, row in enumerate(rows):
        figure = measurement.rows[row]["gap"]
        values = [value for value in figure.values if value is not None]
        colour = COLOURS[place % len(COLOURS)]
        axes.plot(_spread(values, place), values, ".", color=colour, alpha=0.35, markersize=5, zorder=1)
        if values:
            axes.boxplot(
                [values],
                positions=[place],
                widths=0.5,
                showfliers=False,
                medianprops={"color": INK},
                boxprops={"color": INK},
                zorder=2,
            )
        axes.errorbar(
            place,
            figure.mean,
            yerr=_error(figure),
            fmt="D",
            color=colour,
            markeredgecolor=INK,
            ecolor=INK,
            capsize=3,
            zorder=3,
        )
    if CANDIDATES in measurement.rows:
        figure = measurement.rows[CANDIDATES]["gap"]
        axes.axhline(figure.mean, color=QUIET, linestyle="--", label=f"the data set's candidates ({figure.mean:.3f})")
        axes.axhspan(figure.low, figure.high, color=QUIET, alpha=0.15)
        axes.legend(frameon=False)
    axes.set_xticks(range(len(rows)), [fill(row, _LABEL) for row in rows])
    axes.set_xlim(-0.6, len(rows) - 0.4)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("|score A - score B|")
    axes.set_title(title, loc="left", color=INK)
    return save_drawing(drawing, path)


def _spread(values: Sequence[float], place: int) -> list[float]:
    """Places beside each other, in a fixed pattern: the golden ratio never piles up neighbours."""
    return [place + 0.4 * ((number * 0.6180339887) % 1.0 - 0.5) for number in range(len(values))]


def likelihoods(measurement: Measurement, path: Path, title: str) -> Path:
    """Draw the average log-likelihood of a token as dots with intervals: it is negative, and 0 is far away."""
    rows = list(measurement.rows)
    drawing, axes = new_axes(6.0, 0.5 * len(rows) + 1.3)
    for place, row in enumerate(rows):
        figure = measurement.rows[row]["log_likelihood"]
        axes.errorbar(
            figure.mean, place, xerr=_error(figure), fmt="o", color=COLOURS[place % len(COLOURS)], ecolor=INK, capsize=3
        )
    first = measurement.rows[rows[0]]["log_likelihood"].mean
    axes.axvline(first, color=QUIET, linestyle="--", linewidth=1)
    axes.set_yticks(range(len(rows)), rows)
    axes.invert_yaxis()
    axes.set_xlabel("average log-likelihood of a token, nats; more to the right: less forgotten")
    axes.set_title(title, loc="left", color=INK)
    return save_drawing(drawing, path)


def draw(measurement: Measurement, folder: Path) -> list[Path]:
    """Draw whatever a measurement has into a folder; return the files. A measurement without rows has no figure."""
    if not measurement.rows:
        return []
    path = folder / f"{measurement.subject}.png"
    if measurement.subject == "neutrality":
        return [gaps(measurement, path, f"Distance from neutrality, {len(measurement.pairs)} pairs")]
    if measurement.subject == "forgetting":
        return [likelihoods(measurement, path, "What is left of ordinary prose")]
    title = f"ROUGE F, {len(measurement.pairs)} pairs"
    return [bars(measurement, {"rouge1": "ROUGE-1", "rougeL": "ROUGE-L"}, path, title)]
