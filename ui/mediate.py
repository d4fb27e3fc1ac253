"""The Mediate tab: two views in, scored proposals streaming out, refined round after round."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import gradio as gr

from mediator.disputes import LARGEST_FILE, dispute_as_yaml, examples, parse_dispute
from mediator.errors import EvenhandError, InputError
from mediator.schema import Dispute
from mediator.session import Form, Mark
from mediator.settings import without_keys
from mediator.store import SessionNotFound
from ui import drawing
from ui.auditing import Auditing
from ui.cards import sentence_view
from ui.components import consent, describe_scores, status, where_the_text_goes
from ui.files import file_payload
from ui.forms import dispute_of, form_of, view_text
from ui.mediate_layout import MediateLayout
from ui.mediate_updates import Updates, beside, buttons, drawn, opened, saved_words, settled
from ui.running import INTERNAL_FAULT, Running
from ui.strings import language_of, say
from ui.workspace import Workspace

_log = logging.getLogger(__name__)

UPDATES_PER_SECOND = 12.0
"""How often, at most, the page is redrawn while a writer writes."""

_MARKS: dict[str, Mark] = {"keep": "kept", "drop": "dropped", "undecided": ""}


class SessionDeleted(InputError):
    """The session that the page shows is not there any more."""

    def __init__(self) -> None:
        super().__init__("This session was deleted.", "Start a new dispute to go on.")


# The page's address names the session, so that a reload, a bookmark and a second window find it.
_NAME_THE_SESSION = """(id) => {
  const address = new URL(window.location.href);
  const before = address.searchParams.get("session");
  if (!id || before === id) return;
  address.search = "?session=" + id;
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
        self._seen: dict[str, int] = {}  # the version of the session that each window shows

        # Gradio marks these functions, which methods do not allow.
        def score_text(call: list[str]) -> dict[str, Any]:
            return self.score_text(call)

        def sentences(call: list[str]) -> str:
            return self.sentences(call)

        self.page = MediateLayout(self._examples, [score_text, sentences])
        self._listen()

    def _listen(self) -> None:
        page = self.page
        saving = [page.address, page.saved, page.safety, page.where, *page.counts]
        save: dict[str, Any] = {"inputs": {*page.form}, "outputs": saving, "trigger_mode": "always_last", **_QUICK}
        page.typing.typed(self.on_typed, **save)
        gr.on([field.input for field in page.fields.chosen], self.on_typed, **save)
        page.address.change(None, inputs=[page.address], js=_NAME_THE_SESSION)
        page.propose.click(self.on_propose, inputs={*page.form}, outputs=page.streamed, js=_SHOW_RESULTS, **_STREAM)
        page.stop.click(self.on_stop, inputs=[page.session_id], **_QUICK)
        whole: dict[str, Any] = {"outputs": page.whole, **_STREAM}
        for component in (page.board, page.plane, page.consent):
            component.act(self.on_act, inputs={*page.form, page.pending_like}, **whole)
        page.example.select(self.on_example, inputs={*page.form, page.example}, **whole)
        page.file.picked(self.on_file, inputs={*page.form}, **whole)
        page.save_file.click(self.on_save_file, inputs={*page.form}, outputs=[page.download, page.status], **_QUICK)
        audited = [page.audit, page.status, page.stop, page.run_audit, page.consent]
        page.run_audit.click(self.on_audit, inputs={*page.form}, outputs=audited, **_STREAM)
        looked_at = [page.session_id, page.shown, page.address]
        page.clock.tick(self.on_tick, inputs=looked_at, outputs=[*page.drawn, page.attach], **_QUICK)
        page.attach.change(self.on_attach, inputs=[page.session_id], outputs=page.streamed, **_STREAM)

    # -- a window comes and goes

    async def on_load(self, request: gr.Request) -> Updates:
        """A window opened: show the session that its address names, and have what runs in it watched."""
        language, wanted = language_of(request), str(request.query_params.get("session", ""))[:64]
        private = request.query_params.get("new") == "private"
        if not wanted:
            return opened(self.page, None, private, language)
        try:
            session = await asyncio.to_thread(self._workspace.open, wanted)
        except SessionNotFound:
            line = say(language, "mediate.session_gone")
            return {**opened(self.page, None, private, language), self.page.status: status(line, "error")}
        except EvenhandError as error:
            return {**opened(self.page, None, private, language), self.page.status: status(str(error), "error")}
        running = self._workspace.mediations.get(session.id)
        updates = opened(self.page, session, private, language)
        return updates if running is None else {**updates, self.page.attach: running.round.id}

    def on_leave(self, request: gr.Request) -> None:
        """A window was closed or reloaded."""
        self._seen.pop(_window(request), None)
        self._workspace.mediations.leave(_window(request))

    async def on_tick(self, session_id: str, shown: float, address: str, request: gr.Request) -> Updates:
        """Look whether another window changed this session, or began a round in it."""
        nothing: Updates = {self.page.attach: gr.skip()}
        if not address:
            return nothing
        window, running = _window(request), self._workspace.mediations.get(session_id)
        if running is not None:
            return nothing if running.is_watched_by(window) else {self.page.attach: running.round.id}
        try:
            version = await asyncio.to_thread(self._workspace.version, session_id)
            if version == self._seen.setdefault(window, version):
                return nothing
            session = await asyncio.to_thread(self._workspace.open, session_id)
        except EvenhandError:
            return nothing
        self._seen[window] = version
        return drawn(self.page, session, int(shown or 0), language_of(request))

    async def on_attach(self, session_id: str, request: gr.Request) -> AsyncIterator[Updates]:
        """Watch the round that another window began."""
        language = language_of(request)
        async for updates in self._guarded(self._watch(session_id, _window(request), language), language):
            yield updates

    # -- typing

    async def on_typed(self, values: dict[Any, Any], request: gr.Request) -> Updates:
        """Save what is typed, at once."""
        language = language_of(request)
        form = self.page.fields.read(values)
        updates = {**beside(self.page, form, language)}
        try:
            session_id = await asyncio.to_thread(self._save, values, form)
        except EvenhandError as error:
            _log.info("a session could not be saved", exc_info=error)
            return {**updates, self.page.saved: saved_words(language, "problem", str(error))}
        state = "private" if self._workspace.is_private(session_id) else "saved"
        return {**updates, self.page.address: session_id, self.page.saved: saved_words(language, state)}

    def _save(self, values: Mapping[Any, Any], form: Form) -> str:
        session_id = values[self.page.session_id]
        if values[self.page.address] == session_id and not self._workspace.version(session_id):
            # It was deleted, perhaps from another window; what is left on this page must not bring it back.
            raise SessionDeleted
        return self._workspace.save_form(
            values[self.page.session_id], form, str(values[self.page.title] or ""), bool(values[self.page.private])
        )

    # -- proposing

    async def on_propose(self, values: dict[Any, Any], request: gr.Request) -> AsyncIterator[Updates]:
        """Begin the next round and show it as it comes."""
        async for updates in self._guarded(self._propose(values, request, None), language_of(request)):
            yield updates

    async def _propose(
        self, values: Mapping[Any, Any], request: gr.Request, like: str | None, consented: bool = False
    ) -> AsyncIterator[Updates]:
        language, form = language_of(request), self.page.fields.read(values)
        session_id = await asyncio.to_thread(self._save, values, form)
        dispute_of(form, language)
        if consented:
            self._workspace.consent(session_id, form.model)
        if (destination := self._workspace.needs_consent(session_id, form.model)) is not None:
            yield {
                self.page.consent: consent(destination, language),
                self.page.pending_like: like,
                self.page.address: session_id,
            }
            return
        title = str(values[self.page.title] or "")

        def begin() -> Running:
            return self._workspace.propose(
                session_id, form, language, title=title, shown=int(values[self.page.shown] or 0), like=like
            )

        await asyncio.to_thread(begin)
        # The trail has the comment now, and it still holds; the field is free for the next one.
        await asyncio.to_thread(self._save, values, form.model_copy(update={"comment": ""}))
        yield {
            self.page.address: session_id,
            self.page.consent: "",
            self.page.pending_like: None,
            self.page.fields.comment: "",
        }
        async for updates in self._watch(session_id, _window(request), language):
            yield updates

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
                    **buttons(self.page, running=True),
                }
                async for updates in self._stream(running, session.form, language):
                    yield updates
        session = await asyncio.to_thread(self._workspace.open, session_id)
        yield settled(self.page, session, running, language)
        self._seen[window] = self._workspace.version(session_id)

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
            where = where_the_text_goes(running.destination, language)
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
        """Somebody pressed a button of a card, the trail, the plane or the question about a remote model."""
        data = event._data if isinstance(event._data, dict) else {}
        async for updates in self._guarded(self._act(values, data, request), language_of(request)):
            yield updates

    async def _act(
        self, values: Mapping[Any, Any], data: Mapping[str, Any], request: gr.Request
    ) -> AsyncIterator[Updates]:
        language, workspace = language_of(request), self._workspace
        session_id, proposal = str(values[self.page.session_id]), str(data.get("id", ""))
        shown = int(values[self.page.shown] or 0)
        match data.get("action"):
            case "consent":
                async for updates in self._propose(values, request, values[self.page.pending_like], consented=True):
                    yield updates
                return
            case "decline":
                yield {
                    self.page.consent: "",
                    self.page.pending_like: None,
                    self.page.status: status(say(language, "mediate.declined")),
                    **buttons(self.page, running=False),
                }
                return
            case "like":
                async for updates in self._propose(values, request, proposal):
                    yield updates
                return
            case "keep" | "drop" | "undecided" as action:
                await asyncio.to_thread(workspace.mark, session_id, proposal, _MARKS[action])
            case "edit":
                await asyncio.to_thread(workspace.edit, session_id, proposal, str(data.get("text", "")))
            case "rate":
                rater, remark = str(data.get("rater", "")), str(data.get("note") or "")
                await asyncio.to_thread(workspace.rate, session_id, proposal, rater, _number(data.get("value")), remark)
            case "show":
                shown = _number(data.get("round"))
            case "restore":
                yield await self._restored(session_id, _number(data.get("round")), values, language)
                return
            case _:
                return
        session = await asyncio.to_thread(workspace.open, session_id)
        self._seen[_window(request)] = workspace.version(session_id)
        yield drawn(self.page, session, shown, language, workspace.mediations.get(session_id))

    async def _restored(self, session_id: str, number: int, values: Mapping[Any, Any], language: str) -> Updates:
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
            str(values[self.page.title] or ""),
            bool(values[self.page.private]),
        )
        session = await asyncio.to_thread(self._workspace.open, session_id)
        return {
            **self.page.fields.write(form),
            **beside(self.page, form, language),
            **drawn(self.page, session, number, language),
            self.page.status: status(say(language, "mediate.restored", number=number)),
        }

    def score_text(self, call: list[str]) -> dict[str, Any]:
        """Score a wording that is being typed; called by the page's script with [session, proposal, text, language]."""
        session_id, proposal_id, text, language = [*map(str, call), "en"][:4]
        try:
            scores = self._workspace.score(session_id, proposal_id, text)
            names = drawing.side_names(self._workspace.open(session_id).form, language)
        except EvenhandError as error:
            return {"error": str(error)}
        return {"score_a": scores.score_a, "score_b": scores.score_b, "words": describe_scores(scores, names, language)}

    def sentences(self, call: list[str]) -> str:
        """Return which sentence of a proposal tilts it, as HTML; called with [session, proposal, language]."""
        session_id, proposal_id, language = [*map(str, call), "en"][:3]
        try:
            influences = self._workspace.sentences(session_id, proposal_id)
            names = drawing.side_names(self._workspace.open(session_id).form, language)
        except EvenhandError as error:
            return status(str(error), "error")
        return sentence_view(influences, names, language)

    # -- examples and files

    async def on_example(self, values: dict[Any, Any], request: gr.Request) -> AsyncIterator[Updates]:
        """Show an example: in this session while it is empty, else in a new one."""
        dispute = self._examples.get(values[self.page.example])
        if dispute is None:
            yield {self.page.attach: gr.skip()}
            return
        async for updates in self._guarded(self._show(dispute, values, request), language_of(request)):
            yield updates

    async def on_file(self, values: dict[Any, Any], event: gr.EventData, request: gr.Request) -> AsyncIterator[Updates]:
        """Open a dispute file that the browser has read."""
        language, data = language_of(request), event._data if isinstance(event._data, dict) else {}
        if "error" in data:
            yield {self.page.status: status(str(data["error"]), "error")}
            return
        name, text = str(data.get("name", "file")), str(data.get("text", ""))

        async def read() -> AsyncIterator[Updates]:
            dispute = await asyncio.to_thread(parse_dispute, text[: LARGEST_FILE + 1], name)
            async for updates in self._show(dispute, values, request):
                yield updates

        async for updates in self._guarded(read(), language):
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
            await asyncio.to_thread(self._workspace.save_form, session_id, form, dispute.title, private)
        else:
            session_id = (await asyncio.to_thread(self._workspace.create, form, dispute.title, private)).id
        session = await asyncio.to_thread(self._workspace.open, session_id)
        said = "mediate.opened_beside" if used else "mediate.opened"
        yield {**opened(self.page, session, private, language), self.page.status: status(say(language, said))}

    async def on_save_file(self, values: dict[Any, Any], request: gr.Request) -> Updates:
        """Save both views as a dispute file in the browser."""
        language, title = language_of(request), str(values[self.page.title] or "")
        try:
            dispute = dispute_of(self.page.fields.read(values), language, title)
        except EvenhandError as error:
            return {self.page.status: status(str(error), "error")}
        name = "".join(letter if letter.isalnum() else "-" for letter in title.lower()).strip("-")[:60] or "dispute"
        return {self.page.download: file_payload(f"{name}.yaml", "application/yaml", dispute_as_yaml(dispute))}

    # -- the swap audit

    async def on_audit(self, values: dict[Any, Any], request: gr.Request) -> AsyncIterator[Updates]:
        """Run the dispute with A and B exchanged, and show what changed."""
        async for updates in self._guarded(self._audited(values, request), language_of(request)):
            yield updates

    async def _audited(self, values: Mapping[Any, Any], request: gr.Request) -> AsyncIterator[Updates]:
        language, form = language_of(request), self.page.fields.read(values)
        session_id = await asyncio.to_thread(self._save, values, form)
        dispute = dispute_of(form, language)
        if (destination := self._workspace.needs_consent(session_id, form.model)) is not None:
            yield {self.page.status: status(say(language, "mediate.audit_consent", host=destination), "error")}
            return
        names = drawing.side_names(form, language)
        async for html, line, busy in self._auditing.run(session_id, dispute, form, names, language):
            yield {
                self.page.audit: html,
                self.page.status: status(line, "busy" if busy else "plain"),
                self.page.run_audit: gr.Button(interactive=not busy),
                self.page.stop: gr.Button(interactive=busy),
            }

    # -- what is shown

    async def _guarded(self, updates: AsyncIterator[Updates], language: str) -> AsyncIterator[Updates]:
        """Pass updates on; every failure ends as a sentence on the page."""
        try:
            yield {self.page.status: gr.skip()}  # Gradio empties all outputs of a generator that yields nothing
            async for update in updates:
                yield update
        except EvenhandError as error:
            _log.info("a request of the page could not be served", exc_info=error)
            yield {self.page.status: status(without_keys(str(error)), "error"), **buttons(self.page, running=False)}
        except Exception as error:  # noqa: BLE001 - the reader of the page gets a sentence, the log the traceback
            _log.exception("a request of the page failed", exc_info=error)
            yield {self.page.status: status(INTERNAL_FAULT, "error"), **buttons(self.page, running=False)}


def _number(value: object) -> int:
    """Return a whole number that the page sent; 0 for anything else."""
    return int(value) if isinstance(value, int | float | str) and str(value).isdecimal() else 0


def _window(request: gr.Request) -> str:
    """Name the browser window that asks."""
    return str(request.session_hash)
