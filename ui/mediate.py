"""The Mediate tab: two views in, scored proposals streaming out, refined round after round."""

import logging
from typing import Any

import gradio as gr

from mediator.disputes import examples
from mediator.errors import EvenhandError
from ui.card_questions import card_questions
from ui.error_words import in_language
from ui.mediate_audit import AuditPanel
from ui.mediate_cards import CardActions
from ui.mediate_desk import Desk, window_of
from ui.mediate_files import DisputeFiles
from ui.mediate_layout import MediateLayout
from ui.mediate_rounds import Rounds
from ui.mediate_scripts import NAME_THE_ROUND, NAME_THE_SESSION, SHOW_RESULTS
from ui.mediate_updates import Updates, beside, saved_words
from ui.mediate_visits import Visits
from ui.strings import language_of
from ui.windows import SessionDeleted
from ui.workspace import Workspace

_log = logging.getLogger(__name__)

_QUICK: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
_STREAM: dict[str, Any] = {"show_progress": "hidden", "concurrency_limit": None, "api_visibility": "private"}


class MediateTab:
    """Ties what somebody does on the tab to what answers it."""

    def __init__(self, workspace: Workspace) -> None:
        """Add the tab's content to the `gradio.Blocks` that is being built."""
        self.disputes = examples()
        self.page = MediateLayout(self.disputes, card_questions(workspace))
        self._desk = Desk(self.page, workspace)
        self.forget = self._desk.windows.forget
        visits, rounds = Visits(self._desk), Rounds(self._desk)
        files = DisputeFiles(self._desk, self.disputes)
        self.on_load, self.on_leave, self.on_look = visits.on_load, visits.on_leave, visits.on_look
        self.state = visits.state
        self.on_propose, self.on_attach, self.on_stop = rounds.on_propose, rounds.on_attach, rounds.on_stop
        self.on_example, self.on_file, self.on_save_file = files.on_example, files.on_file, files.on_save_file
        self.on_act = CardActions(self._desk, rounds).on_act
        self.on_audit = AuditPanel(self._desk).on_audit
        self._listen()

    def _listen(self) -> None:
        page, buttons = self.page, [self.page.propose, self.page.stop]
        save: dict[str, Any] = {"inputs": {*page.form}, "outputs": page.saving, "trigger_mode": "always_last", **_QUICK}
        page.typing.typed(self.on_typed, **save)
        gr.on([field.input for field in page.fields.chosen], self.on_typed, **save)
        page.address.change(None, inputs=[page.address, page.private, page.shown], js=NAME_THE_SESSION)
        page.shown.change(None, inputs=[page.shown], js=NAME_THE_ROUND)
        streamed: dict[str, Any] = {"outputs": page.streamed, **_STREAM}
        page.propose.click(self.on_propose, inputs={*page.form}, js=SHOW_RESULTS, **streamed)
        page.attach.change(self.on_attach, inputs=[page.session_id, page.shown], **streamed)
        page.stop.click(self.on_stop, inputs=[page.session_id], **_QUICK)
        whole: dict[str, Any] = {"outputs": page.whole, **_STREAM}
        for component in (page.board, page.plane, page.consent, page.typing):
            # Several cards may be marked faster than the first mark is answered.
            component.act(self.on_act, inputs={*page.form, page.pending_like}, trigger_mode="multiple", **whole)
        page.example.select(self.on_example, inputs={*page.form, page.example}, **whole)
        page.file.picked(self.on_file, inputs={*page.form}, **whole)
        saved = [page.download, page.status, *buttons]
        page.save_file.click(self.on_save_file, inputs={*page.form}, outputs=saved, **_QUICK)
        audited = [page.audit, page.audit_line, page.status, *buttons, page.run_audit, page.address]
        page.run_audit.click(self.on_audit, inputs={*page.form}, outputs=audited, **_STREAM)
        looked_at = [page.session_id, page.shown, page.address]
        changed = [*page.drawn, page.attach, page.live, page.status, *buttons, *page.typed_elsewhere]
        page.pulse.look(self.on_look, inputs=looked_at, outputs=changed, trigger_mode="always_last", **_QUICK)

    def on_typed(self, values: dict[Any, Any], request: gr.Request) -> Updates:
        """Save what is typed, at once."""
        page, language, form = self.page, language_of(request), self.page.fields.read(values)
        updates = {**beside(page, form, language), **page.fields.seed_in_range(values)}
        try:
            session_id = self._desk.save(values, form, request)
        except SessionDeleted:
            return {**updates, page.saved: saved_words(language, "gone")}
        except EvenhandError as error:
            _log.info("a session could not be saved", exc_info=error)
            return {**updates, page.saved: saved_words(language, "problem", in_language(language, error))}
        if self._desk.windows.turned_from(window_of(request), session_id):
            return {page.saved: gr.skip()}
        state = "private" if self._desk.workspace.is_private(session_id) else "saved"
        return {**updates, page.address: session_id, page.saved: saved_words(language, state)}
