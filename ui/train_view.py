"""The runs of training as HTML text: their list, the chosen one beside it, several compared."""

from collections.abc import Sequence
from html import escape

from trainer.runs.runs import Run
from ui.components import attributes, data_words, placeholder, shortened
from ui.error_words import in_language
from ui.strings import say
from ui.train_compare import comparison
from ui.train_detail import Shown, run_detail
from ui.train_metrics import Metrics
from ui.train_state import far_words, state_tag, title_of
from ui.train_words import moment

MOST_COMPARED = 6
"""Runs whose curves are drawn in one chart."""


def runs_page(runs: Sequence[Run], chosen: Shown | None, compared: Sequence[tuple[Run, Metrics]], language: str) -> str:
    """Return the list of runs with the chosen one beside it; a sentence where there is none.

    Buttons carry ``data-act`` and ``data-id``. The root says which run is chosen and which are compared.
    """
    root = attributes(
        data_chosen=chosen.run.id if chosen else "",
        data_compared=" ".join(run.id for run, _ in compared),
        data_running="yes" if any(run.active for run in runs) else None,
    ) + data_words({name: say(language, f"train.{name}") for name in ("copied", "copy_failed")})
    heading = f"<h2>{escape(say(language, 'train.runs'))}</h2>"
    if not runs:
        nothing = placeholder(say(language, "train.none"))
        return f'<div class="eh-train"{root}>{heading}{nothing}</div>'
    ticked = {run.id for run, _ in compared}
    full = len(ticked) >= MOST_COMPARED
    rows = "".join(
        _row(run, language, chosen=chosen is not None and run.id == chosen.run.id, ticked=run.id in ticked, full=full)
        for run in runs
    )
    side_by_side = comparison([(title_of(run, language), run, metrics) for run, metrics in compared], language)
    return (
        f'<div class="eh-train"{root}>{heading}<div class="eh-train-columns"><div class="eh-train-side">'
        f'<ul class="eh-runs"{attributes(aria_label=say(language, "train.runs"))}>{rows}</ul></div>'
        f'<div class="eh-train-main">{side_by_side}{run_detail(chosen, language) if chosen else ""}</div></div></div>'
    )


def _row(run: Run, language: str, *, chosen: bool, ticked: bool, full: bool) -> str:
    title, when = title_of(run, language), moment(run.created, language)
    shown = attributes(
        data_act="show", data_id=run.id, data_focus=f"show-{run.id}", aria_current="true" if chosen else None
    )
    tick = attributes(
        data_compare=run.id,
        data_focus=f"compare-{run.id}",
        aria_label=say(language, "train.compare_named", title=title, time=when),
        disabled="" if full and not ticked else None,
        checked="" if ticked else None,
    )
    line = shortened(in_language(language, run.message), 90) if run.state == "failed" else far_words(run, language)
    return (
        f'<li class="eh-run"><button type="button" class="eh-run-open"{shown}>'
        f'<span class="eh-run-title">{escape(title)}</span><span class="eh-run-when">{state_tag(run, language)}'
        f'<span class="eh-quiet">{escape(when)}</span></span><span class="eh-quiet">{escape(line)}</span></button>'
        f'<label class="eh-run-tick"><input type="checkbox"{tick}><span aria-hidden="true">'
        f"{escape(say(language, 'train.compare'))}</span></label></li>"
    )
