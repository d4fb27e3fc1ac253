"""A page that nobody touches rests: it draws no frames, and asks nothing but whether anything has changed."""

from urllib.parse import urlsplit

import pytest

from tests.browser.driving import open_page, press

pytestmark = pytest.mark.browser

_COUNT_FRAMES = """() => {
  window.frames_drawn = 0;
  const next = window.requestAnimationFrame.bind(window);
  window.requestAnimationFrame = (work) => next((now) => { window.frames_drawn += 1; work(now); });
}"""


def test_a_page_that_nobody_touches_draws_nothing_and_asks_little_until_another_window_changes_something(
    browser, fresh_page, proposed_address
):
    page, asked = fresh_page, []
    page.add_init_script(f"({_COUNT_FRAMES})()")
    open_page(page, proposed_address)
    page.wait_for_selector("#eh-cards .eh-card")
    page.wait_for_timeout(4000)  # one question: what it looks at for the first time is new to it
    page.on("request", lambda request: asked.append(urlsplit(request.url).path))
    page.evaluate("() => { window.frames_drawn = 0; }")
    page.wait_for_timeout(7000)
    # Gradio's clock beats twice a second, and asks for a frame each time; unslowed there would be over 400.
    assert page.evaluate("() => window.frames_drawn") < 140
    assert set(asked) == {"/pulse"}
    context = browser.new_context()
    other = open_page(context.new_page(), proposed_address)
    other.wait_for_selector("#eh-cards .eh-card")
    press(other, "keep", 2)
    page.wait_for_selector(".eh-kept")
    assert "/gradio_api/run/predict" in asked
    context.close()
