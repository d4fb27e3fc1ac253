"""The fields of the Mediate page as Gradio components, and the way between them and a `Form`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import gradio as gr

from mediator.mediation import LARGEST_SEED, LONGEST_COMMENT, LONGEST_VIEW, MOST_CANDIDATES, MOST_ROUNDS
from mediator.own_models import writer_choices
from mediator.schema import LONGEST_LABEL, Strategy
from mediator.session import Form, SideForm
from mediator.settings import default_model
from ui.shared_form import differences
from ui.strings import translator

STRATEGIES = (*(str(strategy) for strategy in (Strategy.COT_FEEDBACK, Strategy.SINGLE, Strategy.COT)),
              str(Strategy.COT_SELF_SCORE), "all")  # fmt: skip
"""In the order of the menu: the usual choice first."""


@dataclass(frozen=True)
class SideFields:
    """The components of one side, and the columns that hold its two forms."""

    label: Any
    form: Any
    text: Any
    place: Any
    reason: Any
    suggestion: Any
    demographics: Any
    count: Any
    free: Any
    parts: Any

    @property
    def all(self) -> list[Any]:
        """The components that hold what is typed."""
        return [self.label, self.form, self.text, self.place, self.reason, self.suggestion, self.demographics]

    def read(self, values: Mapping[Any, Any]) -> SideForm:
        """Return what is typed on this side."""
        form: Literal["text", "parts"] = "parts" if values[self.form] == "parts" else "text"
        typed = {name: text_of(values[getattr(self, name)]) for name in ("text", "place", "reason", "suggestion")}
        label = " ".join(text_of(values[self.label]).split())[:LONGEST_LABEL]
        return SideForm(label=label, form=form, demographics=values[self.demographics] or {}, **typed)

    def write(self, side: SideForm) -> dict[Any, Any]:
        """Return the updates that show a side."""
        return {
            self.label: side.label,
            self.form: side.form,
            self.text: side.text,
            self.place: side.place,
            self.reason: side.reason,
            self.suggestion: side.suggestion,
            self.demographics: side.demographics,
            self.free: gr.Column(visible=side.form == "text"),
            self.parts: gr.Column(visible=side.form == "parts"),
        }


@dataclass(frozen=True)
class Fields:
    """All components that make up a `Form`."""

    side_a: SideFields
    side_b: SideFields
    summary: Any
    comment: Any
    model: Any
    strategy: Any
    count: Any
    rounds: Any
    seed: Any

    @property
    def chosen(self) -> list[Any]:
        """The components in which somebody chooses."""
        return [self.side_a.form, self.side_b.form, self.model, self.strategy, self.count, self.rounds, self.seed]

    @property
    def all(self) -> list[Any]:
        """The components whose values make up the form."""
        return [*self.side_a.all, *self.side_b.all, self.summary, self.comment,
                self.model, self.strategy, self.count, self.rounds, self.seed]  # fmt: skip

    @property
    def outputs(self) -> list[Any]:
        """What `write` may update."""
        return [*self.all, *(part for side in (self.side_a, self.side_b) for part in (side.free, side.parts))]

    def read(self, values: Mapping[Any, Any]) -> Form:
        """Return the form that is on the page; a missing number, or one out of range, becomes the nearest good one."""
        return Form(
            side_a=self.side_a.read(values),
            side_b=self.side_b.read(values),
            summary=text_of(values[self.summary]),
            comment=text_of(values[self.comment]),
            model=text_of(values[self.model]).strip() or default_model(),
            strategy=values[self.strategy] if values[self.strategy] in STRATEGIES else "cot-feedback",
            count=_number(values[self.count], 4, 1, MOST_CANDIDATES),
            rounds=_number(values[self.rounds], 3, 1, MOST_ROUNDS),
            seed=_number(values[self.seed], 0, 0, LARGEST_SEED),
        )

    def seed_in_range(self, values: Mapping[Any, Any]) -> dict[Any, Any]:
        """Return the update that shows the seed that is used where the field holds one out of range."""
        typed, used = values[self.seed], self.read(values).seed
        return {} if typed is None or typed == used else {self.seed: used}

    def write_differences(self, form: Form, shown: Form) -> dict[Any, Any]:
        """Return the updates that show a form where another one is shown: the fields that are alike are left alone."""
        written, updates = self.write(form), dict[Any, Any]()
        for side, name in differences(form, shown):
            fields: Any = getattr(self, side) if side else self
            chosen = [getattr(fields, name), *((fields.free, fields.parts) if name == "form" else ())]
            updates |= {component: written[component] for component in chosen}
        return updates

    def write(self, form: Form) -> dict[Any, Any]:
        """Return the updates that show a form."""
        return {
            **self.side_a.write(form.side_a),
            **self.side_b.write(form.side_b),
            self.summary: form.summary,
            self.comment: form.comment,
            self.model: form.model or default_model(),
            self.strategy: form.strategy,
            self.count: form.count,
            self.rounds: form.rounds,
            self.seed: form.seed,
        }


def make_side(side: str) -> SideFields:
    """Make the fields of one side; both are made here, so that they are alike."""
    t, low = translator(), side.lower()
    with gr.Column(elem_classes=["eh-side", f"eh-side-{low}"], min_width=280):
        with gr.Row(elem_classes="eh-side-head"):
            gr.HTML(f'<span class="eh-letter" aria-hidden="true">{side}</span>', apply_default_css=False,
                    js_on_load=None, min_width=40)  # fmt: skip
            label = gr.Textbox(
                label=t(f"mediate.label_{low}"),
                placeholder=t(f"mediate.view_{low}"),
                max_lines=1,
                max_length=LONGEST_LABEL,
                elem_id=f"eh-label-{low}",
                elem_classes="eh-label-input",
                scale=1,
                min_width=140,
            )
            form = gr.Radio(
                [(t("mediate.form_text"), "text"), (t("mediate.form_parts"), "parts")],
                value="text",
                label=t(f"mediate.form_of_{low}"),
                elem_id=f"eh-form-{low}",
                scale=0,
                min_width=300,
            )
        with gr.Column(elem_classes="eh-form") as free:
            text = gr.Textbox(
                label=t(f"mediate.text_{low}"),
                placeholder=t("mediate.text_placeholder"),
                lines=7,
                max_lines=16,
                max_length=LONGEST_VIEW,
                elem_id=f"eh-text-{low}",
            )
        with gr.Column(visible=False, elem_classes="eh-form") as parts:
            place = _part("place", low, 1, 4)
            reason = _part("reason", low, 3, 10)
            suggestion = _part("suggestion", low, 2, 6)
        count = gr.HTML("", elem_id=f"eh-count-{low}", apply_default_css=False, js_on_load=None)
        demographics = gr.State({})

    def switch(chosen: str) -> tuple[Any, Any]:
        return gr.Column(visible=chosen == "text"), gr.Column(visible=chosen == "parts")

    form.input(
        switch, inputs=[form], outputs=[free, parts], queue=False, show_progress="hidden", api_visibility="private"
    )
    return SideFields(label, form, text, place, reason, suggestion, demographics, count, free, parts)


def make_summary() -> Any:
    """Make the field of the neutral summary."""
    t = translator()
    return gr.Textbox(
        label=t("mediate.summary"),
        info=t("mediate.summary_info"),
        lines=2,
        max_lines=8,
        max_length=LONGEST_VIEW,
        elem_id="eh-summary",
    )


def make_comment() -> Any:
    """Make the field of the mediator's feedback."""
    t = translator()
    return gr.Textbox(
        label=t("mediate.comment"),
        info=t("mediate.comment_info"),
        placeholder=t("mediate.comment_placeholder"),
        lines=1,
        max_lines=4,
        max_length=LONGEST_COMMENT,
        scale=3,
        min_width=280,
        elem_id="eh-comment",
    )


def make_model() -> Any:
    """Make the choice of the writer."""
    t = translator()
    return gr.Dropdown(
        model_choices(),
        value=default_model(),
        label=t("mediate.model"),
        info=t("mediate.model_info"),
        allow_custom_value=True,
        scale=2,
        min_width=280,
        elem_id="eh-model",
    )


def make_options() -> tuple[Any, Any, Any, Any]:
    """Make the choices of strategy, number of proposals, rounds and seed."""
    t = translator()
    strategy = gr.Dropdown(
        [(t(f"mediate.strategy_{name.replace('-', '_')}"), name) for name in STRATEGIES],
        value=STRATEGIES[0],
        label=t("mediate.strategy"),
        info=t("mediate.strategy_info"),
        filterable=False,
        elem_id="eh-strategy",
    )
    count = gr.Slider(
        1, MOST_CANDIDATES, value=4, step=1, label=t("mediate.count"), info=t("mediate.count_info"), elem_id="eh-count"
    )
    rounds = gr.Slider(
        1, MOST_ROUNDS, value=3, step=1, label=t("mediate.rounds"), info=t("mediate.rounds_info"), elem_id="eh-rounds"
    )
    seed = gr.Number(
        value=0,
        precision=0,
        minimum=0,
        maximum=LARGEST_SEED,
        label=t("mediate.seed"),
        info=t("mediate.seed_info"),
        elem_id="eh-seed",
    )
    for numbers in (count, rounds, seed):
        # Gradio's refuses a number out of range, and with it all that is typed elsewhere on the page. It has no option
        # for this, and a class made from it would write a file beside this one.
        numbers.preprocess = _as_typed
    return strategy, count, rounds, seed


def model_choices() -> list[tuple[Any, str]]:
    """Return the writers that can be chosen now: what the page calls each, and its name."""
    t = translator()
    return [(t(choice.key) if choice.key else choice.title, choice.name) for choice in writer_choices()]


def _part(name: str, low: str, lines: int, most: int) -> Any:
    return gr.Textbox(
        label=translator()(f"mediate.{name}_{low}"),
        lines=lines,
        max_lines=most,
        max_length=LONGEST_VIEW,
        elem_id=f"eh-{name}-{low}",
    )


def _as_typed(payload: Any) -> Any:
    return payload


def text_of(value: Any) -> str:
    """Return a field's text, with what cannot be written as UTF-8 replaced."""
    return str(value or "").encode("utf-8", "replace").decode("utf-8")


def _number(value: Any, otherwise: int, least: int, most: int) -> int:
    try:
        return max(least, min(most, int(value)))
    except (TypeError, ValueError, OverflowError):
        return otherwise
