"""The Mediate tab: two views in, scored proposals streaming out, refined round after round."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import gradio as gr

from mediator.disputes import LARGEST_FILE, dispute_as_yaml, examples, parse_dispute
from mediator.errors import EvenhandError
from mediator.schema import Dispute
from mediator.session import LONGEST_TITLE, Form, Mark
from mediator.settings import without_keys
from mediator.store import SessionNotFound
from ui import drawing
from ui.auditing import Auditing
from ui.cards import acceptance_view, sentence_view
from ui.components import consent, describe_scores, status, where_the_text_goes
from ui.fields import text_of
from ui.files import file_payload
from ui.forms import dispute_of, form_of, view_text
from ui.mediate_layout import MediateLayout
from ui.mediate_updates import Updates, beside, buttons, drawn, opened, saved_words, settled
from ui.running import INTERNAL_FAULT, Running
from ui.strings import language_of, say
from ui.windows import Change, SessionDeleted, Windows
from ui.workspace import Workspace

_log = logging.getLogger(__name__)

UPDATES_PER_SECOND = 12.0
"""How often, at most, the page is redrawn while a writer writes."""

_MARKS: dict[str, Mark] = {"keep": "kept", "drop": "dropped", "undecided": ""}

# The page's address names the session, so that a reload, a bookmark and a second window find it. It says too that one
# is private: when that is gone from memory, what is typed on the reloaded page must not be saved on the disk.
_NAME_THE_SESSION = """(id, isPrivate) => {
  const address = new URL(window.location.href);
  const before = address.searchParams.get("session");
  if (!id || before === id) return;
  address.search = "?session=" + id + (isPrivate ? "&new=private" : "");
  if (before) {
    history.pushState(null, "", address);
    window.addEventListener("popstate", () => window.location.reload(), { once: true });
  } else history.replaceState(null, "", address);
}"""

# On a small screen the proposals are below the edge: bring them in, so that pressing Propose is seen to do something.
_SHOW_RESULTS = """(...values) => {
  const results = document.getElementById("eh-status");
  if (results && results.getBoundingClientRect().top > window.innerHeight * 0.6) {
    const calm = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
    results.scrollIntoView({ behavior: calm ? "auto" : "smooth", block: "start" });
  }
  return values;
}"""

_QUICK: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
_STREAM: dict[str, Any] = {"show_progress": "hidden", "concurrency_limit": None, "api_visibility": "private"}


class MediateTab:
    """What happens when somebody uses the tab. Holds nothing that a reload would lose."""

    def __init__(self, workspace: Workspace) -> None:
        """Add the tab's content to the `gradio.Blocks` that is being built."""
        self._workspace = workspace
        self._auditing = Auditing(workspace.engine)
        self._examples = examples()
        self._windows = Windows(workspace)

        # Gradio marks these functions, which methods do not allow.
        def score_text(call: list[str]) -> dict[str, Any]:
            return self.score_text(call)

        def sentences(call: list[str]) -> str:
            return self.sentences(call)

        def acceptance(call: list[str]) -> str:
            return self.acceptance(call)

        self.page = MediateLayout(self._examples, [score_text, sentences, acceptance])
        self._listen()

    def _listen(self) -> None:
        page = self.page
        saving = [page.address, page.saved, page.safety, page.where, *page.counts]
        save: dict[str, Any] = {"inputs": {*page.form}, "outputs": saving, "trigger_mode": "always_last", **_QUICK}
        page.typing.typed(self.on_typed, **save)
        gr.on([field.input for field in page.fields.chosen], self.on_typed, **save)
        page.address.change(None, inputs=[page.address, page.private], js=_NAME_THE_SESSION)
        page.propose.click(self.on_propose, inputs={*page.form}, outputs=page.streamed, js=_SHOW_RESULTS, **_STREAM)
        page.stop.click(self.on_stop, inputs=[page.session_id], **_QUICK)
        whole: dict[str, Any] = {"outputs": page.whole, **_STREAM}
        for component in (page.board, page.plane, page.consent):
            # Several cards may be marked faster than the first mark is answered.
            component.act(self.on_act, inputs={*page.form, page.pending_like}, trigger_mode="multiple", **whole)
        page.example.select(self.on_example, inputs={*page.form, page.example}, **whole)
        page.file.picked(self.on_file, inputs={*page.form}, **whole)
        page.save_file.click(self.on_save_file, inputs={*page.form}, outputs=[page.download, page.status], **_QUICK)
        audited = [page.audit, page.status, page.propose, page.stop, page.run_audit, page.address]
        page.run_audit.click(self.on_audit, inputs={*page.form}, outputs=audited, **_STREAM)
        looked_at = [page.session_id, page.shown, page.address]
        page.clock.tick(
            self.on_tick, inputs=looked_at, outputs=[*page.drawn, page.attach, *page.typed_elsewhere], **_QUICK
        )
        page.attach.change(self.on_attach, inputs=[page.session_id], outputs=page.streamed, **_STREAM)

    # -- a window comes and goes

    async def on_load(self, request: gr.Request) -> Updates:
        """A window opened: show the session that its address names, and have what runs in it watched."""
        language, wanted = language_of(request), str(request.query_params.get("session", ""))[:64]
        private = request.query_params.get("new") == "private"
        if not wanted:
            return opened(self.page, None, private, language)
        try:
            session = await asyncio.to_thread(self._windows.open, _window(request), wanted)
        except SessionNotFound:
            line = say(language, "mediate.session_gone")
            return {**opened(self.page, None, private, language), self.page.status: status(line, "error")}
        except EvenhandError as error:
            return {**opened(self.page, None, private, language), self.page.status: status(str(error), "error")}
        page = await asyncio.to_thread(opened, self.page, session, private, language)
        updates = {**page, **self._buttons(session.id)}
        running = self._workspace.mediations.get(session.id)
        return updates if running is None else {**updates, self.page.attach: _to_watch(running)}

    def on_leave(self, request: gr.Request) -> None:
        """A window was closed or reloaded."""
        self._windows.leave(_window(request))
        self._auditing.leave(_window(request))
        self._workspace.mediations.leave(_window(request))

    async def on_tick(self, session_id: str, shown: float, address: str, request: gr.Request) -> Updates:
        """Look whether another window changed this session, or began a round in it."""
        nothing: Updates = {self.page.attach: gr.skip()}
        if not address:
            return nothing
        window, running = _window(request), self._workspace.mediations.get(session_id)
        if running is not None:
            return nothing if running.is_watched_by(window) else {self.page.attach: _to_watch(running)}
        try:
            change = await asyncio.to_thread(self._windows.look, window, session_id)
        except EvenhandError:
            return nothing
        if change is None:
            return nothing
        language = language_of(request)
        updates = await asyncio.to_thread(drawn, self.page, change.session, int(shown or 0), language)
        return {**updates, **self._typed_elsewhere(change, language)}

    def _typed_elsewhere(self, change: Change, language: str) -> Updates:
        """Return what other windows typed since this one took part."""
        form, title = change.session.form, change.session.title
        updates: Updates = {} if change.title_before == title else {self.page.title: title}
        if change.form_before != form:
            updates |= self.page.fields.write_differences(form, change.form_before) | beside(self.page, form, language)
        return updates

    async def on_attach(self, session_id: str, request: gr.Request) -> AsyncIterator[Updates]:
        """Watch the round that another window began."""
        language = language_of(request)
        async for updates in self._guarded(self._watch(session_id, _window(request), language), session_id, language):
            yield updates

    # -- typing

    async def on_typed(self, values: dict[Any, Any], request: gr.Request) -> Updates:
        """Save what is typed, at once."""
        language = language_of(request)
        form = self.page.fields.read(values)
        updates = {**beside(self.page, form, language)}
        try:
            session_id = await asyncio.to_thread(self._save, values, form, _window(request))
        except EvenhandError as error:
            _log.info("a session could not be saved", exc_info=error)
            return {**updates, self.page.saved: saved_words(language, "problem", str(error))}
        state = "private" if self._workspace.is_private(session_id) else "saved"
        return {**updates, self.page.address: session_id, self.page.saved: saved_words(language, state)}

    def _save(self, values: Mapping[Any, Any], form: Form, window: str) -> str:
        """Save what is typed; returns the session's id."""
        session_id = str(values[self.page.session_id])
        return self._windows.save(
            window, session_id, form, text_of(values[self.page.title]),
            private=bool(values[self.page.private]), is_saved=values[self.page.address] == session_id,
        )  # fmt: skip

    # -- proposing

    async def on_propose(self, values: dict[Any, Any], request: gr.Request) -> AsyncIterator[Updates]:
        """Begin the next round and show it as it comes."""

        async def begin_and_watch() -> AsyncIterator[Updates]:
            updates = await self._begin(values, request, None)
            runs = updates.pop(self.page.attach, None)  # this window watches it here
            yield updates
            if runs:
                language = language_of(request)
                async for update in self._watch(updates[self.page.address], _window(request), language):
                    yield update

        async for updates in self._guarded(begin_and_watch(), values[self.page.session_id], language_of(request)):
            yield updates

    async def _begin(
        self, values: Mapping[Any, Any], request: gr.Request, like: str | None, consented: str = ""
    ) -> Updates:
        """Begin the next round, or ask whether the text may be sent; ``consented`` is the host somebody agreed to."""
        language, form = language_of(request), self.page.fields.read(values)
        session_id = await asyncio.to_thread(self._save, values, form, _window(request))
        dispute_of(form, language)
        if (destination := self._workspace.needs_consent(session_id, form.model)) is not None:
            # Another writer may have been chosen since the question was asked: the answer is for the host it named.
            if consented != destination:
                return {
                    self.page.consent: consent(destination, language),
                    self.page.pending_like: like,
                    self.page.address: session_id,
                }
            self._workspace.consent(session_id, form.model)
        title = text_of(values[self.page.title])

        def begin() -> tuple[Running, bool]:
            return self._workspace.propose(
                session_id, form, language, title=title, shown=int(values[self.page.shown] or 0), like=like
            )

        running, new = await asyncio.to_thread(begin)
        updates: Updates = {
            self.page.address: session_id,
            self.page.consent: "",
            self.page.pending_like: None,
            self.page.attach: _to_watch(running),
            **self._buttons(session_id),
        }
        if new:
            # The trail has the comment now, and it still holds; the field is free for the next one.
            await asyncio.to_thread(self._save, values, form.model_copy(update={"comment": ""}), _window(request))
            updates[self.page.fields.comment] = ""
        return updates

    async def _watch(self, session_id: str, window: str, language: str) -> AsyncIterator[Updates]:
        """Show what runs in a session until it ends; then the settled round."""
        running = self._workspace.mediations.get(session_id)
        if running is not None:
            session = await asyncio.to_thread(self._workspace.open, session_id)
            with running.watched_by(window):
                yield {
                    **drawn(self.page, session, 0, language, running),
                    self.page.live: drawing.live(running, session.form, language),
                    self.page.status: status(self._activity(running, language), "busy"),
                    **self._buttons(session_id),
                }
                async for updates in self._stream(running, session.form, language):
                    yield updates
        try:
            session = await asyncio.to_thread(self._workspace.open, session_id)
        except SessionNotFound:
            yield {self.page.live: "", self.page.board: "", self.page.plane: ""}
            raise SessionDeleted from None
        yield {
            **await asyncio.to_thread(settled, self.page, session, running, language),
            **self._buttons(session_id),
        }

    async def _stream(self, running: Running, form: Form, language: str) -> AsyncIterator[Updates]:
        """Redraw whenever something came, at most `UPDATES_PER_SECOND` times a second; show how long it is silent."""
        seen, heard, clock = -1, time.monotonic(), 0
        shown_where: str | None = None
        while not running.finished:
            updates: Updates = {}
            if running.version != seen:
                seen, heard = running.version, time.monotonic()
                updates[self.page.live] = drawing.live(running, form, language)
            silent = int(time.monotonic() - heard)
            if updates or silent != clock:
                clock = silent
                activity = self._activity(running, language)
                updates[self.page.status] = status(activity, "busy", silent if silent >= 2 else None)
            where = where_the_text_goes(running.destination, language, hears=running.hears)
            if running.position == 0 and where != shown_where:
                shown_where = updates[self.page.where] = where
            if updates:
                yield updates
            await asyncio.sleep(1.0 / UPDATES_PER_SECOND)

    def _activity(self, running: Running, language: str) -> str:
        if running.cancellation.cancelled:
            return say(language, "mediate.stopping")
        if running.position:
            return say(language, "mediate.in_queue", count=running.position)
        with running.lock:
            return running.board.activity(language)

    async def on_stop(self, session_id: str) -> None:
        """Stop the model itself; what is finished stays."""
        self._auditing.stop(session_id)
        await asyncio.to_thread(self._workspace.mediations.stop, session_id)

    # -- the cards

    async def on_act(self, values: dict[Any, Any], event: gr.EventData, request: gr.Request) -> AsyncIterator[Updates]:
        """Somebody pressed a button of a card, the trail, the plane or the question about a remote model.

        What takes long is only begun here: the window is told to watch it, and is free for the next press.
        """
        data = event._data if isinstance(event._data, dict) else {}

        async def act() -> AsyncIterator[Updates]:
            yield await self._act(values, data, request)

        async for updates in self._guarded(act(), values[self.page.session_id], language_of(request)):
            yield updates

    async def _act(self, values: Mapping[Any, Any], data: Mapping[str, Any], request: gr.Request) -> Updates:
        language, workspace = language_of(request), self._workspace
        session_id, proposal = str(values[self.page.session_id]), str(data.get("id", ""))
        shown = int(values[self.page.shown] or 0)
        match data.get("action"):
            case "consent":
                return await self._begin(values, request, values[self.page.pending_like], str(data.get("value", "")))
            case "decline":
                return {
                    self.page.consent: "",
                    self.page.pending_like: None,
                    self.page.status: status(say(language, "mediate.declined")),
                    **self._buttons(session_id),
                }
            case "like":
                return await self._begin(values, request, proposal)
            case "keep" | "drop" | "undecided" as action:
                await asyncio.to_thread(workspace.mark, session_id, proposal, _MARKS[action])
            case "edit":
                await asyncio.to_thread(workspace.edit, session_id, proposal, text_of(data.get("text")))
            case "rate":
                rater, remark = str(data.get("rater", "")), text_of(data.get("note"))
                await asyncio.to_thread(workspace.rate, session_id, proposal, rater, _number(data.get("value")), remark)
            case "show":
                shown = _number(data.get("round"))
            case "restore":
                return await self._restored(session_id, _number(data.get("round")), values, _window(request), language)
            case _:
                return {self.page.status: gr.skip()}
        # Answers to presses in quick succession may pass each other; the next look at the clock draws what is true.
        session = await asyncio.to_thread(workspace.open, session_id)
        return await asyncio.to_thread(drawn, self.page, session, shown, language, workspace.mediations.get(session_id))

    async def _restored(
        self, session_id: str, number: int, values: Mapping[Any, Any], window: str, language: str
    ) -> Updates:
        """Put the views and the settings of an earlier round back into the fields."""
        session = await asyncio.to_thread(self._workspace.open, session_id)
        entry = drawing.shown_round(session, number)
        if entry is None:
            return {self.page.status: gr.skip()}
        chosen = {"model": entry.model, "strategy": entry.strategy, "count": entry.count, "rounds": entry.rounds}
        form = form_of(entry.dispute, self.page.fields.read(values)).model_copy(update={**chosen, "seed": entry.seed})
        await asyncio.to_thread(
            self._workspace.save_form,
            session_id,
            form,
            text_of(values[self.page.title]),
            bool(values[self.page.private]),
        )
        session = await asyncio.to_thread(self._workspace.open, session_id)
        self._windows.shows(window, form, session.title)
        return {
            **self.page.fields.write(form),
            **beside(self.page, form, language),
            **drawn(self.page, session, number, language, self._workspace.mediations.get(session_id)),
            self.page.status: status(say(language, "mediate.restored", number=number)),
        }

    def score_text(self, call: list[str]) -> dict[str, Any]:
        """Score a wording that is being typed; called by the page's script with [session, proposal, text, language]."""
        session_id, proposal_id, text, language = [*map(text_of, call), "en"][:4]
        try:
            scores = self._workspace.score(session_id, proposal_id, text)
            names = drawing.side_names(self._workspace.open(session_id).form, language)
        except EvenhandError as error:
            return {"error": str(error)}
        measured = scores.model_dump(include={"score_a", "score_b", "score_error_a", "score_error_b"})
        return {**measured, "words": describe_scores(scores, names, language)}

    def sentences(self, call: list[str]) -> str:
        """Return which sentence of a proposal tilts it, as HTML; called with [session, proposal, language]."""
        session_id, proposal_id, language = [*map(text_of, call), "en"][:3]
        try:
            influences = self._workspace.sentences(session_id, proposal_id)
            names = drawing.side_names(self._workspace.open(session_id).form, language)
        except EvenhandError as error:
            return status(str(error), "error")
        return sentence_view(influences, names, language)

    def acceptance(self, call: list[str]) -> str:
        """Return how widely acceptable a proposal tends to be, as HTML; called with [session, proposal, language]."""
        session_id, proposal_id, language = [*map(text_of, call), "en"][:3]
        try:
            return acceptance_view(self._workspace.acceptance(session_id, proposal_id), language)
        except EvenhandError as error:
            return status(str(error), "error")

    # -- examples and files

    async def on_example(self, values: dict[Any, Any], request: gr.Request) -> AsyncIterator[Updates]:
        """Show an example: in this session while it is empty, else in a new one."""
        dispute = self._examples.get(values[self.page.example])
        if dispute is None:
            yield {self.page.attach: gr.skip()}
            return
        shown = self._show(dispute, values, request)
        async for updates in self._guarded(shown, values[self.page.session_id], language_of(request)):
            yield updates

    async def on_file(self, values: dict[Any, Any], event: gr.EventData, request: gr.Request) -> AsyncIterator[Updates]:
        """Open a dispute file that the browser has read."""
        language, data = language_of(request), event._data if isinstance(event._data, dict) else {}
        if "error" in data:
            yield {self.page.status: status(str(data["error"]), "error")}
            return
        name, text = text_of(data.get("name")) or "file", text_of(data.get("text"))

        async def read() -> AsyncIterator[Updates]:
            dispute = await asyncio.to_thread(parse_dispute, text[: LARGEST_FILE + 1], name)
            async for updates in self._show(dispute, values, request):
                yield updates

        async for updates in self._guarded(read(), values[self.page.session_id], language):
            yield updates

    async def _show(self, dispute: Dispute, values: Mapping[Any, Any], request: gr.Request) -> AsyncIterator[Updates]:
        """Show a dispute: in this session while it is empty, else in a new one, so that nothing typed is replaced."""
        language, private = language_of(request), bool(values[self.page.private])
        present = self.page.fields.read(values)
        form = form_of(dispute, present)
        if (form.side_a, form.side_b, form.summary) == (present.side_a, present.side_b, present.summary):
            return  # Gradio's menu tells of one choice twice
        used = bool(view_text(present.side_a) or view_text(present.side_b) or present.summary)
        session_id = "" if used else values[self.page.session_id]
        if session_id:
            title = text_of(values[self.page.title]) or dispute.title[:LONGEST_TITLE]
            await asyncio.to_thread(self._workspace.save_form, session_id, form, title, private)
        else:
            title = dispute.title[:LONGEST_TITLE]
            session_id = (await asyncio.to_thread(self._workspace.create, form, title, private)).id
        session = await asyncio.to_thread(self._workspace.open, session_id)
        self._windows.shows(_window(request), session.form, session.title)
        said = "mediate.opened_beside" if used else "mediate.opened"
        yield {**opened(self.page, session, private, language), self.page.status: status(say(language, said))}

    async def on_save_file(self, values: dict[Any, Any], request: gr.Request) -> Updates:
        """Save both views as a dispute file in the browser."""
        language, title = language_of(request), text_of(values[self.page.title])
        try:
            dispute = dispute_of(self.page.fields.read(values), language, title)
        except EvenhandError as error:
            return {self.page.status: status(str(error), "error")}
        name = "".join(letter if letter.isalnum() else "-" for letter in title.lower()).strip("-")[:60] or "dispute"
        return {self.page.download: file_payload(f"{name}.yaml", "application/yaml", dispute_as_yaml(dispute))}

    # -- the swap audit

    async def on_audit(self, values: dict[Any, Any], request: gr.Request) -> AsyncIterator[Updates]:
        """Run the dispute with A and B exchanged, and show what changed."""
        free = {self.page.run_audit: gr.Button(interactive=True)}
        async for updates in self._guarded(
            self._audited(values, request), values[self.page.session_id], language_of(request), self.page.audit, free
        ):
            yield updates

    async def _audited(self, values: Mapping[Any, Any], request: gr.Request) -> AsyncIterator[Updates]:
        language, form = language_of(request), self.page.fields.read(values)
        session_id = await asyncio.to_thread(self._save, values, form, _window(request))
        dispute = dispute_of(form, language)
        if (destination := self._workspace.needs_consent(session_id, form.model)) is not None:
            line = status(say(language, "mediate.audit_consent", host=destination), "error")
            yield {self.page.status: line, self.page.audit: line}
            return
        names = drawing.side_names(form, language)
        async for html, line, busy in self._auditing.run(session_id, _window(request), dispute, form, names, language):
            # The line under the buttons may be out of sight, and a round that runs writes there too.
            said = status(line, "busy" if busy else "plain")
            yield {
                self.page.audit: html or said,
                self.page.status: said,
                self.page.run_audit: gr.Button(interactive=not busy),
                self.page.address: session_id,
                **self._buttons(session_id),
            }

    # -- what is shown

    def _buttons(self, session_id: str) -> Updates:
        """Return which of Propose and Stop can be pressed now."""
        running = self._workspace.mediations.get(session_id) is not None
        return buttons(self.page, running=running, auditing=self._auditing.runs_in(session_id))

    async def _guarded(
        self,
        updates: AsyncIterator[Updates],
        session_id: str,
        language: str,
        also: Any = None,
        at_the_end: Updates | None = None,
    ) -> AsyncIterator[Updates]:
        """Pass updates on; every failure ends as a sentence on the page, in the line of status and in ``also``."""
        try:
            yield {self.page.status: gr.skip()}  # Gradio empties all outputs of a generator that yields nothing
            async for update in updates:
                yield update
            return
        except EvenhandError as error:
            _log.info("a request of the page could not be served", exc_info=error)
            sentence = without_keys(str(error))
        except Exception as error:  # noqa: BLE001 - the reader of the page gets a sentence, the log the traceback
            _log.exception("a request of the page failed", exc_info=error)
            sentence = INTERNAL_FAULT
        said = status(sentence, "error")
        more = {} if also is None else {also: said}
        yield {self.page.status: said, **more, **(at_the_end or {}), **self._buttons(session_id)}


def _number(value: object) -> int:
    """Return a whole number that the page sent; 0 for anything else."""
    return int(value) if isinstance(value, int | float | str) and str(value).isdecimal() else 0


def _to_watch(running: Running) -> str:
    """Return what makes a window watch a mediation: never the same twice, so that a broken connection is mended."""
    return f"{running.round.id} {time.monotonic()}"


def _window(request: gr.Request) -> str:
    """Name the browser window that asks."""
    return str(request.session_hash)
