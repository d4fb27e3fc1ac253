"""Which curves are drawn of a run's metrics: for one run, and for several in one chart each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ui.strings import say
from ui.train_curves import STYLES, Line, Point, chart, running_mean

Metrics = Sequence[Mapping[str, Any]]
"""Lines of a run's metrics.jsonl, in the order of their steps; see `trainer.progress.Reporter`."""

_SMOOTHED = 100  # values from which on a mean is drawn through them
_MEANS = 20  # so many stretches as long as the mean's window make up the curve, about


@dataclass(frozen=True)
class Curve:
    """One chart of a run.

    Attributes:
        name: of its title (``train.curve_NAME``) and of how to read it (``train.curve_NAME_about``).
        values: the metrics in it; of each, ``train.metric_NAME`` is what the legend calls it.
        noisy: they jump from step to step: a mean is drawn through what was measured often.
        fine_tuning: drawn of fine-tuning only (True), of the other recipes only (False), of all (None). Fine-tuning's
            loss is what the validation loss of all recipes measures: the negative log-likelihood of each token.
    """

    name: str
    values: tuple[str, ...]
    noisy: bool = False
    fine_tuning: bool | None = None


CURVES = (
    Curve("loss", ("loss", "validation_loss"), noisy=True, fine_tuning=True),
    Curve("loss", ("loss",), noisy=True, fine_tuning=False),
    Curve("likelihood", ("target_log_likelihood", "hypothesis_log_likelihood"), noisy=True, fine_tuning=False),
    Curve("validation", ("validation_loss",), fine_tuning=False),
    Curve("rouge", ("rouge1", "rougeL")),
    Curve("neutrality", ("gap", "warmth")),
    Curve("learning_rate", ("learning_rate",)),
    Curve("gradient_norm", ("gradient_norm",)),
)
"""In the order of the page."""


def curves(recipe: str, metrics: Metrics, language: str, key: str) -> str:
    """Return the charts of one run, those that have anything to show; ``key`` tells them from those of other runs."""
    wanted = [curve for curve in CURVES if curve.fine_tuning in (None, recipe == "sft")]
    last = float(metrics[-1]["step"]) if metrics else 0.0
    return "".join(_of_one(curve, metrics, language, key, last) for curve in wanted)


def compared_curves(runs: Sequence[tuple[str, Metrics]], language: str) -> str:
    """Return a chart for each metric that any run has, with a line for each run: its label (plain text), its values."""
    charts = ""
    noisy = {name: curve.noisy for curve in CURVES for name in curve.values}  # each once, in the order of the page
    for name in noisy:
        lines = [
            Line(label, _smooth(points) if noisy[name] else points, number % STYLES)
            for number, (label, metrics) in enumerate(runs)
            if (points := series(metrics, name))
        ]
        charts += chart(metric_name(name, language), lines, language, f"compare-{name}", legend=True)
    return charts


def series(metrics: Metrics, name: str) -> list[Point]:
    """Return (step, value) wherever a metric was measured."""
    return [
        (float(line["step"]), float(line[name]))
        for line in metrics
        if isinstance(line.get(name), int | float) and not isinstance(line[name], bool)
    ]


def latest(metrics: Metrics, name: str) -> float | None:
    """Return the last value of a metric; None where it was never measured."""
    return next((value for _, value in reversed(series(metrics, name))), None)


def metric_name(name: str, language: str) -> str:
    """Return what a metric is called. Plain text."""
    return say(language, f"train.metric_{name.lower()}")


def _of_one(curve: Curve, metrics: Metrics, language: str, key: str, last: float) -> str:
    lines: list[Line] = []
    for number, name in enumerate(curve.values):
        points, label = series(metrics, name), metric_name(name, language)
        if curve.noisy and len(points) >= _SMOOTHED:
            lines.append(Line(say(language, "train.each", label=label), points, number, pale=True))
            points, label = _smooth(points), say(language, "train.mean", label=label, count=_window(points))
        lines.append(Line(label, points, number))
    title = say(language, f"train.curve_{curve.name}")
    about = say(language, f"train.curve_{curve.name}_about")
    return chart(title, lines, language, f"{curve.name}-{key}", about, last)


def _window(points: Sequence[Point]) -> int:
    return max(2, len(points) // _MEANS)


def _smooth(points: Sequence[Point]) -> list[Point]:
    return running_mean(points, _window(points)) if len(points) >= _SMOOTHED else list(points)
