"""ui/fields.py: what is typed becomes a form, whatever it is."""

import gradio as gr
import pytest

from ui.fields import make_options


@pytest.fixture(scope="module")
def options():
    with gr.Blocks():
        return make_options()


@pytest.mark.parametrize("typed", [-5, 1e20, None, 7])
def test_a_number_out_of_range_does_not_keep_the_page_from_being_saved(options, typed):
    for component in options[1:]:
        assert component.preprocess(typed) == typed
