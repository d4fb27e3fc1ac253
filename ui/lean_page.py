"""Gradio's page without what it piles up in each window: outputs that stay are left alone, a component keeps its id."""

import copy
from collections.abc import Sequence
from typing import Any

import gradio as gr
from gradio.blocks import convert_component_dict_to_list


class LeanPage(gr.Blocks):  # type: ignore[misc]
    """A page whose windows hold one component for each place, however often they are updated.

    Gradio makes a new component, with a new id, for each output that a listener leaves alone, and keeps the next value
    under that id for as long as the window is remembered. A page that streams into one of twenty outputs so builds
    nineteen components with every message, on the event loop, and each window grows with all that it has ever shown.
    """

    async def postprocess_data(self, block_fn: Any, predictions: Any, state: Any) -> list[Any]:
        """Return what a listener's outputs are told, as Gradio does; the arguments are Gradio's own."""
        outputs = list(block_fn.outputs)
        values = _one_each(outputs, predictions)
        changed = [place for place, value in enumerate(values) if not _stays(value)]
        if len(values) != len(outputs):  # Gradio says what is wrong with them
            answers: list[Any] = await super().postprocess_data(block_fn, predictions, state)
            return answers
        answers = [None if output.stateful else gr.skip() for output in outputs]
        if changed:
            part = copy.copy(block_fn)
            part.outputs = [outputs[place] for place in changed]
            told = [values[place] for place in changed]
            # Gradio takes the value of a single output as it is, not in a list.
            part_answers = await super().postprocess_data(part, told if len(told) > 1 else told[0], state)
            for place, answer in zip(changed, part_answers, strict=True):
                answers[place] = answer
            if state is not None:
                for output in part.outputs:
                    state.blocks_config.blocks[output._id]._id = output._id
        return answers


def _one_each(outputs: Sequence[Any], predictions: Any) -> list[Any]:
    """Return what a listener returned as a list of values, one for each output where it returned as many."""
    if _stays(predictions):
        return [predictions] * len(outputs)
    if isinstance(predictions, dict) and predictions:
        predictions = convert_component_dict_to_list(outputs, predictions)
        if isinstance(predictions, list):
            return predictions
    if len(outputs) == 1 or not isinstance(predictions, list | tuple):
        return [predictions]
    return list(predictions)


def _stays(value: Any) -> bool:
    return isinstance(value, dict) and value == gr.skip()
