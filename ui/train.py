"""The Train tab: a new run with every setting explained, and the runs: watched live, stopped, resumed, compared."""

import json
import logging
from collections.abc import Callable
from typing import Any

import gradio as gr
from gradio.context import Context

from mediator.errors import EvenhandError
from mediator.resources import asset
from mediator.settings import without_keys
from trainer.runs import runs
from ui import train_draft
from ui.components import status
from ui.error_words import in_language
from ui.strings import LANGUAGES, language_of, say, translator
from ui.train_checks import checked, config_of, extra_is_missing
from ui.train_form import missing_extra, offers, run_form
from ui.train_runs import act, drawn, known_files, writer_of
from ui.train_settings import chosen_recipe, draft_of

_log = logging.getLogger(__name__)

_EVERY = 1.0  # seconds between two looks at the runs, while one works
_LARGEST_CALL = 1_000_000  # characters
_QUICK: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}

# Which run is shown, and which are compared, is behind the # of the page's address: a reload and a bookmark find them.
_HERE = "(...values) => [...values.slice(0, -1), window.location.hash]"

# What a button could not do is said above the runs, perhaps out of sight.
_SHOW = 'watch("value", () => element.querySelector("p")?.scrollIntoView({ block: "nearest" }));'

_KEEP_THE_TAB = """() => {
  const labels = __LABELS__;
  const isTrain = (button) => button.dataset.tabId === "train" || labels.includes(button.textContent.trim());
  const buttons = "#eh-tabs :is([role=tab], .overflow-dropdown button)"; // on a phone, some are in a menu
  document.addEventListener("click", (event) => {
    const button = event.target.closest(buttons);
    if (!button) return;
    const kept = new URLSearchParams(window.location.hash.slice(1));
    if (isTrain(button)) kept.set("tab", "train"); else kept.delete("tab");
    const address = new URL(window.location.href);
    address.hash = kept.toString();
    window.history.replaceState(window.history.state, "", address);
  }, true); // before the tab is shown: what is in it looks at the address
  if (new URLSearchParams(window.location.hash.slice(1)).has("tab"))
    [...document.querySelectorAll(buttons)].find(isTrain)?.click();
}"""


def keep_the_tab() -> str:
    """Return the JavaScript for the page to run when it has loaded: a reload of the Train tab comes back to it."""
    return _KEEP_THE_TAB.replace("__LABELS__", json.dumps([say(language, "train.tab") for language in LANGUAGES]))


class TrainTab:
    """The tab's components and what happens when somebody uses them. Holds nothing that a reload would lose."""

    def __init__(self, with_writer: bool = True) -> None:
        """Add the tab's content to the `gradio.Blocks` that is being built.

        Args:
            with_writer: whether the page has a place where a trained model can write; see `use`.
        """
        self._with_writer = with_writer

        # Gradio marks these functions, which methods do not allow.
        def look(call: list[str]) -> dict[str, Any]:
            return self.look(call)

        def start(call: list[str]) -> dict[str, Any]:
            return self.start(call)

        script = asset("train.js").read_text(encoding="utf-8")
        looks: dict[str, Any] = {
            "apply_default_css": False,
            "js_on_load": script,
            "css_template": asset("train.css").read_text(encoding="utf-8"),
        }
        self.form = gr.HTML("", elem_id="eh-train-form", server_functions=[look, start], **looks)
        self.answer = gr.HTML("", elem_id="eh-train-answer", apply_default_css=False, js_on_load=_SHOW)
        self.runs = gr.HTML("", elem_id="eh-train-runs", **looks)
        self.timer = gr.Timer(_EVERY, active=False)
        self.here = gr.Textbox(visible="hidden")
        self._listen()

    def _listen(self) -> None:
        followed = [self.runs, self.timer]
        here: dict[str, Any] = {"inputs": [self.here], "js": _HERE, **_QUICK}
        whole: dict[str, Any] = {"outputs": [self.form, *followed], **here}
        tab = Context.block
        while tab is not None and not isinstance(tab, gr.Tab):
            tab = tab.parent
        if tab is not None:
            tab.select(self.on_open, **whole)
        if Context.root_block is not None:
            Context.root_block.load(self.on_open, **whole)
        self.timer.tick(self.on_look, outputs=followed, **here)
        self.form.started(self.on_look, outputs=followed, **here)
        self.form.recipe(self.on_recipe, outputs=[self.form], **_QUICK)
        self.runs.look(self.on_look, outputs=followed, **here)
        self.runs.act(self.on_act, outputs=[self.answer, *followed], **here)

    def use(self, model: Any, tabs: Any, tab: str) -> Any:
        """Let the model of a finished run write.

        Args:
            model: the component that holds the name of the writer.
            tabs: the `gradio.Tabs`, of which ``tab`` is shown.
            tab: the id of the tab with that component.

        Returns:
            Gradio's event, for what follows from another writer.
        """

        def on_use(request: gr.Request, event: gr.EventData) -> tuple[Any, ...]:
            name, said = self.on_use(request, event)
            return (name, gr.Tabs(selected=tab), said) if name else (gr.skip(), gr.skip(), said)

        return self.runs.use(on_use, outputs=[model, tabs, self.answer], **_QUICK)

    # -- what is asked

    def on_open(self, here: str | None, request: gr.Request) -> tuple[Any, ...]:
        """Draw all of the tab: the form as it was typed last, and the runs."""
        language = language_of(request)
        page, working = drawn(here or "", language, with_writer=self._with_writer)
        form = missing_extra(language) if extra_is_missing() else self._form(language, folded=working)
        return form, page, gr.Timer(active=working)

    def on_look(self, here: str | None, request: gr.Request) -> tuple[Any, ...]:
        """Draw the runs as they are now."""
        page, working = drawn(here or "", language_of(request), with_writer=self._with_writer)
        return page, gr.Timer(active=working)

    def on_recipe(self, request: gr.Request, event: gr.EventData) -> str:
        """Show the fields of another recipe; what was typed stays."""
        data = event._data if isinstance(event._data, dict) else {}
        before = train_draft.load()
        draft = draft_of(_parsed(data.get("before")), before)
        train_draft.save(chosen_recipe(draft, str(data.get("recipe"))))
        return self._form(language_of(request), folded=False)

    def on_act(self, here: str | None, request: gr.Request, event: gr.EventData) -> tuple[Any, ...]:
        """Stop, resume or delete a run; start or cancel an export of its model."""
        data = event._data if isinstance(event._data, dict) else {}
        language = language_of(request)
        said = _guarded(lambda: act(*(str(data.get(name, "")) for name in ("act", "id", "kind"))), language)
        return said, *self.on_look(here, request)

    def on_use(self, request: gr.Request, event: gr.EventData) -> tuple[str, str]:
        """Return the name of a run's model, or of its export, as a writer, or an empty text and why there is none."""
        data = event._data if isinstance(event._data, dict) else {}
        run_id, kind = str(data.get("id", "")), str(data.get("kind") or "")
        found: list[str] = []
        said = _guarded(lambda: found.append(writer_of(runs.find(run_id), kind)), language_of(request))
        return "".join(found), said

    def look(self, call: list[str]) -> dict[str, Any]:
        """Keep what is typed and say what is to be said of it; ``call`` is [the draft as JSON, language]."""
        draft, language = draft_of(_parsed(call[0]), train_draft.load()), _language(call[1])
        train_draft.save(draft)
        answer = checked(draft, language)
        return answer | {"known": {name: offers(values) for name, values in known_files(language).items()}}

    def start(self, call: list[str]) -> dict[str, Any]:
        """Start a run; ``call`` as for `look`. Returns its id, or why there is none, as HTML."""
        draft, language = draft_of(_parsed(call[0]), train_draft.load()), _language(call[1])
        train_draft.save(draft)
        made: list[str] = []

        def launch() -> None:
            config, processes = config_of(draft, language)
            made.append(runs.launch(config, draft.recipe, processes=processes).id)

        said = _guarded(launch, language)
        return {"run": made[0] if made else "", "said": said or status(say(language, "train.started"))}

    def _form(self, language: str, *, folded: bool) -> str:
        return run_form(train_draft.load(), known_files(language), language, folded=folded)


def build_tab(with_writer: bool = True) -> TrainTab:
    """Compose the tab inside the `gradio.Blocks` that is being built. Runs go on when the page or the app is closed."""
    translator()
    return TrainTab(with_writer)


def _parsed(text: object) -> object:
    if not isinstance(text, str) or len(text) > _LARGEST_CALL:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _language(wanted: object) -> str:
    return str(wanted) if wanted in LANGUAGES else LANGUAGES[0]


def _guarded(work: Callable[[], None], language: str) -> str:
    """Do something; returns the line that says why it failed, empty if it did not."""
    try:
        work()
    except EvenhandError as error:
        return status(without_keys(in_language(language, error)), "error")
    except Exception as error:  # noqa: BLE001 - the reader of the page gets a sentence, the log the traceback
        _log.exception("the Train tab failed", exc_info=error)
        return status(say(language, "train.fault"), "error")
    return ""
