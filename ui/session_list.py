"""The list of sessions as HTML text: its rows, its pages, and the panel that is open in one row."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from itertools import product
from typing import Literal

from mediator.report_parts import Parts
from mediator.session import LONGEST_TITLE, SessionSummary
from ui.components import attributes
from ui.strings import LANGUAGES, say

PAGE_SIZE = 50
"""Sessions on one page of the list."""

Panel = Literal["", "rename", "export", "delete"]
Format = Literal["html", "markdown", "json"]
FORMATS: tuple[Format, ...] = ("html", "markdown", "json")
PARTS = ("ratings", "history", "audit", "others")
"""The fields of `Parts`, in the order of their boxes."""
_TOLD = ("others", "ratings", "history", "audit")
"""The same, in the order in which they are told of."""


@dataclass(frozen=True)
class View:
    """What the list shows of itself.

    Attributes:
        page: counts from 0.
        panel: which panel is open, if any.
        target: the id of the session whose panel is open.
        focus: what gets the focus, as ``action:id``.
        turn: grows whenever the focus is to move.
        deleted: the id of the session that was deleted just now.
    """

    page: int = 0
    panel: Panel = ""
    target: str = ""
    focus: str = ""
    turn: int = 0
    deleted: str = ""


def session_list(
    summaries: Sequence[SessionSummary], view: View, language: str, *, searched: bool, here: str = "", private: str = ""
) -> str:
    """The list, newest change first, by pages of `PAGE_SIZE`; a sentence where there is nothing to list.

    Each row has buttons with ``data-action`` and ``data-id``; opening a session is a link to ``?session=<id>``.

    Args:
        summaries: all that were found.
        view: see `View`; a page beyond the last one shows the last one.
        language: of the words.
        searched: words were searched for.
        here: the id of the session that is open in this window.
        private: the id of the one that is in memory only, if any.
    """
    root = attributes(
        data_language=language, data_turn=str(view.turn), data_focus_on=view.focus, data_deleted=view.deleted or None
    )
    if not summaries:
        text = say(language, "sessions.none_found" if searched else "sessions.none")
        return f'<div class="eh-sessions"{root}><p class="eh-placeholder" role="status">{escape(text)}</p></div>'
    page = last_page(view.page, len(summaries))
    shown = summaries[page * PAGE_SIZE : (page + 1) * PAGE_SIZE]
    rows = "".join(_row(one, view, language, here=one.id == here, private=one.id == private) for one in shown)
    count = escape(say(language, "sessions.found", count=len(summaries)))
    return (
        f'<div class="eh-sessions"{root}><p class="eh-quiet" role="status">{count}</p>'
        f"<ul{attributes(aria_label=say(language, 'sessions.list'))}>{rows}</ul>"
        f"{_pages(page, len(summaries), language)}</div>"
    )


def last_page(page: int, count: int) -> int:
    """Return the page that is shown for a wanted one, from 0, of a list of ``count`` sessions."""
    return max(0, min(page, (count - 1) // PAGE_SIZE))


def title_of(summary: SessionSummary, language: str) -> str:
    """Return what a session is called: its title, or how it begins."""
    if summary.title:
        return summary.title
    if summary.opening:
        return say(language, "sessions.untitled", opening=summary.opening)
    return say(language, "sessions.empty")


def _row(summary: SessionSummary, view: View, language: str, *, here: bool, private: bool) -> str:
    title = title_of(summary, language)
    link = attributes(
        href=f"?session={summary.id}", data_focus=f"open:{summary.id}", aria_current="true" if here else None
    )
    tags = "".join(
        f' <span class="eh-tag">{escape(say(language, f"sessions.{name}"))}</span>'
        for name, wanted in (("here", here), ("private", private))
        if wanted
    )
    opening = ""
    if summary.title and summary.opening:
        opening = f'<p class="eh-opening" dir="auto">{escape(summary.opening)}</p>'
    # A copy of what is in memory only could be found by nobody.
    offered = ("rename", "export") if private else ("rename", "duplicate", "export")
    actions = "".join(_button(action, summary, title, view, language) for action in offered)
    actions += _button("delete", summary, title, view, language, kind=" eh-danger")
    group = attributes(aria_label=say(language, "sessions.actions", title=title))
    panel = _PANELS[view.panel](summary, title, language) if view.panel and view.target == summary.id else ""
    return (
        f'<li class="eh-session"><h3><a class="eh-session-link" dir="auto"{link}>{escape(title)}</a>{tags}</h3>'
        f'{opening}<p class="eh-quiet">{_facts(summary, language)}</p>'
        f'<div class="eh-row-actions" role="group"{group}>{actions}</div>{panel}</li>'
    )


def _facts(summary: SessionSummary, language: str) -> str:
    changed = summary.updated_at.astimezone()
    when = attributes(datetime=changed.isoformat(timespec="minutes"))
    facts = [
        f"<time{when}>{escape(say(language, 'sessions.changed', date=_date(changed, language)))}</time>",
        escape(say(language, "sessions.rounds", count=summary.rounds)),
        escape(say(language, "common.proposals", count=summary.proposals)),
    ]
    if summary.kept:
        facts.append(escape(say(language, "sessions.kept", count=summary.kept)))
    return " · ".join(facts)


def _date(time: datetime, language: str) -> str:
    month = say(language, "sessions.months").split(",")[time.month - 1]
    clock = {"hour": f"{time.hour:02}", "minute": f"{time.minute:02}"}
    return say(language, "sessions.date", day=time.day, month=month, year=time.year, **clock)


def _button(action: str, summary: SessionSummary, title: str, view: View, language: str, *, kind: str = "") -> str:
    text = say(language, f"sessions.{action}")
    opens = action != "duplicate"
    is_open = view.panel == action and view.target == summary.id
    shown = attributes(
        data_action=f"ask-{action}" if opens else action,
        data_id=summary.id,
        data_focus=f"{action}:{summary.id}",
        aria_label=say(language, "sessions.of", what=text, title=title),
        aria_expanded=str(is_open).lower() if opens else None,
    )
    return f'<button type="button" class="eh-button{kind}"{shown}>{escape(text)}</button>'


def _rename_panel(summary: SessionSummary, title: str, language: str) -> str:
    field = attributes(value=summary.title, maxlength=str(LONGEST_TITLE), data_focus=f"panel:{summary.id}")
    name = attributes(aria_label=say(language, "sessions.of", what=say(language, "sessions.rename"), title=title))
    return (
        f'<form class="eh-inset" data-panel{_id(summary)}{name}>'
        f"<label>{escape(say(language, 'sessions.new_title'))}"
        f'<input type="text" name="title" dir="auto" autocomplete="off"{field}></label>'
        f'<div class="eh-row-actions"><button type="submit" class="eh-button eh-primary">'
        f"{escape(say(language, 'sessions.rename_do'))}</button>{_close(summary, 'cancel', language)}</div></form>"
    )


def _delete_panel(summary: SessionSummary, title: str, language: str) -> str:
    question, what = f"eh-delete-{summary.id}", f"eh-delete-what-{summary.id}"
    asked = escape(say(language, "sessions.delete_question", title=title))
    delete = attributes(data_action="delete", data_id=summary.id)
    return (
        f'<div class="eh-inset eh-asks" role="alertdialog" data-panel{_id(summary)}'
        f"{attributes(aria_labelledby=question, aria_describedby=what)}>"
        f'<p dir="auto"{attributes(id=question)}><strong>{asked}</strong></p>'
        f"<p{attributes(id=what)}>{escape(say(language, 'sessions.delete_what'))}</p>"
        f'<div class="eh-row-actions"><button type="button" class="eh-button eh-danger"{delete}>'
        f"{escape(say(language, 'sessions.delete_do'))}</button>"
        f"{_close(summary, 'delete_not', language, focus=f'panel:{summary.id}')}</div></div>"
    )


def _export_panel(summary: SessionSummary, title: str, language: str) -> str:
    name = attributes(aria_label=say(language, "sessions.of", what=say(language, "sessions.export"), title=title))
    formats = [(value, say(language, f"sessions.format_{value}")) for value in FORMATS]
    languages = [(value, say(language, f"sessions.language_{value}")) for value in LANGUAGES]
    hint, limits = f"eh-words-hint-{summary.id}", f"eh-words-limits-{summary.id}"
    field = attributes(id=f"eh-words-{summary.id}", aria_describedby=f"{hint} {limits}")
    return (
        f'<section class="eh-inset" data-panel{_id(summary)}{name}>'
        f"{_radios('format', say(language, 'sessions.format'), formats, 'html', f'panel:{summary.id}')}"
        f"{_radios('language', say(language, 'sessions.language'), languages, language, '')}"
        f"{_parts(summary, language)}"
        f"<div><label{attributes(for_=f'eh-words-{summary.id}')}>{escape(say(language, 'sessions.words'))}</label>"
        f'<textarea name="words" rows="4" dir="auto" autocomplete="off" spellcheck="false"{field}></textarea>'
        f'<p class="eh-quiet"{attributes(id=hint)}>{escape(say(language, "sessions.words_hint"))}</p>'
        f'<p class="eh-preview" role="status"></p>'
        f'<p class="eh-quiet"{attributes(id=limits)}>{escape(say(language, "sessions.words_limits"))}</p></div>'
        f'<div class="eh-row-actions"><button type="button" class="eh-button eh-primary" data-action="export"'
        f"{_id(summary)}>{escape(say(language, 'sessions.export_do'))}</button>"
        f"{_close(summary, 'close', language)}</div></section>"
    )


_PANELS = {"rename": _rename_panel, "delete": _delete_panel, "export": _export_panel}


def _radios(name: str, legend: str, choices: Sequence[tuple[str, str]], chosen: str, focus: str) -> str:
    options = "".join(
        f'<label><input type="radio" name="eh-{name}"{attributes(value=value)}'
        f"{attributes(data_focus=focus or None) if value == chosen else ''}{' checked' if value == chosen else ''}>"
        f" {escape(text)}</label>"
        for value, text in choices
    )
    return f"<fieldset><legend>{escape(legend)}</legend>{options}</fieldset>"


def _parts(summary: SessionSummary, language: str) -> str:
    """Boxes for what may have been said in confidence, and the sentence that says what will be in the file."""
    by_itself = Parts()
    ticked = (by_itself.ratings, by_itself.history, by_itself.audit, by_itself.with_others(summary.kept))
    boxes = "".join(
        f'<label><input type="checkbox" name="eh-part"{attributes(value=name)}{" checked" if on else ""}>'
        f" {escape(say(language, f'sessions.part_{name}'))}</label>"
        for name, on in zip(PARTS, ticked, strict=True)
    )
    # All of them, so that the sentence is never behind the boxes: by the names of those ticked, with spaces between.
    sentences = {"json": say(language, "sessions.contents_json")}
    for chosen in product((False, True), repeat=len(PARTS)):
        names = [name for name, on in zip(PARTS, chosen, strict=True) if on]
        sentences[" ".join(names)] = _contents(names, summary.kept, language)
    shown = sentences[" ".join(name for name, on in zip(PARTS, ticked, strict=True) if on)]
    said = attributes(data_sentences=json.dumps(sentences, ensure_ascii=False))
    return (
        f'<div><fieldset class="eh-parts"><legend>{escape(say(language, "sessions.parts"))}</legend>{boxes}</fieldset>'
        f'<p class="eh-contents" role="status"{said}>{escape(shown)}</p></div>'
    )


def _contents(names: Sequence[str], kept: int, language: str) -> str:
    """Say what a page holds on which these parts are, and what it leaves out."""
    held = [say(language, "sessions.held_views")]
    held += [say(language, "sessions.held_kept", count=kept)] if kept else []
    held += [say(language, f"sessions.held_{name}") for name in _TOLD if name in names]
    left = [say(language, f"sessions.held_{name}") for name in _TOLD if name not in names]
    held, left = [*held, say(language, "sessions.held_origin")], [*left, say(language, "sessions.held_dropped")]
    return say(language, "sessions.contents", held="; ".join(held), left="; ".join(left))


def _close(summary: SessionSummary, word: str, language: str, focus: str = "") -> str:
    text = escape(say(language, f"sessions.{word}"))
    shown = attributes(data_focus=focus or None)
    return f'<button type="button" class="eh-button" data-action="close"{_id(summary)}{shown}>{text}</button>'


def _id(summary: SessionSummary) -> str:
    return attributes(data_id=summary.id)


def _pages(page: int, count: int, language: str) -> str:
    if count <= PAGE_SIZE:
        return ""
    first, last = page * PAGE_SIZE + 1, min((page + 1) * PAGE_SIZE, count)
    shown = escape(say(language, "sessions.range", first=first, last=last, count=count))
    newer = _step("newer", page - 1, page > 0, language)
    older = _step("older", page + 1, last < count, language)
    label = attributes(aria_label=say(language, "sessions.pages"))
    return f'<nav class="eh-pages"{label}>{newer}<span>{shown}</span>{older}</nav>'


def _step(name: str, page: int, possible: bool, language: str) -> str:
    shown = attributes(
        data_action="page", data_page=str(page), data_focus=name, aria_disabled=None if possible else "true"
    )
    return f'<button type="button" class="eh-button"{shown}>{escape(say(language, f"sessions.{name}"))}</button>'
