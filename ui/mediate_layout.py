"""The components of the Mediate tab and where they stand."""

from collections.abc import Callable, Mapping
from typing import Any

import gradio as gr

from mediator.disputes import LARGEST_FILE
from mediator.resources import asset
from mediator.schema import Dispute
from mediator.session import LONGEST_TITLE
from ui.fields import Fields, make_comment, make_model, make_options, make_side, make_summary
from ui.files import download_slot, file_picker
from ui.mediate_scripts import ON_LOAD
from ui.strings import translator


class MediateLayout:
    """All components of the tab. Knows nothing of what happens when somebody uses them.

    Attributes:
        session_id: the session of this page, also before it is saved; unseen.
        address: the same once it is saved: then the page's address names it; unseen.
        private: whether the session is never written to disk; unseen.
        shown: number of the round that is shown, 0 for the last one; unseen.
        attach: set to the id of a round that runs, it makes the page watch it; unseen.
        audit: the audits kept beside the round that is shown; ``audit_line`` says how one that runs is getting on.
        pending_like: what was to be asked for when the question about a remote writer came up.
    """

    def __init__(self, examples: Mapping[str, Dispute], server_functions: list[Callable[..., Any]]) -> None:
        """Add the components to the `gradio.Blocks` that is being built.

        Args:
            examples: disputes to start from, by name.
            server_functions: what the script of the cards may call; plain functions, which Gradio marks.
        """
        t = translator()
        self.session_id = gr.Textbox(visible="hidden", elem_id="eh-session-id")
        self.address = gr.Textbox(visible="hidden")
        self.private = gr.Checkbox(visible="hidden")
        self.shown = gr.Number(0, precision=0, visible="hidden", elem_id="eh-shown")
        self.attach = gr.Textbox(visible="hidden")
        self.pending_like = gr.State(None)
        with gr.Row(elem_classes="eh-session-bar"):
            self.title = gr.Textbox(
                label=t("mediate.title"),
                placeholder=t("mediate.title_placeholder"),
                max_lines=1,
                max_length=LONGEST_TITLE,
                elem_id="eh-title",
                scale=3,
                min_width=240,
            )
            self.example = gr.Dropdown(
                [(t("mediate.choose"), "")] + [(dispute.title or name, name) for name, dispute in examples.items()],
                value="",
                label=t("mediate.example"),
                elem_id="eh-example",
                scale=2,
                min_width=240,
            )
        with gr.Row(elem_classes="eh-session-actions"):
            self.new = gr.HTML("", elem_id="eh-new", apply_default_css=False, js_on_load=None)
            self.file = file_picker("mediate.open_file", ".yaml,.yml,.json", LARGEST_FILE, "eh-open-file")
            self.save_file = gr.Button(t("mediate.save_file"), elem_id="eh-save-file", scale=0, size="sm")
            self.saved = gr.HTML("", elem_id="eh-saved", apply_default_css=False, js_on_load=None)
        with gr.Row(elem_classes="eh-sides", equal_height=True):
            side_a, side_b = make_side("A"), make_side("B")
        self.safety = gr.HTML("", elem_id="eh-safety", apply_default_css=False, js_on_load=None)
        with gr.Accordion(t("mediate.summary_heading"), open=False, elem_classes="eh-options"):
            summary = make_summary()
        with gr.Row(elem_classes="eh-controls"):
            comment, model = make_comment(), make_model()
        with gr.Accordion(t("mediate.options"), open=False, elem_classes="eh-options"), gr.Row():
            strategy, count, rounds, seed = make_options()
        self.fields = Fields(side_a, side_b, summary, comment, model, strategy, count, rounds, seed)
        with gr.Row(elem_classes="eh-actions"):
            self.propose = gr.Button(
                t("mediate.propose"), variant="primary", elem_id="eh-propose", scale=0, min_width=140
            )
            self.stop = gr.Button(
                t("mediate.stop"), variant="stop", elem_id="eh-stop", interactive=False, scale=0, min_width=100
            )
            self.where = gr.HTML("", elem_id="eh-where", apply_default_css=False, js_on_load=None, min_width=280)
        script = asset("board.js").read_text(encoding="utf-8")
        self.consent = gr.HTML("", elem_id="eh-consent", apply_default_css=False, js_on_load=script)
        self.status = gr.HTML("", elem_id="eh-status", apply_default_css=False, js_on_load=None)
        with gr.Row(elem_classes="eh-workbench"):
            with gr.Column(elem_classes="eh-workbench-main", scale=2, min_width=300):
                self.live = gr.HTML("", elem_id="eh-live", apply_default_css=False, js_on_load=None)
                self.board = gr.HTML(
                    "",
                    elem_id="eh-cards",
                    apply_default_css=False,
                    js_on_load=script,
                    server_functions=server_functions,
                )
            with gr.Column(elem_classes="eh-workbench-side", scale=1, min_width=280):
                self.plane = gr.HTML("", elem_id="eh-plane", apply_default_css=False, js_on_load=script)
        heading: dict[str, Any] = {"elem_classes": "eh-options", "elem_id": "eh-audit-panel"}
        with gr.Accordion(t("mediate.audit_heading"), open=False, **heading) as self.audit_panel:
            gr.Markdown(t("mediate.audit_about"))
            self.run_audit = gr.Button(t("mediate.audit_run"), elem_id="eh-run-audit", scale=0)
            with gr.Column(elem_id="eh-audit"):
                self.audit_line = gr.HTML("", apply_default_css=False, js_on_load=None)
                self.audit = gr.HTML("", apply_default_css=False, js_on_load=script)
        self.download = download_slot()
        self.typing = gr.HTML("", visible="hidden", apply_default_css=False, js_on_load=ON_LOAD)
        beat = asset("pulse.js").read_text(encoding="utf-8")
        self.pulse = gr.HTML("", visible="hidden", apply_default_css=False, js_on_load=beat)

    @property
    def form(self) -> list[Any]:
        """The inputs of whatever needs to know all that is typed and chosen."""
        return [self.session_id, self.address, self.private, self.shown, self.title, *self.fields.all]

    @property
    def counts(self) -> list[Any]:
        """Where the words of both sides are counted."""
        return [self.fields.side_a.count, self.fields.side_b.count]

    @property
    def saving(self) -> list[Any]:
        """What changes when something is typed."""
        return [self.address, self.saved, self.safety, self.where, *self.counts, self.fields.seed]

    @property
    def drawn(self) -> list[Any]:
        """What shows the settled rounds."""
        return [self.board, self.plane, self.audit, self.shown]

    @property
    def typed_elsewhere(self) -> list[Any]:
        """What changes when another window has typed."""
        return [*self.fields.outputs, self.title, self.where, self.safety, *self.counts]

    @property
    def streamed(self) -> list[Any]:
        """What changes while a writer writes."""
        return [*self.drawn, self.live, self.status, self.where, self.propose, self.stop, self.consent,
                self.pending_like, self.address, self.saved, self.fields.comment]  # fmt: skip

    @property
    def whole(self) -> list[Any]:
        """What changes when another session is shown."""
        everything = [*self.streamed, *self.fields.outputs, self.session_id, self.private, self.title, self.new,
                      self.safety, *self.counts, self.audit_line, self.audit_panel, self.example,
                      self.attach]  # fmt: skip
        return list(dict.fromkeys(everything))
