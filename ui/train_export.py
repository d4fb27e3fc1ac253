"""The export of a run's model as HTML text: the choice of how exact, its progress, and what its check found."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

from mediator.errors import EvenhandError
from trainer.export.jobs import USUAL, ExportJob
from trainer.runs.runs import Run
from ui.components import attributes, folded
from ui.error_words import in_language
from ui.strings import decimal, say, size_words
from ui.train_state import progress_bar, state_tag
from ui.train_words import duration, figure

if TYPE_CHECKING:
    from trainer.export.exporting import Result
    from trainer.export.quantise import Kind
    from trainer.export.self_check_result import Finding, SelfCheck

OFFERED: tuple["Kind", ...] = ("q4_k_m", "q5_k_m", "q6_k", "q8_0", "f16")
"""The kinds in the order in which they are offered: the smallest first."""

_BITS: Mapping[str, float] = {"q4_k_m": 4.9, "q5_k_m": 5.7, "q6_k": 6.6, "q8_0": 8.5, "f16": 16.0}
"""Of one weight, about."""

_STAGES = ("writing", "quantising", "checking")
_AT_MOST = ("logits", "perplexity")  # of what the limit is the most; of the others, the least


def export_choice(run: Run, weights: int, language: str, *, busy: bool) -> str:
    """Return the button that opens the choice of the kind, and the button in it that starts.

    Args:
        run: whose model it is.
        weights: how many it has; 0 for unknown.
        language: of the page.
        busy: whether an export of it works already.
    """
    name = f"eh-export-{run.id}"
    rows = "".join(_offer(name, kind, weights, language) for kind in OFFERED)
    start = attributes(
        data_act="export", data_id=run.id, data_focus=f"export-{run.id}", aria_disabled="true" if busy else None
    )
    return (
        f'<details class="eh-confirm eh-export-choice"{attributes(data_key=f"export-{run.id}")}>'
        f"<summary>{escape(say(language, 'export.open'))}</summary><p>{escape(say(language, 'export.about'))}</p>"
        f"<fieldset><legend>{escape(say(language, 'export.kind'))}</legend>{rows}</fieldset>"
        f'<button type="button" class="eh-button eh-primary"{start}>{escape(say(language, "export.start"))}</button>'
        "</details>"
    )


def exports_part(
    run: Run, jobs: Sequence[ExportJob], logs: Mapping[str, str], language: str, *, with_writer: bool
) -> str:
    """Return all exports of a run's model; empty where there is none. Buttons also carry ``data-kind``.

    Args:
        run: whose model it is.
        jobs: the exports.
        logs: the end of an export's log, by its kind, of those that failed.
        language: of the page.
        with_writer: whether the page has a place where a file can write.
    """
    if not jobs:
        return ""
    cards = "".join(_card(run, job, logs.get(job.kind, ""), language, with_writer) for job in jobs)
    return (
        '<section class="eh-exports" aria-labelledby="eh-exports-title"><h4 id="eh-exports-title">'
        f"{escape(say(language, 'export.heading'))}</h4>{cards}</section>"
    )


def _offer(name: str, kind: str, weights: int, language: str) -> str:
    size = say(language, "export.size", size=size_words(language, weights * _BITS[kind] / 8)) if weights else ""
    field = attributes(name=name, value=kind, data_kept=name, data_focus=f"{name}-{kind}")
    checked = " checked" if kind == USUAL else ""
    return (
        f'<label class="eh-check"><input type="radio"{field}{checked}><span><strong>{escape(kind)}</strong> '
        f'<span class="eh-quiet">{escape(size)}</span><br>{escape(say(language, f"export.kind_{kind}"))}</span></label>'
    )


def _card(run: Run, job: ExportJob, log: str, language: str, with_writer: bool) -> str:
    title = say(language, "export.title", kind=job.kind)
    state = say(language, f"train.state_{job.run.state}")
    aloud = say(language, "train.aloud", title=title, state=state)
    size = f'<span class="eh-quiet">{escape(size_words(language, job.result.size))}</span>' if job.result else ""
    words = "" if job.active else escape(_ended(job, language))
    kind = "eh-problem" if job.run.state == "failed" else "eh-note"
    said = f'<p class="{kind}">{words}</p>' if words else ""
    key = f"{run.id}-{job.kind}"
    tail = (
        folded(
            say(language, "export.log"),
            f'<pre class="eh-train-log" tabindex="0"{attributes(data_scroll=f"log-{key}")}>{escape(log)}</pre>',
            f"log-{key}",
        )
        if log
        else ""
    )
    return (
        f'<article class="eh-card eh-export"{attributes(data_export=job.kind, data_state=job.run.state)}><header>'
        f"<h5>{escape(title)}</h5><span>{size} {state_tag(job.run, language)}</span></header>"
        f'<p class="eh-out-of-sight" role="status">{escape(aloud)}</p>'
        f"{_progress(run, job, language)}{said}{_file(run, job, language, with_writer)}"
        f"{_check(job.result, key, language) if job.result else ''}{tail}</article>"
    )


def _ended(job: ExportJob, language: str) -> str:
    return in_language(language, EvenhandError(job.run.message, job.run.hint))


def _progress(run: Run, job: ExportJob, language: str) -> str:
    if not job.active:
        return ""
    now = job.run
    share = min(1.0, now.done / now.total) if now.total else None
    words = [say(language, f"export.phase_{now.phase}" if now.phase in _STAGES else f"train.state_{now.state}")]
    if share is not None:
        words.append(say(language, "export.share", percent=f"{100 * share:.0f}"))
    if now.seconds_left is not None:
        words.append(say(language, "train.left", time=duration(now.seconds_left, language)))
    cancel = attributes(
        data_act="cancel",
        data_id=run.id,
        data_kind=job.kind,
        data_focus=f"cancel-{run.id}-{job.kind}",
        aria_disabled="true" if now.state == "stopping" else None,
    )
    return (
        f"{progress_bar(share, ', '.join(words), say(language, 'export.progress'))}"
        f'<p><button type="button" class="eh-button"{cancel}>{escape(say(language, "export.cancel"))}</button></p>'
    )


def _file(run: Run, job: ExportJob, language: str, with_writer: bool) -> str:
    """Where a finished file lies, and what can be done with it."""
    if job.run.state != "done" or job.result is None:
        return ""
    if not job.file.is_file():
        return f'<p class="eh-note">{escape(say(language, "export.gone"))}</p>'
    label = attributes(aria_label=say(language, "export.file"))
    path = (
        f'<div class="eh-train-command"><pre tabindex="0" role="region"{label}><code>{escape(str(job.file))}</code>'
        '</pre><button type="button" class="eh-button" data-copy="command">'
        f'{escape(say(language, "export.copy"))}</button><span class="eh-said" role="status"></span></div>'
    )
    if not job.writer:
        return f'{path}<p class="eh-quiet">{escape(say(language, "export.encoder"))}</p>'
    if not with_writer:
        return path
    use = attributes(
        data_act="use",
        data_id=run.id,
        data_kind=job.kind,
        data_value=job.writer,
        data_focus=f"use-{run.id}-{job.kind}",
    )
    words = escape(say(language, "train.use"))
    return f'{path}<p><button type="button" class="eh-button eh-primary"{use}>{words}</button></p>'


def _check(result: "Result", key: str, language: str) -> str:
    check = result.check
    if check is None:
        return f'<p class="eh-note">{escape(say(language, "export.unchecked"))}</p>'
    heads = "".join(
        f'<th scope="col">{escape(say(language, f"export.column_{name}"))}</th>'
        for name in ("what", "found", "limit", "passed")
    )
    rows = "".join(_row(finding, check, language) for finding in check.findings)
    title = say(language, "export.check")
    label = attributes(aria_label=title, data_scroll=f"check-{key}")
    remarks = [in_language(language, note) for note in check.left_out]
    if check.reference:
        remarks.append(say(language, f"export.reference_{check.reference}"))
    below = f'<p class="eh-quiet">{escape(" ".join(remarks))}</p>' if remarks else ""
    if not rows:
        return below
    return (
        f'<div class="eh-table-frame" role="region" tabindex="0"{label}><table class="eh-table"><caption>'
        f"{escape(title)}</caption><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>{below}"
    )


def _row(finding: "Finding", check: "SelfCheck", language: str) -> str:
    what = escape(say(language, f"export.what_{finding.what}"))
    if finding.passed is None:
        return f'<tr><th scope="row">{what}</th><td colspan="3">{escape(say(language, "export.left_out"))}</td></tr>'
    mark = "✓" if finding.passed else "✕"
    passed = say(language, "export.passed_yes" if finding.passed else "export.passed_no")
    return (
        f'<tr{attributes(data_passed="yes" if finding.passed else "no")}><th scope="row">{what}</th>'
        f"<td>{escape(_found(finding, check, language))}</td><td>{escape(_limit(finding, language))}</td>"
        f'<td><span aria-hidden="true">{mark}</span> {escape(passed)}</td></tr>'
    )


def _found(finding: "Finding", check: "SelfCheck", language: str) -> str:
    """What was found, from the numbers: the finding's own words are English."""
    match finding.what:
        case "tokens":
            return say(language, "export.found_tokens", equal=check.tokens_equal, strings=check.strings)
        case "numbers":
            return say(language, "export.found_numbers" if finding.passed else "export.found_numbers_none")
        case "logits" if check.largest_logit_difference is not None and check.logit_spread:
            share = 100 * check.largest_logit_difference / check.logit_spread
            return say(
                language,
                "export.found_logits",
                difference=figure(check.largest_logit_difference, language),
                share=figure(share, language),
                positions=check.positions,
            )
        case "top1" if check.top1_agreement is not None:
            agreed = figure(100 * check.top1_agreement, language, 4)
            return say(language, "export.found_top1", share=agreed, positions=check.positions)
        case "perplexity" if check.ratio is not None:
            numbers = {"ours": check.perplexity, "theirs": check.perplexity_of_checkpoint, "ratio": check.ratio}
            words = {name: figure(value or 0.0, language, 4) for name, value in numbers.items()}
            return say(language, "export.found_perplexity", **words)
        case "cosine" if check.smallest_cosine is not None:
            cosine = figure(check.smallest_cosine, language, 6)
            return say(language, "export.found_cosine", cosine=cosine, positions=check.positions)
    return finding.found


def _limit(finding: "Finding", language: str) -> str:
    if finding.limit in ("", "all"):
        return say(language, "export.limit_all") if finding.limit else ""
    limit = decimal(language, finding.limit.replace("%", "\u00a0%" if language == "de" else "%"))
    return say(language, "export.limit_most" if finding.what in _AT_MOST else "export.limit_least", limit=limit)
