"""One run of training as HTML text: its progress, figures, curves, samples with their bars, settings and log."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from mediator.errors import EvenhandError
from mediator.schema import Scores
from trainer.alignment.config import CONFIGS
from trainer.dataset.data import Example
from trainer.export.jobs import ExportJob
from trainer.runs.runs import Run
from ui.components import attributes, balance, describe_scores, folded, names_of, shortened
from ui.error_words import in_language
from ui.strings import say, size_words
from ui.train_export import export_choice, exports_part
from ui.train_metrics import Metrics, curves, latest
from ui.train_settings import choice_words, fields_of, label_of
from ui.train_state import far_words, progress_bar, progress_words, state_tag, title_of
from ui.train_words import figure, moment, setting

MOST_SAMPLES = 30
"""Samples that are shown, the latest first."""

LONGEST_SAMPLE = 700
"""Characters of a sample that are shown: about as many as a model writes at most."""

_FIGURES = ("samples_per_second", "tokens_per_second", "memory_bytes", "gpu_memory_bytes")


@dataclass(frozen=True)
class Shown:
    """What is shown of one run.

    Attributes:
        run: as it is now.
        metrics: all of them.
        samples: all of them.
        views: the disputes that samples were written for, by their ids, where they can be found.
        log: its end.
        command: what would launch it from the command line.
        writer: the name of its model for the Mediate tab; empty where it has none yet, or the page has no such tab.
        exports: of its model, the newest first; None where it has none that could be exported.
        export_logs: the ends of the logs of those that failed, by their kinds.
        weights: how many its model has; 0 for unknown.
        with_writer: whether the page has a place where a trained model can write.
    """

    run: Run
    metrics: Metrics = ()
    samples: Sequence[Mapping[str, Any]] = ()
    views: Mapping[str, Example] = field(default_factory=dict)
    log: str = ""
    command: str = ""
    writer: str = ""
    exports: Sequence[ExportJob] | None = None
    export_logs: Mapping[str, str] = field(default_factory=dict)
    weights: int = 0
    with_writer: bool = True


def run_detail(shown: Shown, language: str) -> str:
    """Return all that is shown of a run. Buttons carry ``data-act`` and ``data-id``."""
    run = shown.run
    title, state = title_of(run, language), say(language, f"train.state_{run.state}")
    drawn = curves(run.recipe, shown.metrics, language, run.id)
    nothing = "" if drawn or not run.active else f'<p class="eh-quiet">{escape(say(language, "train.no_curves"))}</p>'
    charts = f'<div class="eh-charts">{drawn}</div>' if drawn else nothing
    # Read out when it changes, and nothing else: the numbers change every second.
    aloud = say(language, "train.aloud", title=title, state=state)
    return (
        f'<article class="eh-train-run" aria-labelledby="eh-train-title"{attributes(data_run=run.id)}>'
        f'<header><h3 id="eh-train-title" tabindex="-1"{attributes(data_focus=f"title-{run.id}")}>{escape(title)}</h3>'
        f'{state_tag(run, language)}</header><p class="eh-out-of-sight" role="status">{escape(aloud)}</p>'
        f"{_facts(run, language)}{_said(run, language)}{_progress(run, language)}"
        f'<div class="eh-row-actions">{_actions(shown, language)}</div>'
        f"{exports_part(run, shown.exports or (), shown.export_logs, language, with_writer=shown.with_writer)}"
        f"{_figures(shown, language)}{charts}{_samples(shown, language)}"
        f'<div class="eh-folds">{_settings(shown, language)}{_command(shown, language)}{_log(shown, language)}</div>'
        "</article>"
    )


def _facts(run: Run, language: str) -> str:
    facts = [escape(say(language, "train.begun", time=moment(run.created, language)))]
    if not run.active and run.updated:
        facts.append(escape(say(language, "train.ended", time=moment(run.updated, language))))
    if run.processes > 1:
        facts.append(escape(say(language, "train.processes", count=run.processes)))
    facts.append(f"<code>{escape(run.id)}</code>")
    return f'<p class="eh-quiet">{" · ".join(facts)}</p>'


def _said(run: Run, language: str) -> str:
    """Why it ended, or what to know while it works."""
    words = escape(in_language(language, EvenhandError(run.message, run.hint)).strip())
    if not words:
        return ""
    return (
        f'<p class="eh-problem" role="alert">{words}</p>'
        if run.state == "failed"
        else f'<p class="eh-note">{words}</p>'
    )


def _progress(run: Run, language: str) -> str:
    if run.state == "done" or not (run.active or run.steps):
        return ""
    training = run.phase == "training" or not run.active
    done, total = (run.step, run.steps) if training else (run.done, run.total)
    share = min(1.0, done / total) if total else None
    words = progress_words(run, language) if run.active else far_words(run, language)
    words = words or say(language, f"train.state_{run.state}")
    return progress_bar(share, words, say(language, "train.progress"))


def _actions(shown: Shown, language: str) -> str:
    """What can be done with the run now."""
    run, buttons = shown.run, []
    if run.active:
        stopping = run.state == "stopping"
        buttons.append(_button("stop", run, language, off=stopping))
    if shown.writer:
        buttons.append(_button("use", run, language, strong=True, value=shown.writer))
    if run.resumable:
        buttons.append(_button("resume", run, language, strong=True))
    if shown.exports is not None:
        busy = any(job.active for job in shown.exports)
        buttons.append(export_choice(run, shown.weights, language, busy=busy))
    if not run.active:
        yes = attributes(data_act="delete", data_id=run.id)
        buttons.append(
            f'<details class="eh-confirm"{attributes(data_key=f"delete-{run.id}")}><summary>'
            f"{escape(say(language, 'train.delete'))}</summary><p>{escape(say(language, 'train.delete_sure'))}</p>"
            f'<button type="button" class="eh-button eh-danger"{yes}>{escape(say(language, "train.delete_yes"))}'
            "</button></details>"
        )
    return "".join(buttons)


def _button(act: str, run: Run, language: str, *, strong: bool = False, off: bool = False, value: str = "") -> str:
    shown = attributes(
        data_act=act,
        data_id=run.id,
        data_value=value or None,
        data_focus=f"{act}-{run.id}",
        aria_disabled="true" if off else None,
    )
    kind = " eh-primary" if strong else ""
    return f'<button type="button" class="eh-button{kind}"{shown}>{escape(say(language, f"train.{act}"))}</button>'


def _figures(shown: Shown, language: str) -> str:
    facts = []
    if shown.metrics and isinstance(epoch := shown.metrics[-1].get("epoch"), int | float):
        epochs = shown.run.settings.get("epochs")
        all_of = figure(float(epochs), language) if isinstance(epochs, int | float) else "?"
        facts.append(
            (say(language, "train.epoch"), say(language, "train.of", part=figure(epoch, language), all=all_of))
        )
    for name in _FIGURES:
        value = latest(shown.metrics, name)
        if value is not None:
            words = size_words(language, value) if name.endswith("_bytes") else figure(value, language)
            facts.append((say(language, f"train.{name}"), words))
    rows = "".join(f"<div><dt>{escape(label)}</dt><dd>{escape(value)}</dd></div>" for label, value in facts)
    return f'<dl class="eh-train-figures">{rows}</dl>' if rows else ""


def _samples(shown: Shown, language: str) -> str:
    """The compromises written on the way, the latest of each dispute in front."""
    if not shown.samples:
        return ""
    ordered = list(reversed(shown.samples))[:MOST_SAMPLES]
    newest = max(int(one["step"]) for one in ordered)
    front = [one for one in ordered if int(one["step"]) == newest]
    earlier = [one for one in ordered if int(one["step"]) != newest]
    cards = "".join(_sample(one, shown.views, language) for one in reversed(front))
    more = ""
    if earlier:
        body = "".join(_sample(one, shown.views, language) for one in earlier)
        more = folded(
            say(language, "train.earlier_samples", count=len(earlier)),
            f'<div class="eh-grid">{body}</div>',
            f"samples-{shown.run.id}",
        )
    return (
        f'<section class="eh-train-samples" aria-labelledby="eh-train-samples"><h4 id="eh-train-samples">'
        f'{escape(say(language, "train.samples"))}</h4><p class="eh-quiet">'
        f'{escape(say(language, "train.samples_about"))}</p><div class="eh-grid">{cards}</div>{more}</section>'
    )


def _sample(sample: Mapping[str, Any], views: Mapping[str, Example], language: str) -> str:
    dispute, names = str(sample.get("dispute_id", "")), names_of("", "", language)
    found = views.get(dispute)
    said = ""
    if found is not None:
        sides = (("A", found.view_a.as_text()), ("B", found.view_b.as_text()))
        rows = "".join(
            f'<p dir="auto"><strong>{letter}</strong> {escape(shortened(text, 300))}</p>' for letter, text in sides
        )
        said = f'<div class="eh-sample-views">{rows}</div>'
    scores, text = _scores(sample), shortened(str(sample.get("text", "")), LONGEST_SAMPLE)
    words = describe_scores(scores, names, language) if scores else say(language, "status.not_measured")
    title = say(language, "train.sample", dispute=(found.title if found else "") or dispute, step=sample["step"])
    return (
        f'<article class="eh-card"><header><h5>{escape(title)}</h5><span class="eh-words">{escape(words)}</span>'
        f'</header>{said}<p class="eh-text" dir="auto">{escape(text)}</p>'
        f"{balance(scores, names, language)}</article>"
    )


def _scores(sample: Mapping[str, Any]) -> Scores | None:
    a, b = sample.get("score_a"), sample.get("score_b")
    if not isinstance(a, int | float) or not isinstance(b, int | float):
        return None
    a, b = (min(max(float(score), 0.0), 1.0) for score in (a, b))
    return Scores(score_a=a, score_b=b, raw_a=a, raw_b=b)


def _settings(shown: Shown, language: str) -> str:
    """All settings as a table, those that were changed marked."""
    run = shown.run
    config = CONFIGS.get(run.recipe)  # type: ignore[call-overload]
    names = fields_of(config) if config is not None else tuple(run.settings)
    rows = ""
    for name in names:
        if name not in run.settings:
            continue
        value = run.settings[name]
        changed = config is None or value != config.model_fields[name].default
        words = choice_words(name, value, language) or "–"
        mark = "" if not changed or config is None else _changed(name, config, language)
        rows += (
            f'<tr><th scope="row">{escape(label_of(name, language))} <code>{escape(name)}</code></th>'
            f"<td>{escape(words)}{mark}</td></tr>"
        )
    rows += f'<tr><th scope="row">{escape(say(language, "train.folder"))}</th><td>{escape(str(run.folder))}</td></tr>'
    label = attributes(aria_label=say(language, "train.settings"), data_scroll=f"settings-{run.id}")
    body = (
        f'<div class="eh-table-frame" role="region" tabindex="0"{label}>'
        f'<table class="eh-table"><tbody>{rows}</tbody></table></div>'
    )
    return folded(say(language, "train.settings"), body, f"settings-{run.id}")


def _changed(name: str, config: Any, language: str) -> str:
    default = config.model_fields[name].default
    if default == "":
        return ""
    words = setting(default, language)
    return f' <span class="eh-quiet">({escape(say(language, "train.default", value=words))})</span>'


def _command(shown: Shown, language: str) -> str:
    if not shown.command:
        return ""
    label = attributes(aria_label=say(language, "train.command"))
    body = (
        f'<div class="eh-train-command"><pre tabindex="0" role="region"{label}><code>{escape(shown.command)}</code>'
        "</pre>"
        f'<button type="button" class="eh-button" data-copy="command">{escape(say(language, "train.copy"))}</button>'
        '<span class="eh-said" role="status"></span></div>'
    )
    return folded(say(language, "train.command"), body, f"command-{shown.run.id}")


def _log(shown: Shown, language: str) -> str:
    if not shown.log:
        return ""
    label = attributes(aria_label=say(language, "train.log"), data_scroll=f"log-{shown.run.id}")
    body = f'<pre class="eh-train-log" tabindex="0" role="region"{label}>{escape(shown.log)}</pre>'
    return folded(say(language, "train.log"), body, f"log-{shown.run.id}")
