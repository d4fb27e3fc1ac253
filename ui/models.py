"""The Models tab: what is installed, downloads, own files and servers, keys, and a test of each writer."""

import logging
from html import escape
from typing import Any

import gradio as gr

from mediator import downloads, keys, own_models
from mediator.addresses import ANTHROPIC, origin
from mediator.background import FAULT
from mediator.catalogue import Downloadable, downloadables
from mediator.download_jobs import jobs
from mediator.errors import EvenhandError, InputError
from mediator.models import parse_model
from mediator.resources import asset
from mediator.settings import without_keys
from ui.components import status
from ui.engine import Engine
from ui.error_words import in_language
from ui.model_cards import model_list
from ui.strings import language_of, say, translator
from ui.trials import Trials

_log = logging.getLogger(__name__)

_FORMS = ("add_file", "add_server", "keys")
_EVERY = 0.5  # seconds between two looks at what is under way
_QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
# A path, an address, a name: nothing for the browser to complete or to correct.
_LITERAL = gr.InputHTMLAttributes(autocomplete="off", autocorrect="off", spellcheck=False)

# The buttons of the list; confirmations that stay open while the list is drawn anew; and a place for the keyboard when
# the button that was pressed is no longer there.
_ON_LIST = """
const open = new Set();
let pressed = null;
element.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-act]");
  if (!button || !element.contains(button)) return;
  const card = button.closest("[data-card]");
  pressed = card && card.dataset.card;
  if (card) open.delete(card.dataset.card);
  trigger("act", { act: button.dataset.act, name: button.dataset.name });
});
element.addEventListener("toggle", (event) => {
  const key = event.target.dataset && event.target.dataset.key;
  if (key) { if (event.target.open) open.add(key); else open.delete(key); }
}, true);
watch("value", () => {
  for (const details of element.querySelectorAll("details[data-key]")) details.open = open.has(details.dataset.key);
  const lost = !document.activeElement || document.activeElement === document.body;
  if (!pressed || !lost) return;
  const cards = [...element.querySelectorAll("[data-card]")];
  const card = cards.find((one) => one.dataset.card === pressed);
  const button = (card || element).querySelector("button[data-act]");
  if (button) button.focus();
  pressed = null;
});
"""

# Gradio drops the attribute on a field for passwords.
_NO_AUTOCOMPLETE = """
const set = () => {
  const field = document.querySelector("#eh-key input");
  if (field) field.autocomplete = "off";
};
set();
new MutationObserver(set).observe(document.body, { childList: true, subtree: true });
"""


def build_tab(engine: Engine) -> None:
    """Compose the tab inside a `gradio.Blocks`. Downloads and tests go on when the page is closed or reloaded."""
    t, trials = translator(), Trials(engine)

    def drawn(request: gr.Request) -> tuple[str, Any]:
        language = language_of(request)
        names = tuple(writer.name for writer in engine.loaded())
        shown = without_keys(model_list(language, jobs, trials, names))
        return shown, gr.Timer(active=jobs.running() or trials.running())

    answer = gr.HTML("", elem_id="eh-models-answer", apply_default_css=False, js_on_load=None)
    listed = gr.HTML(
        "",
        elem_id="eh-models",
        apply_default_css=False,
        js_on_load=_ON_LIST,
        css_template=asset("models.css").read_text(encoding="utf-8"),
    )
    timer = gr.Timer(_EVERY, active=False)
    gr.on(None, drawn, outputs=[listed, timer], queue=False, **_QUIET)
    timer.tick(drawn, outputs=[listed, timer], queue=False, **_QUIET)

    def on_act(request: gr.Request, event: gr.EventData) -> tuple[Any, ...]:
        data = event._data if isinstance(event._data, dict) else {}
        act, name = str(data.get("act", "")), str(data.get("name", ""))
        said = _guarded(lambda: _act(act, name, engine, trials, language_of(request)), language_of(request))
        return said, *drawn(request)

    listed.act(on_act, outputs=[answer, listed, timer], queue=False, **_QUIET)

    headings: list[gr.HTML] = []
    with gr.Row(equal_height=False):
        with gr.Column(min_width=300, elem_classes="eh-panel"):
            headings.append(_heading())
            path = gr.Textbox(
                label=t("models.add_file_label"),
                info=t("models.add_file_info"),
                placeholder="/…/model.gguf",
                max_lines=1,
                elem_id="eh-own-path",
                html_attributes=_LITERAL,
            )
            add_file = gr.Button(t("models.add_file_button"), elem_id="eh-add-file")
            file_said = gr.HTML("", elem_id="eh-file-said", apply_default_css=False, js_on_load=None)
        with gr.Column(min_width=300, elem_classes="eh-panel"):
            headings.append(_heading())
            url = gr.Textbox(
                label=t("models.server_url"),
                info=t("models.add_server_info"),
                placeholder="http://localhost:8080/v1",
                max_lines=1,
                elem_id="eh-own-url",
                html_attributes=_LITERAL,
            )
            model = gr.Textbox(
                label=t("models.server_model"),
                placeholder="qwen3",
                max_lines=1,
                elem_id="eh-own-model",
                html_attributes=_LITERAL,
            )
            add_server = gr.Button(t("models.add_server_button"), elem_id="eh-add-server")
            server_said = gr.HTML("", elem_id="eh-server-said", apply_default_css=False, js_on_load=None)
        with gr.Column(min_width=300, elem_classes="eh-panel"):
            headings.append(_heading())
            who = gr.Dropdown(_key_owners(), value=ANTHROPIC, label=t("models.key_for"), elem_id="eh-key-for")
            key = gr.Textbox(
                label=t("models.key_field"),
                info=t("models.keys_note"),
                type="password",
                max_lines=1,
                elem_id="eh-key",
            )
            place = gr.Radio(
                [(t("models.key_session"), "session"), (t("models.key_keyring"), "keyring")],
                value="session",
                label=t("models.key_where"),
                elem_id="eh-key-place",
            )
            with gr.Row():
                keep = gr.Button(t("models.key_save"), elem_id="eh-key-save")
                forget = gr.Button(t("models.key_forget"), elem_id="eh-key-forget")
            key_said = gr.HTML("", elem_id="eh-key-said", apply_default_css=False, js_on_load=_NO_AUTOCOMPLETE)

    def on_file(named: str, request: gr.Request) -> tuple[Any, ...]:
        def add() -> str:
            if not (named or "").strip():
                raise InputError("The path is empty.", "Write where the .gguf file is.")
            return say(language_of(request), "models.file_added", title=own_models.add_file(named).title)

        said = _guarded(add, language_of(request))
        return said, gr.Textbox() if _failed(said) else "", *drawn(request)

    gr.on([add_file.click, path.submit], on_file, [path], [file_said, path, listed, timer], queue=False, **_QUIET)

    def on_server(address: str, named: str, request: gr.Request) -> tuple[Any, ...]:
        def add() -> str:
            if not (named or "").strip() or not (address or "").strip():
                raise InputError("Address and model name are both needed.", "For example http://localhost:8080/v1.")
            return _server_added(own_models.add_server(named, address), language_of(request))

        said = _guarded(add, language_of(request))
        keep_typed = _failed(said)
        fields = (gr.Textbox(), gr.Textbox()) if keep_typed else ("", "")
        return said, *fields, gr.Dropdown(choices=_key_owners()), *drawn(request)

    gr.on(
        [add_server.click, url.submit, model.submit],
        on_server,
        [url, model],
        [server_said, url, model, who, listed, timer],
        queue=False,
        **_QUIET,
    )

    def on_key(owner: str, text: str, where: str, request: gr.Request) -> tuple[Any, ...]:
        """The field is emptied whatever comes of it: the key must not stay on the page."""
        language = language_of(request)

        def save() -> str:
            kept = keys.keep(owner, text or "", in_keyring=where == "keyring")
            trials.forget("claude")
            return "" if not kept.why_session else say(language, "models.key_no_keyring")

        said = _guarded(lambda: f"{save()} {_key_words(owner, language)}".strip(), language)
        return said, "", *drawn(request)

    gr.on([keep.click, key.submit], on_key, [who, key, place], [key_said, key, listed, timer], queue=False, **_QUIET)

    def on_forget(owner: str, request: gr.Request) -> tuple[Any, ...]:
        language = language_of(request)

        def drop() -> str:
            keys.forget(owner)
            trials.forget("claude")
            left = keys.where_from(owner)
            if left is None:
                return f"{say(language, 'models.key_forgotten')} {_key_words(owner, language)}"
            return f"{_key_words(owner, language)} {say(language, 'models.key_stays_in_environment')}"

        return _guarded(drop, language), "", *drawn(request)

    forget.click(on_forget, [who], [key_said, key, listed, timer], queue=False, **_QUIET)

    def on_owner(owner: str, request: gr.Request) -> str:
        return _guarded(lambda: _key_words(owner, language_of(request)), language_of(request))

    gr.on([who.input], on_owner, [who], [key_said], queue=False, **_QUIET)

    def on_load(request: gr.Request) -> tuple[Any, ...]:
        language = language_of(request)
        texts = [f"<h2>{escape(say(language, f'models.{name}'))}</h2>" for name in _FORMS]
        return (*texts, gr.Dropdown(choices=_key_owners()), on_owner(ANTHROPIC, request))

    gr.on(None, on_load, outputs=[*headings, who, key_said], queue=False, **_QUIET)


def _heading() -> gr.HTML:
    """A heading whose words come with the page's language."""
    style = "h2 { font-size: 1.1rem; font-weight: 650; }"
    return gr.HTML("", apply_default_css=False, js_on_load=None, css_template=style)


def _act(act: str, name: str, engine: Engine, trials: Trials, language: str) -> str:
    """Do what a button of the list says; returns what to say about it, or an empty string."""
    match act:
        case "download":
            jobs.start(name)
        case "stop-download":
            jobs.stop(name)
        case "test" if any(choice.name == name for choice in own_models.writer_choices()):
            trials.start(name)
        case "stop-test":
            trials.stop(name)
        case "remove":
            return _removed(name, engine, trials, language)
        case _:
            raise InputError("This model is not on the list any more.", "Reload the page.")
    return ""


def _removed(name: str, engine: Engine, trials: Trials, language: str) -> str:
    entry = _entry(name)
    spec = f"gguf:{entry.path()}" if entry else name
    engine.unload(spec)
    trials.forget(spec)
    if entry is not None:
        downloads.remove(entry)
        jobs.forget(entry.name)
        return say(language, "models.removed", title=entry.title)
    own_models.remove(name)
    title = name.rpartition("/")[2] if name.startswith("gguf:") else own_models.server_title(parse_model(name))
    return say(language, "models.removed", title=title)


def _entry(name: str) -> Downloadable | None:
    """The model of the catalogue that a card stands for, downloaded or not."""
    return next((entry for entry in downloadables() if name in (entry.name, f"gguf:{entry.path()}")), None)


def _server_added(choice: own_models.WriterChoice, language: str) -> str:
    if choice.destination is None:
        return say(language, "models.server_added_here", title=choice.title)
    said = say(language, "models.server_added_away", title=choice.title, host=choice.destination)
    url = parse_model(choice.name).url or ""
    return f"{said} {say(language, 'models.unencrypted')}" if url.startswith("http://") else said


def _key_owners() -> list[tuple[Any, str]]:
    """Whom a key can be for: Claude, and each of the user's own servers."""
    owners: list[tuple[Any, str]] = [(translator()("models.key_claude"), ANTHROPIC)]
    for spec in own_models.load().servers:
        where = origin(parse_model(spec).url or "")
        if where is not None and all(where != value for _, value in owners):
            owners.append((where, where))
    return owners


def _key_words(owner: str, language: str) -> str:
    """Say whose key there is and where it is kept; of the key itself, the last four characters."""
    who = say(language, "models.key_claude") if owner == ANTHROPIC else owner
    source = keys.where_from(owner)
    if source is None:
        return say(language, "models.key_none", who=who)
    name = {"environment": "key_environment", "session": "key_in_session", "keyring": "key_in_keyring"}[source.place]
    return say(language, f"models.{name}", who=who, variable=source.variable, tail=f"…{source.tail}")


def _guarded(work: Any, language: str) -> str:
    """Return the line that says how it went; every failure is a sentence without keys."""
    try:
        said = work()
        return status(said) if said else ""
    except EvenhandError as error:
        return status(without_keys(in_language(language, error)), "error")
    except Exception as error:  # noqa: BLE001 - the reader of the page gets a sentence, the log the traceback
        _log.exception("the Models tab failed", exc_info=error)
        return status(in_language(language, FAULT), "error")


def _failed(said: str) -> bool:
    return "eh-status-error" in said
