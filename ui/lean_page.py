"""Gradio's page without what it piles up in each window: outputs that stay are left alone, a component keeps its id."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr
from gradio.blocks import convert_component_dict_to_list


class LeanPage(gr.Blocks):  # type: ignore[misc]
    """A page whose windows hold one component for each place, however often they are updated.

    Gradio makes a new component, with a new id, for each output that a listener leaves alone, and keeps the next value
    under that id for as long as the window is remembered. A page that streams into one of twenty outputs so builds
    nineteen components with every message, on the event loop, and each window grows with all that it has ever shown.

    Nor is kept what a window showed and sent last: Gradio does so for links to a state of the page, which this one does
    not give, and the words of a deleted session would be in memory for as long as the window is remembered.
    """

    def __init__(self, **options: Any) -> None:
        """Make an empty page, to be filled in a ``with`` block; the options are those of `gradio.Blocks`."""
        super().__init__(**options)
        self.session_state: Callable[[str], str] = lambda _: ""
        """What `ui.pulse.Pulse` answers of a session."""
        # A window begins with a copy of it.
        self.default_config.blocks = _Places(self.default_config.blocks)

    async def process_api(self, block_fn: Any, inputs: Any, state: Any = None, **options: Any) -> dict[str, Any]:
        """Call a listener, as Gradio does; the arguments are Gradio's own."""
        if state is not None and not isinstance(state.config_values, _NoValues):
            state.config_values = _NoValues()
        answer: dict[str, Any] = await super().process_api(block_fn, inputs, state, **options)
        return answer

    async def postprocess_data(self, block_fn: Any, predictions: Any, state: Any) -> list[Any]:
        """Return what a listener's outputs are told, as Gradio does; the arguments are Gradio's own."""
        outputs = list(block_fn.outputs)
        values = _one_each(outputs, predictions)
        if len(values) != len(outputs):  # Gradio says what is wrong with them
            answers: list[Any] = await super().postprocess_data(block_fn, predictions, state)
            return answers
        changed = [place for place, value in enumerate(values) if not _stays(value)]
        answers = [None if output.stateful else gr.skip() for output in outputs]
        if changed:
            part = copy.copy(block_fn)
            part.outputs = [outputs[place] for place in changed]
            told = [values[place] for place in changed]
            # Gradio takes the value of a single output as it is, not in a list.
            part_answers = await super().postprocess_data(part, told if len(told) > 1 else told[0], state)
            for place, answer in zip(changed, part_answers, strict=True):
                answers[place] = answer
        return answers


class _Places(dict[int, Any]):
    """Components by their places: one that stands for another takes over its id."""

    def __setitem__(self, number: int, component: Any) -> None:
        component._id = number
        super().__setitem__(number, component)


class _NoValues(dict[int, Any]):
    """What a window shows, by place: takes everything and keeps nothing."""

    def __contains__(self, number: object) -> bool:
        return True

    def __getitem__(self, number: int) -> dict[str, Any]:
        return {}

    def __setitem__(self, number: int, settings: Any) -> None:
        pass


def _one_each(outputs: Sequence[Any], predictions: Any) -> list[Any]:
    """Return what a listener returned as a list of values, one for each output where it returned as many."""
    if _stays(predictions):
        return [predictions] * len(outputs)
    if isinstance(predictions, dict) and predictions:
        predictions = convert_component_dict_to_list(outputs, predictions)  # one value is not in a list then
    if len(outputs) == 1 or not isinstance(predictions, list | tuple):
        return [predictions]
    return list(predictions)


def _stays(value: Any) -> bool:
    return isinstance(value, dict) and value == gr.skip()
