"""The Mediate tab: two views in, scored proposals streaming out, and a Stop that stops."""

import logging
import queue
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Literal

import gradio as gr

from mediator.cancellation import Cancellation
from mediator.disputes import examples
from mediator.errors import EvenhandError, InputError
from mediator.mediation import MOST_CANDIDATES, MOST_ROUNDS, Event, MediationDone, MediationOptions, propose
from mediator.models import parse_model
from mediator.schema import Dispute, Strategy, View
from mediator.settings import default_model, without_keys
from ui.board import NOTHING_YET, Board
from ui.components import STRATEGY_LABELS, placeholder, status, unknown_writer, where_the_text_goes
from ui.engine import Engine

_log = logging.getLogger(__name__)

UPDATES_PER_SECOND = 12.0
"""How often, at most, the page is redrawn."""

READY = "Ready."
FREE, PARTS = "In one text", "Place, reason, suggestion"

ALL_STRATEGIES = "All four, and the best of all"
_Item = Event | str | BaseException | None
"""What the working thread sends: an event, where the text goes, a failure, or None at the end."""

_INTERNAL_FAULT = "Something went wrong inside Evenhand. The details are in its log; what you typed is still here."

# Details that the reader opened stay open when the cards change under them: the page is rewritten many times a second.
_KEEP_OPEN = """
const open = new Set();
element.addEventListener("toggle", (event) => {
  const key = event.target.dataset && event.target.dataset.key;
  if (key) { if (event.target.open) open.add(key); else open.delete(key); }
}, true);
watch("value", () => {
  for (const details of element.querySelectorAll("details[data-key]")) details.open = open.has(details.dataset.key);
});
"""

# On a small screen the proposals are below the edge: bring them in, so that pressing Propose is seen to do something.
_SHOW_RESULTS = """(...values) => {
  const results = document.getElementById("eh-status");
  if (results && results.getBoundingClientRect().top > window.innerHeight * 0.6) {
    const calm = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
    results.scrollIntoView({ behavior: calm ? "auto" : "smooth", block: "start" });
  }
  return values;
}"""


class Sessions:
    """Which mediation runs in which browser tab. Thread-safe."""

    def __init__(self) -> None:
        self._running: dict[str, Cancellation] = {}
        self._lock = threading.Lock()

    def start(self, session: str) -> Cancellation:
        """Begin a mediation; one that still runs in this tab is stopped."""
        cancellation = Cancellation()
        with self._lock:
            previous = self._running.get(session)
            self._running[session] = cancellation
        if previous is not None:
            previous.cancel()
        return cancellation

    def stop(self, session: str) -> None:
        """Stop what runs in this tab, if anything does."""
        with self._lock:
            cancellation = self._running.get(session)
        if cancellation is not None:
            cancellation.cancel()

    def finish(self, session: str, cancellation: Cancellation) -> None:
        """Forget a mediation that has ended."""
        with self._lock:
            if self._running.get(session) is cancellation:
                del self._running[session]


@dataclass(frozen=True)
class Request:
    """What the page asks for: the values of its fields, unchecked."""

    side_a: tuple[str, str, str, str, str]
    side_b: tuple[str, str, str, str, str]
    model: str
    comment: str
    strategy: str
    count: int
    rounds: int
    seed: int

    def dispute(self) -> Dispute:
        """Return both views. Raises `InputError` that names the side which is empty."""
        return Dispute(view_a=_view("A", *self.side_a), view_b=_view("B", *self.side_b))

    def options(self) -> MediationOptions:
        """Return what to ask for. Raises `InputError` for a value out of range."""
        comments = (self.comment,) if self.comment else ()
        return MediationOptions(self.strategy, self.count, self.rounds, self.seed, comments)  # type: ignore[arg-type]


def _view(side: str, form: str, text: str, place: str, reason: str, suggestion: str) -> View:
    """Make the view of the form that is shown; what was typed in the other form is left alone."""
    fields = {"text": text} if form == FREE else {"place": place, "reason": reason, "suggestion": suggestion}
    if not any(value.strip() for value in fields.values()):
        other = (place, reason, suggestion) if form == FREE else (text,)
        if any(value.strip() for value in other):
            name = PARTS if form == FREE else FREE
            raise InputError(f"View {side} is empty in the form shown.", f"Fill it in, or switch it to “{name}”.")
        raise InputError(f"View {side} is empty.", f"Write what side {side} wants and why, or choose an example.")
    return View.model_validate(fields)


@dataclass(frozen=True)
class Picture:
    """What the page shows at one moment: HTML, and whether a mediation runs."""

    cards: str
    others: str
    status: str
    where: str
    running: bool


def mediate(request: Request, engine: Engine, cancellation: Cancellation) -> Generator[Picture, None, None]:
    """Run one mediation; yields what the page shows, at most `UPDATES_PER_SECOND` times a second.

    The writer works in a thread of its own: the page also learns of what has come when the writer falls silent, and a
    writer that hangs hangs nothing else. A consumer that goes away stops the writer.

    Raises:
        EvenhandError: it cannot begin, or the writer failed before one proposal was finished.
    """
    dispute, options = request.dispute(), request.options()
    where = where_the_text_goes(parse_model(request.model).destination)
    board = Board(several=options.strategy == "all")
    arriving: queue.SimpleQueue[_Item] = queue.SimpleQueue()

    def work() -> None:
        try:
            with engine.writer(request.model) as writer:
                arriving.put(where_the_text_goes(writer.destination))
                for event in propose(dispute, writer, engine.scorer(), options, cancellation):
                    arriving.put(event)
        except BaseException as error:  # noqa: BLE001 - the thread that draws the page reports it
            arriving.put(error)
        finally:
            arriving.put(None)

    def picture(kind: Literal["plain", "busy"], text: str, seconds: int | None = None) -> Picture:
        return Picture(board.cards(), board.others(), status(text, kind, seconds), where, running=kind == "busy")

    threading.Thread(target=work, name="mediation", daemon=True).start()
    try:
        yield picture("busy", board.activity())
        drawn = heard = time.monotonic()
        begun = False
        while True:
            batch = _next_batch(arriving, drawn + 1.0 / UPDATES_PER_SECOND)
            now = time.monotonic()
            heard = now if batch else heard
            for item in batch:
                if item is None:
                    yield picture("plain", board.outcome())
                    return
                if isinstance(item, BaseException):
                    raise item
                if isinstance(item, str):
                    where = item
                else:
                    board.apply(item)
                    begun = True
            if cancellation.cancelled and not begun:
                # The writer is still being loaded, which cannot be broken off; it need not keep anybody waiting.
                board.apply(MediationDone((), (), {}, {}, cancelled=True))
                yield picture("plain", board.outcome())
                return
            silent = int(now - heard)
            text = "Stopping…" if cancellation.cancelled else board.activity()
            yield picture("busy", text, silent if silent >= 2 else None)
            drawn = time.monotonic()
    finally:
        cancellation.cancel()


def _next_batch(arriving: "queue.SimpleQueue[_Item]", not_before: float, patience: float = 0.5) -> list[_Item]:
    """Wait for something to arrive, and until it may be drawn; return all that is there, nothing after ``patience``."""
    try:
        batch = [arriving.get(timeout=patience)]
    except queue.Empty:
        return []
    time.sleep(max(0.0, not_before - time.monotonic()))
    while True:
        try:
            batch.append(arriving.get_nowait())
        except queue.Empty:
            return batch


@dataclass(frozen=True)
class _Side:
    """The fields of one side."""

    form: Any
    text: Any
    place: Any
    reason: Any
    suggestion: Any

    @property
    def fields(self) -> list[Any]:
        return [self.form, self.text, self.place, self.reason, self.suggestion]

    def values(self, all_values: dict[Any, Any]) -> tuple[str, str, str, str, str]:
        """Pick what was typed on this side, in the order of `fields`."""
        form, text, place, reason, suggestion = (all_values[component] or "" for component in self.fields)
        return form, text, place, reason, suggestion


def build_tab(engine: Engine, sessions: Sessions) -> None:
    """Add the tab's content to the `gradio.Blocks` that is being built."""
    disputes = examples()
    with gr.Row(elem_classes="eh-example-row"):
        example = gr.Dropdown(
            [("Choose…", "")] + [(dispute.title or name, name) for name, dispute in disputes.items()],
            value="",
            label="Start from an example",
            elem_id="eh-example",
        )
    with gr.Row(elem_classes="eh-sides", equal_height=True):
        side_a = _side("A")
        side_b = _side("B")
    with gr.Row(elem_classes="eh-controls"):
        comment = gr.Textbox(
            label="Your comment (optional)",
            info="What every proposal should keep to",
            placeholder="For example: no cameras, keep it cheap",
            lines=1,
            max_lines=4,
            scale=3,
            min_width=280,
            elem_id="eh-comment",
        )
        model = gr.Dropdown(
            _model_choices(),
            value=default_model(),
            label="Writer",
            info="Or type gguf:PATH, openai:MODEL@URL, …",
            allow_custom_value=True,
            scale=2,
            min_width=280,
            elem_id="eh-model",
        )
    with gr.Accordion("Options", open=False, elem_classes="eh-options"), gr.Row():
        strategy = gr.Dropdown(
            [(STRATEGY_LABELS[name], str(name)) for name in STRATEGY_LABELS] + [(ALL_STRATEGIES, "all")],
            value=str(Strategy.COT_FEEDBACK),
            label="Strategy",
            info="How the writer is asked",
            filterable=False,
            elem_id="eh-strategy",
        )
        count = gr.Slider(1, MOST_CANDIDATES, value=4, step=1, label="Proposals", info="Per round, and in the end")
        rounds = gr.Slider(
            1,
            MOST_ROUNDS,
            value=3,
            step=1,
            label="Rounds",
            info=f"Of “{STRATEGY_LABELS[Strategy.COT_FEEDBACK]}”, at most",
        )
        seed = gr.Number(value=0, precision=0, label="Seed", info="The same seed repeats the drafter’s proposals")
    with gr.Row(elem_classes="eh-actions"):
        propose_button = gr.Button("Propose", variant="primary", elem_id="eh-propose", scale=0, min_width=140)
        stop_button = gr.Button("Stop", variant="stop", elem_id="eh-stop", interactive=False, scale=0, min_width=100)
        where = gr.HTML(
            _where(default_model()), elem_id="eh-where", apply_default_css=False, js_on_load=None, min_width=280
        )
    status_line = gr.HTML(status(READY), elem_id="eh-status", apply_default_css=False, js_on_load=None)
    cards = gr.HTML(placeholder(NOTHING_YET), elem_id="eh-cards", apply_default_css=False, js_on_load=_KEEP_OPEN)
    others = gr.HTML("", elem_id="eh-others", apply_default_css=False, js_on_load=_KEEP_OPEN)

    outputs = [cards, others, status_line, where, propose_button, stop_button]

    def on_propose(values: dict[Any, Any], request: gr.Request) -> Iterator[tuple[Any, ...]]:
        asked = Request(
            side_a=side_a.values(values),
            side_b=side_b.values(values),
            model=(values[model] or "").strip(),
            comment=(values[comment] or "").strip(),
            strategy=values[strategy],
            count=int(values[count]),
            rounds=int(values[rounds]),
            seed=int(values[seed] or 0),
        )
        yield from _answer(asked, _session(request), engine, sessions)

    propose_button.click(
        on_propose,
        inputs={*side_a.fields, *side_b.fields, model, comment, strategy, count, rounds, seed},
        outputs=outputs,
        js=_SHOW_RESULTS,
        show_progress="hidden",
        concurrency_limit=None,
        api_visibility="private",
    )

    def on_stop(request: gr.Request) -> None:
        sessions.stop(_session(request))

    stop_button.click(on_stop, queue=False, show_progress="hidden", api_visibility="private")

    def on_example(name: str) -> list[Any]:
        if name not in disputes:
            return [gr.skip()] * 10
        return [*_example_values(disputes[name].view_a), *_example_values(disputes[name].view_b)]

    example.input(
        on_example,
        inputs=[example],
        outputs=[*side_a.fields, *side_b.fields],
        queue=False,
        show_progress="hidden",
        api_visibility="private",
    )
    model.change(_where, inputs=[model], outputs=[where], queue=False, show_progress="hidden", api_visibility="private")


def _side(side: str) -> _Side:
    """Make the fields of one side; both sides are made here, so that they are alike."""
    low = side.lower()
    with gr.Column(elem_classes=["eh-side", f"eh-side-{low}"], min_width=280):
        with gr.Row(elem_classes="eh-side-head"):
            heading = f'<h2><span class="eh-letter">{side}</span>View {side}</h2>'
            gr.HTML(heading, apply_default_css=False, js_on_load=None, min_width=100)
            form = gr.Radio(
                [FREE, PARTS],
                value=FREE,
                label=f"How view {side} is written",
                elem_id=f"eh-form-{low}",
                scale=0,
                min_width=360,
            )
        with gr.Column(elem_classes="eh-form") as free:
            text = gr.Textbox(
                label=f"View {side} in one text",
                placeholder="What this side wants, and why it matters to them",
                lines=8,
                max_lines=16,
                elem_id=f"eh-text-{low}",
            )
        with gr.Column(visible=False, elem_classes="eh-form") as parts:
            place = gr.Textbox(label=f"Place or subject ({side})", lines=1, max_lines=4, elem_id=f"eh-place-{low}")
            reason = gr.Textbox(label=f"Reason ({side})", lines=3, max_lines=10, elem_id=f"eh-reason-{low}")
            suggestion = gr.Textbox(label=f"Suggestion ({side})", lines=2, max_lines=6, elem_id=f"eh-suggestion-{low}")

    def switch(chosen: str) -> tuple[Any, Any]:
        return gr.Column(visible=chosen == FREE), gr.Column(visible=chosen == PARTS)

    form.change(
        switch, inputs=[form], outputs=[free, parts], queue=False, show_progress="hidden", api_visibility="private"
    )
    return _Side(form, text, place, reason, suggestion)


def _example_values(view: View) -> list[str]:
    return [FREE if view.text else PARTS, view.text, view.place, view.reason, view.suggestion]


def _model_choices() -> list[tuple[str, str]]:
    choices = {"drafter": "Drafter (built in, no language model)", "claude": "Claude (over the network)"}
    choices.setdefault(default_model(), default_model())
    return [(label, name) for name, label in choices.items()]


def _where(model: str | None) -> str:
    """Say where the text would go with this writer; what is wrong with its name is said again when it is used."""
    try:
        return where_the_text_goes(parse_model(model or "").destination)
    except InputError as error:
        return unknown_writer(str(error))


def _session(request: gr.Request) -> str:
    """Name the browser tab that asks."""
    return str(request.session_hash)


def _answer(request: Request, session: str, engine: Engine, sessions: Sessions) -> Iterator[tuple[Any, ...]]:
    """Answer a press of Propose: only what changed is sent, and every failure ends as a sentence."""
    shown: Picture | None = None
    cancellation = sessions.start(session)
    try:
        with closing(mediate(request, engine, cancellation)) as pictures:
            for picture in pictures:
                yield _changes(shown, picture)
                shown = picture
    except EvenhandError as error:
        _log.info("a mediation ended with an error", exc_info=error)
        yield _failure(without_keys(str(error)), shown)
    except Exception as error:  # noqa: BLE001 - the reader of the page gets a sentence, the log the traceback
        _log.exception("a mediation failed", exc_info=error)
        yield _failure(_INTERNAL_FAULT, shown)
    finally:
        sessions.finish(session, cancellation)


def _changes(shown: Picture | None, picture: Picture) -> tuple[Any, ...]:
    """Return the outputs, with what the page shows already left out."""
    new = (picture.cards, picture.others, picture.status, picture.where)
    old = (None,) * 4 if shown is None else (shown.cards, shown.others, shown.status, shown.where)
    html = [gr.skip() if before == now else now for before, now in zip(old, new, strict=True)]
    return (*html, *_buttons(None if shown is None else shown.running, picture.running))


def _buttons(before: bool | None, running: bool) -> tuple[Any, Any]:
    if before is running:
        return gr.skip(), gr.skip()
    return gr.Button(interactive=not running), gr.Button(interactive=running)


def _failure(sentence: str, shown: Picture | None) -> tuple[Any, ...]:
    """Return the outputs that show an error; earlier proposals stay when this attempt had not begun."""
    cards = gr.skip() if shown is None else placeholder(NOTHING_YET)
    others = gr.skip() if shown is None else ""
    return (cards, others, status(sentence, "error"), gr.skip(), *_buttons(None, running=False))
