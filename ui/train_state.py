"""What a run of training is called, the sign and word of its state, and how far it is."""

from collections.abc import Mapping
from html import escape
from pathlib import Path

from trainer.runs.runs import Run
from ui.components import attributes
from ui.strings import say
from ui.train_settings import RECIPES
from ui.train_words import duration

ICONS: Mapping[str, str] = {
    "starting": "◌", "running": "▶", "stopping": "◧", "stopped": "■", "done": "✓", "failed": "✕",
}  # fmt: skip
"""What stands before the word for each state."""

PHASES = ("loading", "hypotheses", "caching", "training", "measuring", "saving")
"""What a run can be doing; see `trainer.progress.Phase`."""


def title_of(run: Run, language: str) -> str:
    """Return what a run is called: its recipe and the model it began with. Plain text."""
    recipe = say(language, f"train.short_{run.recipe}") if run.recipe in RECIPES else run.recipe
    return say(language, "train.title", recipe=recipe, model=model_name(str(run.settings.get("model", ""))))


def model_name(named: str) -> str:
    """Return the short name of a model: the last part of its path; of a run's result, the run."""
    path = Path(named)
    name = path.parent.name if path.name == "model" and path.parent.name else path.name
    return name or named or "?"


def progress_words(run: Run, language: str) -> str:
    """Say how far a run is, in one line; empty before it has said anything. Plain text."""
    words = []
    phase = run.phase or ("loading" if run.active else "")
    if phase in PHASES:
        words.append(say(language, f"train.phase_{phase}"))
    if run.phase == "training" or not run.phase:
        if run.steps:
            words.append(say(language, "train.steps", step=run.step, steps=run.steps))
    elif run.total:
        words.append(say(language, "train.done_of", done=run.done, total=run.total))
    if run.seconds_left is not None:
        words.append(say(language, "train.left", time=duration(run.seconds_left, language)))
    return ", ".join(words)


def far_words(run: Run, language: str) -> str:
    """Say how far a run is, or how far it came. Plain text."""
    if run.active:
        return progress_words(run, language)
    return say(language, "train.steps", step=run.step, steps=run.steps) if run.steps else ""


def progress_bar(share: float | None, words: str, label: str) -> str:
    """A bar with words below it as HTML.

    Args:
        share: 0..1; None for unknown: then there are only the words.
        words: how far it is. Plain text.
        label: of what it is the progress. Plain text.
    """
    shown = attributes(
        role="progressbar",
        aria_label=label,
        aria_valuemin="0",
        aria_valuemax="100",
        aria_valuenow=f"{100 * (share or 0.0):.0f}",
        aria_valuetext=words,
    )
    bar = (
        "" if share is None else f'<div class="eh-progress"{shown}><span style="width:{100 * share:.1f}%"></span></div>'
    )
    return f'{bar}<p class="eh-train-words">{escape(words)}</p>'


def state_tag(run: Run, language: str) -> str:
    """The state of a run as HTML."""
    return (
        f'<span class="eh-tag eh-run-state"{attributes(data_state=run.state)}><span aria-hidden="true">'
        f"{ICONS[run.state]}</span> {escape(say(language, f'train.state_{run.state}'))}</span>"
    )
