"""The Sessions tab: the sessions of this computer, to be found, opened, renamed, copied, exported, deleted."""

import json
import logging
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast, get_args

import gradio as gr
from gradio.context import Context

from mediator.errors import EvenhandError, InputError
from mediator.redaction import Pair, occurrences, redact
from mediator.report import LARGEST_FILE, Parts, as_html, as_json, as_markdown, from_json
from mediator.resources import asset
from mediator.session import LONGEST_TITLE, Session, SessionSummary
from ui.components import status
from ui.error_words import in_language
from ui.files import download_slot, file_payload, file_picker
from ui.request_body import LARGEST as LARGEST_BODY
from ui.session_list import FORMATS, PARTS, Format, Panel, View, last_page, session_list, title_of
from ui.strings import LANGUAGES, language_of, say, translator
from ui.workspace import Workspace

_log = logging.getLogger(__name__)

LARGEST_IMPORT = min(LARGEST_FILE, LARGEST_BODY // 2)
"""Bytes of a session's file that is imported here: in a request, each quote in it takes two bytes."""

MOST_WORDS = 500
"""Lines of the list of words to replace."""

LONGEST_WORD = 200
"""Characters of such a line."""

_QUICK: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
_ENDINGS: dict[Format, tuple[str, str]] = {
    "html": ("html", "text/html"),
    "markdown": ("md", "text/markdown"),
    "json": ("json", "application/json"),
}
_DELETED = "deleted"
_HERE = """(...values) => {
  const address = new URL(window.location.href);
  const deleted = new URLSearchParams(address.hash.slice(1)).has("deleted");
  return [...values.slice(0, -1), deleted ? "deleted" : address.searchParams.get("session") ?? ""];
}"""

# The page of a session that was deleted on it is loaded anew (see sessions.js): it comes back to this tab and says so,
# until somebody does something.
_COME_BACK = """() => {
  if (!new URLSearchParams(window.location.hash.slice(1)).has("deleted")) return;
  const labels = __LABELS__;
  const buttons = document.querySelectorAll("[role=tab], .overflow-dropdown button"); // on a phone, some are in a menu
  [...buttons].find((button) => labels.includes(button.textContent.trim()))?.click();
  const forget = () => {
    const address = new URL(window.location.href), kept = new URLSearchParams(address.hash.slice(1));
    kept.delete("deleted");
    address.hash = kept.toString();
    window.history.replaceState(window.history.state, "", address);
  };
  for (const kind of ["pointerdown", "keydown"]) document.addEventListener(kind, forget, { once: true, capture: true });
}"""
_NO_FILE_NAME = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]+')


def build_tab(workspace: Workspace, forget: Callable[[str], None] = lambda _: None) -> None:
    """Compose the tab inside the `gradio.Blocks` that is being built; it is drawn anew whenever it is selected.

    ``forget`` is told the id of a session that was deleted, so that nothing of it stays in memory either.
    """
    SessionsTab(workspace, forget)


class SessionsTab:
    """The tab's components and what happens when somebody uses them. Holds nothing that a reload would lose."""

    def __init__(self, workspace: Workspace, forget: Callable[[str], None] = lambda _: None) -> None:
        """Add the tab's content to the `gradio.Blocks` that is being built; for ``forget`` see `build_tab`."""
        self._workspace, self._forget = workspace, forget
        t = translator()

        # Gradio marks this function, which a method does not allow.
        def preview(call: list[str]) -> str:
            return self.preview(call)

        with gr.Row(equal_height=False, elem_classes="eh-session-bar"):
            self.search = gr.Textbox(
                label=t("sessions.search"), info=t("sessions.search_info"), max_lines=1, elem_id="eh-session-search",
                scale=3, min_width=240,
            )  # fmt: skip
            self.picker = file_picker("sessions.import", ".json,application/json", LARGEST_IMPORT, "eh-import")
        self.answer = gr.HTML("", elem_id="eh-sessions-answer", apply_default_css=False, js_on_load=None)
        self.listed = gr.HTML(
            "",
            elem_id="eh-sessions",
            apply_default_css=False,
            js_on_load=asset("sessions.js").read_text(encoding="utf-8"),
            css_template=asset("sessions.css").read_text(encoding="utf-8"),
            server_functions=[preview],
        )
        self.slot = download_slot()
        self.view = gr.State(View())
        self.here = gr.Textbox(visible="hidden")
        self._listen()

    def _listen(self) -> None:
        drawn = [self.view, self.listed, self.answer]
        given = [self.view, self.search, self.here]
        look: dict[str, Any] = {"inputs": given, "outputs": drawn, "js": _HERE, **_QUICK}
        tab = Context.block
        while tab is not None and not isinstance(tab, gr.Tab):
            tab = tab.parent
        if tab is not None:
            tab.select(self.on_look, **look)
        if Context.root_block is not None:
            Context.root_block.load(self.on_look, **look)
            labels = json.dumps([say(language, "sessions.tab") for language in LANGUAGES])
            Context.root_block.load(None, js=_COME_BACK.replace("__LABELS__", labels), api_visibility="private")
        # `input` would miss a text that comes at once, by pasting or from a script.
        self.search.change(self.on_look, trigger_mode="always_last", **look)
        self.listed.act(self.on_act, inputs=[self.view, self.search], outputs=[*drawn, self.slot], **_QUICK)
        self.picker.picked(self.on_import, inputs=given, outputs=[*drawn, self.search], js=_HERE, **_QUICK)

    def on_look(self, view: View, search: str | None, here: str | None, request: gr.Request) -> tuple[View, Any, str]:
        """List the sessions anew, from the first page; what was open in a row is closed."""
        language = language_of(request)
        view = replace(view, page=0, panel="", target="", deleted="")
        said = status(say(language, "sessions.deleted_here")) if here == _DELETED else ""
        return self._drawn(view, search, here, language, said)

    def on_act(self, view: View, search: str | None, request: gr.Request, event: gr.EventData) -> tuple[Any, ...]:
        """Do what a button of the list asks for."""
        language, data = language_of(request), event._data if isinstance(event._data, dict) else {}
        action, session_id, here = (str(data.get(name, "")) for name in ("action", "id", "here"))
        said, file = "", gr.skip()
        view = replace(view, deleted="")
        try:
            if action == "page":
                view = replace(view, page=_whole(data.get("page")), panel="", target="")
            elif action == "close":
                view = _moved(replace(view, panel="", target=""), f"{view.panel}:{session_id}")
            elif action.removeprefix("ask-") in get_args(Panel) and action.startswith("ask-"):
                view = self._toggled(view, cast("Panel", action.removeprefix("ask-")), session_id)
            elif action == "export":
                said, file = self._exported(session_id, data, language)
            else:
                view, said = self._changed(action, session_id, data, view, search or "", language)
        except EvenhandError as error:
            return *self._drawn(view, search, here, language, status(in_language(language, error), "error")), file
        except Exception as error:  # noqa: BLE001 - the reader of the page gets a sentence, the log the traceback
            _log.exception("the Sessions tab failed", exc_info=error)
            return *self._drawn(view, search, here, language, status(say(language, "sessions.fault"), "error")), file
        return *self._drawn(view, search, here, language, status(said) if said else ""), file

    def on_import(
        self, view: View, search: str | None, here: str | None, request: gr.Request, event: gr.EventData
    ) -> tuple[Any, ...]:
        """Take in a session from a file that the browser has read."""
        language, data = language_of(request), event._data if isinstance(event._data, dict) else {}
        if problem := data.get("error"):
            return *self._drawn(view, search, here, language, status(str(problem), "error")), search
        try:
            name = _NO_FILE_NAME.sub(" ", str(data.get("name", "")))[:100] or "The file"
            session = self._workspace.disk.add(from_json(str(data.get("text", "")), name))
        except EvenhandError as error:
            return *self._drawn(view, search, here, language, status(in_language(language, error), "error")), search
        view = _moved(replace(view, page=0, panel="", target="", deleted=""), f"open:{session.id}")
        said = say(language, "sessions.imported", title=self._title(session.id, language))
        return *self._drawn(view, "", here, language, status(said)), ""

    def preview(self, call: list[str]) -> str:
        """Say how many passages a list of words would replace; ``call`` is [session's id, the list, language]."""
        session_id, words, language = (str(part) for part in call)
        try:
            pairs = pairs_of(words, language)
            counts = occurrences(self._workspace.open(session_id), pairs)
        except EvenhandError as error:
            return in_language(language, error)
        said = say(language, "sessions.preview", count=sum(counts))
        # The same word once more counts 0, too: it is found where it is first.
        folded = [word.casefold() for word, _ in pairs]
        missing = [
            word
            for at, ((word, _), count) in enumerate(zip(pairs, counts, strict=True))
            if not count and folded.index(folded[at]) == at
        ]
        return f"{said} {say(language, 'sessions.preview_missing', words=', '.join(missing))}" if missing else said

    def _drawn(
        self, view: View, search: str | None, here: str | None, language: str, said: str
    ) -> tuple[View, Any, str]:
        """Return what the page shows: the list as it is now, or, where it cannot be read, why."""
        search, here = search or "", here or ""  # None from a page that is still being built
        try:
            found = self._found(search, here)
        except EvenhandError as error:
            return view, "", status(in_language(language, error), "error")
        private = here if self._workspace.is_private(here) else ""
        view = replace(view, page=last_page(view.page, len(found)))
        listed = session_list(found, view, language, searched=bool(search.strip()), here=here, private=private)
        return view, listed, said

    def _found(self, search: str, here: str) -> list[SessionSummary]:
        """List what is on disk, and first the private session of this window: no other window can see it."""
        found = self._workspace.disk.list(search)
        if self._workspace.is_private(here):
            private = self._workspace.store_of(here).list(search)
            found = [*(one for one in private if one.id == here), *found]
        return found

    def _toggled(self, view: View, panel: Panel, session_id: str) -> View:
        if (view.panel, view.target) == (panel, session_id):
            return _moved(replace(view, panel="", target=""), f"{panel}:{session_id}")
        return _moved(replace(view, panel=panel, target=session_id), f"panel:{session_id}")

    def _changed(
        self, action: str, session_id: str, data: dict[str, Any], view: View, search: str, language: str
    ) -> tuple[View, str]:
        """Rename, duplicate or delete; returns the view afterwards and what to say."""
        store, closed = self._workspace.store_of(session_id), replace(view, panel="", target="")
        if action == "rename":
            store.rename(session_id, str(data.get("title", "")))
            return _moved(replace(closed, page=0), f"rename:{session_id}"), say(language, "sessions.renamed")
        if action == "duplicate" and not self._workspace.is_private(session_id):
            title = say(language, "sessions.copy_of", title=self._title(session_id, language))[:LONGEST_TITLE]
            copy = store.duplicate(session_id, title)
            view = _moved(replace(closed, page=0), f"open:{copy.id}")
            return view, say(language, "sessions.duplicated", title=title)
        if action == "delete":
            title = self._title(session_id, language)
            ids = [one.id for one in self._found(search, session_id)]
            at = ids.index(session_id) if session_id in ids else 0
            after = [*ids[at + 1 : at + 2], *ids[at - 1 : at]]
            self._workspace.mediations.stop(session_id)
            try:
                store.delete(session_id)
            finally:  # the file may be busy when its room is to be given back: the session is gone then
                self._forget(session_id)
            view = _moved(replace(closed, deleted=session_id), f"open:{after[0]}" if after else "")
            return view, say(language, "sessions.deleted", title=title)
        return view, ""

    def _exported(self, session_id: str, data: dict[str, Any], language: str) -> tuple[str, str]:
        """Return what to say, and the file for the browser to save."""
        kind = next((name for name in FORMATS if name == data.get("format")), FORMATS[0])
        wanted = str(data.get("language"))
        wanted = wanted if wanted in LANGUAGES else language
        pairs = pairs_of(str(data.get("words", "")), wanted)
        session = redact(self._workspace.open(session_id), pairs)
        ending, mime = _ENDINGS[kind]
        name = file_name(session, ending, wanted)
        chosen = data.get("parts")
        parts = Parts(**{part: part in chosen for part in PARTS}) if isinstance(chosen, list) else Parts()
        text = _written(session, kind, wanted, bool(pairs), parts)
        return say(language, "sessions.exported", name=name), file_payload(name, mime, text)

    def _title(self, session_id: str, language: str) -> str:
        store = self._workspace.store_of(session_id)
        store.get(session_id)  # says so if there is none
        return next(title_of(one, language) for one in store.list() if one.id == session_id)


def pairs_of(words: str, language: str) -> list[Pair]:
    """Read the list of words to replace: one a line, ``word`` or ``word = replacement``.

    Raises:
        InputError: there are more than `MOST_WORDS` lines, or one has more than `LONGEST_WORD` characters.
    """
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    if len(lines) > MOST_WORDS or any(len(line) > LONGEST_WORD for line in lines):
        raise InputError(say(language, "sessions.preview_too_many", most=MOST_WORDS, longest=LONGEST_WORD))
    pairs: list[Pair] = []
    named: dict[str, str] = {}
    for line in lines:
        word, _, replacement = (part.strip() for part in line.partition("="))
        if not word:
            continue
        if not replacement:
            number = len(named) + 1
            replacement = named.setdefault(word.casefold(), say(language, "sessions.default_name", number=number))
        pairs.append((word, replacement))
    return pairs


def file_name(session: Session, ending: str, language: str) -> str:
    """Return a name for the file of a session, from its title and the day of its last change."""
    title = " ".join(_NO_FILE_NAME.sub(" ", session.title).split()).strip(". ")[:80].rstrip(". ")
    day = session.updated_at.astimezone().date().isoformat()
    return f"{title or say(language, 'sessions.file_name')} {day}.{ending}"


def _written(session: Session, kind: Format, language: str, redacted: bool, parts: Parts) -> str:
    if kind == "json":
        return as_json(session)
    return (as_markdown if kind == "markdown" else as_html)(session, language, redacted, parts)


def _moved(view: View, focus: str) -> View:
    return replace(view, focus=focus, turn=view.turn + 1)


def _whole(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
