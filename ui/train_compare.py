"""Several runs of training side by side as HTML text: their curves in one chart each, and what tells them apart."""

from collections.abc import Sequence
from html import escape
from typing import Any

from trainer.runs.runs import Run
from ui.components import attributes
from ui.strings import say
from ui.train_curves import STYLES
from ui.train_metrics import Metrics, compared_curves, latest, metric_name, series
from ui.train_settings import RECIPES, choice_words, label_of
from ui.train_words import figure, moment

_RESULTS = (
    "loss", "validation_loss", "target_log_likelihood", "hypothesis_log_likelihood", "rouge1", "rougeL", "gap",
    "warmth", "samples_per_second", "tokens_per_second",
)  # fmt: skip


def comparison(runs: Sequence[tuple[str, Run, Metrics]], language: str) -> str:
    """Return the comparison of two or more runs; of one, how to choose a second; of none, nothing.

    Args:
        runs: what each is called (plain text), the run, its metrics.
        language: of the page.
    """
    if not runs:
        return ""
    opening = '<section class="eh-train-compare" aria-labelledby="eh-train-compare">'
    heading = f'<h3 id="eh-train-compare">{escape(say(language, "train.comparison"))}</h3>'
    if len(runs) == 1:
        more = escape(say(language, "train.compare_more"))
        return f'{opening}{heading}<p class="eh-quiet">{more}</p></section>'
    labels = [f"{chr(ord('①') + number)} {title}" for number, (title, _, _) in enumerate(runs)]
    charts = compared_curves([(label, metrics) for label, (_, _, metrics) in zip(labels, runs, strict=True)], language)
    clear = escape(say(language, "train.compare_end"))
    return (
        f"{opening}<header>{heading}"
        f'<button type="button" class="eh-button" data-act="compare-end" data-focus="compare-end">{clear}</button>'
        f'</header><div class="eh-charts">{charts}</div>{_differences(labels, runs, language)}</section>'
    )


def differing(settings: Sequence[dict[str, Any]]) -> list[str]:
    """Return the names of the settings that all runs have and that are not the same in all, in their order."""
    common = [name for name in settings[0] if all(name in one for one in settings)]
    return [name for name in common if any(one[name] != settings[0][name] for one in settings)]


def _differences(labels: Sequence[str], runs: Sequence[tuple[str, Run, Metrics]], language: str) -> str:
    """A table with a column for each run: when it began, its state, where its settings differ, what came of it."""
    found = [run for _, run, _ in runs]
    settings = [{"recipe": run.recipe} | run.settings for run in found]
    rows = [
        _row(say(language, "train.run_begun"), [moment(run.created, language) for run in found]),
        _row(say(language, "train.run_state"), [say(language, f"train.state_{run.state}") for run in found]),
    ]
    for name in differing(settings):
        label = say(language, "train.recipe") if name == "recipe" else label_of(name, language)
        values = [_value(name, one[name], language) for one in settings]
        rows.append(_row(label, values))
    metrics = [one for _, _, one in runs]
    for name in _RESULTS:
        if any(series(one, name) for one in metrics):
            last = [latest(one, name) for one in metrics]
            values = ["–" if value is None else figure(value, language, 4) for value in last]
            label = say(language, "train.last_value", name=metric_name(name, language))
            rows.append(_row(label, values, number=True))
    heads = "".join(
        f'<th scope="col"><svg viewBox="0 0 34 8" width="34" height="8" aria-hidden="true"><path class="eh-line'
        f' eh-line-{number % STYLES}" d="M1 4 L33 4"/></svg> {escape(label)}</th>'
        for number, label in enumerate(labels)
    )
    name = attributes(aria_label=say(language, "train.comparison"), data_scroll="compare")
    return (
        f'<div class="eh-table-frame" role="region" tabindex="0"{name}><table class="eh-table"><caption>'
        f"{escape(say(language, 'train.differences'))}</caption><thead><tr><td></td>{heads}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _value(name: str, value: object, language: str) -> str:
    if name == "recipe":
        return say(language, f"train.short_{value}") if value in RECIPES else str(value)
    return choice_words(name, value, language) or "–"


def _row(label: str, values: Sequence[str], *, number: bool = False) -> str:
    kind = ' class="eh-number"' if number else ""
    cells = "".join(f"<td{kind}>{escape(value)}</td>" for value in values)
    return f'<tr><th scope="row">{escape(label)}</th>{cells}</tr>'
