"""ui/lean_page.py: what a window holds does not grow with what it was shown, and it is shown what Gradio would show."""

import asyncio
from typing import Any

import gradio as gr
import pytest
from gradio.state_holder import SessionState

from ui.lean_page import LeanPage

UPDATES = 10


def page_of(kind: type[gr.Blocks]) -> gr.Blocks:
    with kind(analytics_enabled=False) as page:
        board, status, note = gr.HTML(), gr.HTML(), gr.State("nothing")
        button, name = gr.Button(), gr.Textbox()

        def settled(turn: int) -> dict[Any, Any]:
            return {
                board: f"board {turn}",
                button: gr.Button(interactive=False),
                name: gr.Textbox(label=f"name {turn}"),
            }

        def streamed(turn: int) -> Any:
            for place in "ab":
                yield {status: f"status {turn}{place}"}

        def typed(turn: int) -> tuple[str, str, str]:
            return f"board {turn} again", f"typed {turn}", f"note {turn}"

        turns = gr.Number(0)
        gr.on(None, settled, turns, [board, status, note, button, name])
        gr.on(None, streamed, turns, [board, status, note, button, name])
        gr.on(None, typed, turns, [board, name, note])
        gr.on(None, lambda: gr.skip(), None, [board, status])
        gr.on(None, lambda turn: {status: [turn]}, turns, status)
    return page


async def use(page: gr.Blocks) -> tuple[SessionState, list[Any]]:
    """Call each listener again and again in one window; return what it holds, and all that it was told."""
    state, told = SessionState(page), []
    for turn in range(UPDATES):
        for listener in page.fns.values():
            inputs, iterator = ([turn] if listener.inputs else []), None
            while True:
                answer = await page.process_api(listener, inputs, state, iterator=iterator)
                told.append(answer["data"])
                iterator = answer["iterator"]
                if not answer["is_generating"]:
                    break
    return state, told


@pytest.fixture(scope="module")
def used() -> dict[type[gr.Blocks], tuple[gr.Blocks, SessionState, list[Any]]]:
    pages = {kind: page_of(kind) for kind in (gr.Blocks, LeanPage)}
    return {kind: (page, *asyncio.run(use(page))) for kind, page in pages.items()}


def test_a_window_holds_one_component_for_each_place(used):
    page, state, _ = used[LeanPage]
    assert set(state.blocks_config.blocks) == set(page.blocks)
    assert all(component._id == number for number, component in state.blocks_config.blocks.items())


def test_gradio_alone_still_holds_more(used):
    """When this fails, Gradio has been mended and `LeanPage` can go."""
    page, state, _ = used[gr.Blocks]
    assert len(state.blocks_config.blocks) > len(page.blocks) + UPDATES


def test_a_window_holds_nothing_of_what_it_showed(used):
    def words(kind: type[gr.Blocks]) -> set[str]:
        """Those of the last update that are found anywhere in what is held of a window."""
        _, state, _ = used[kind]
        held = repr([vars(state), *map(vars, state.blocks_config.blocks.values())])
        return {word for word in (f"board {UPDATES - 1} again", f"typed {UPDATES - 1}") if word in held}

    assert words(LeanPage) == set()
    assert len(words(gr.Blocks)) == 2


def test_the_page_is_told_what_gradio_would_tell_it(used):
    def plain(told: list[Any]) -> list[Any]:
        # Gradio puts the mark of an update also among the properties of an HTML output that stays.
        stays = {"props": gr.skip(), **gr.skip()}
        return [[gr.skip() if value == stays else value for value in values] for values in told]

    assert used[LeanPage][2] == plain(used[gr.Blocks][2])


def test_what_a_listener_is_to_find_again_is_kept(used):
    page, state, _ = used[LeanPage]
    kept = next(component for component in page.blocks.values() if isinstance(component, gr.State))
    assert state[kept._id] == f"note {UPDATES - 1}"


def test_outputs_that_do_not_fit_are_still_refused_by_gradio():
    with LeanPage(analytics_enabled=False) as page:
        first, second = gr.HTML(), gr.HTML()
        gr.on(None, lambda: ("one", "two", "three"), None, [first, second])
        gr.on(None, lambda: "alone", None, [first, second])
    with pytest.warns(UserWarning, match="returned too many output values"):
        answer = asyncio.run(page.process_api(next(iter(page.fns.values())), [], SessionState(page)))
    assert answer["data"] == ["one", "two"]
    with pytest.raises(ValueError, match="enough"):
        asyncio.run(page.process_api(list(page.fns.values())[1], [], SessionState(page)))
