"""An exported page in headless Chromium: equal sides, true bars, nothing fetched, a phone, the dark, and paper."""

import pytest
from support.sessions import EVERYTHING, a_session

from mediator.report import as_html

pytestmark = pytest.mark.browser


@pytest.fixture
def show(browser, tmp_path):
    """Opens a session's page as a file; fails the test on any request but that for the file, and on any fault."""
    contexts, faults = [], []

    def show(session, width=1024, language="en", **options):
        path = tmp_path / "page.html"
        path.write_text(as_html(session, language, parts=EVERYTHING), encoding="utf-8")
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: request.url == path.as_uri() or faults.append(request.url))
        page.on("console", lambda message: faults.append(message.text))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(path.as_uri())
        return page

    yield show
    for context in contexts:
        context.close()
    assert faults == []


def test_both_sides_have_the_same_size_and_bars_are_as_long_as_they_say(show):
    page = show(a_session())
    left, right = (side.bounding_box() for side in page.query_selector_all("section.sides > .side"))
    assert (left["width"], left["height"], left["y"]) == (right["width"], right["height"], right["y"])
    for bar in page.query_selector_all(".bar"):
        said = float(bar.query_selector(".bar-value").text_content().split()[0]) / 100
        track = bar.query_selector(".track").bounding_box()["width"]
        fill = bar.query_selector("[class^=fill]").bounding_box()["width"]
        assert fill / track == pytest.approx(said, abs=0.01)


@pytest.mark.parametrize("language", ["en", "de"])
def test_it_fits_a_phone_whatever_the_words(show, language):
    page = show(a_session("Donaudampfschifffahrtsgesellschaft" * 5), 320, language)
    assert page.evaluate("document.documentElement.scrollWidth") <= 320


def test_hostile_words_run_nothing(show):
    session = a_session('<img src=x onerror="window.hurt=1"></title><script>window.hurt=2</script>')
    page = show(session)
    assert page.title() == session.title
    assert page.evaluate("window.hurt") is None


def test_the_dark_is_for_the_screen_and_paper_is_white(show):
    page = show(a_session(), color_scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate(ground) == "rgb(255, 255, 255)" != dark


@pytest.mark.parametrize("paper", ["A4", "Letter"])
def test_it_prints_on_some_pages(show, paper):
    page = show(a_session())
    printed = page.pdf(format=paper)
    assert printed.startswith(b"%PDF")
    assert 2 <= printed.count(b"/Type /Page\n") <= 6
    # The note is in the table's foot, which browsers repeat on each page.
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.querySelector('tfoot')).display") == "table-footer-group"
    assert page.text_content("tfoot").startswith("AI-assisted draft, for discussion")
