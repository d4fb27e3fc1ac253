"""Several browsers at once on one app: each sees its place in the queue and nothing of the others; the app answers."""

import http.client
import threading
from urllib.parse import urlsplit

import pytest

from tests.browser.driving import open_page, wait_for_status
from tests.support.patience import PATIENCE
from ui.engine import places_for

pytestmark = pytest.mark.browser

# No measure fits these, so the drafter's proposals quote both views: whatever leaks is seen.
_ALL_NAMES = ("Quorvath", "Brindelow", "Tesmarine", "Oxhambly", "Velsorne", "Dunkirkle")
NAMES = _ALL_NAMES[: places_for("drafter") + 2]  # two more than the drafter serves at once: four on two cores

_NOTE_STATUSES = """() => {
  window.statuses = [];
  new MutationObserver(() => {
    const text = document.querySelector(".eh-status")?.textContent ?? "";
    if (text !== window.statuses.at(-1)) window.statuses.push(text);
  }).observe(document.body, { subtree: true, childList: true, characterData: true });
}"""


@pytest.fixture
def pages(browser, app):
    contexts = [browser.new_context(viewport={"width": 1280, "height": 900}) for _ in NAMES]
    yield [open_page(context.new_page(), app.url) for context in contexts]
    for context in contexts:
        context.close()


@pytest.fixture
def answers(app):
    """What the app answered to something trivial, asked anew 50 ms after each answer for as long as the test runs."""
    came, stop = [], threading.Event()

    def ask():
        connection = http.client.HTTPConnection(urlsplit(app.url).netloc, timeout=PATIENCE)
        while not stop.wait(0.05):
            connection.request("GET", "/gradio_api/app_id")
            came.append(connection.getresponse().read())

    thread = threading.Thread(target=ask)
    thread.start()
    yield came
    stop.set()
    thread.join()


def everything_on(page):
    fields = "[...document.querySelectorAll('input, textarea')].map((field) => field.value).join(' ')"
    return page.evaluate(f"document.documentElement.outerHTML + {fields}")


def places(statuses):
    """The places in the queue that a page told, in order."""
    words = {1: "you are next", **{place: f"number {place} in the queue" for place in range(2, 9)}}
    return [place for text in statuses for place, said in words.items() if said in text]


def test_more_than_the_drafter_serves_wait_in_a_queue_that_they_see_and_see_nothing_of_one_another(pages, answers):
    for page, name in zip(pages, NAMES, strict=True):
        page.fill("#eh-text-a textarea", f"The {name} must be repainted blue before the parade.")
        page.fill("#eh-text-b textarea", f"The {name} must stay unpainted until the parade is over.")
        page.evaluate(_NOTE_STATUSES)
    pages[0].wait_for_timeout(1000)  # what typing has set off is over
    moment = pages[0].evaluate("Date.now()") + 1000
    press = "(moment) => void setTimeout(() => document.querySelector('#eh-propose').click(), moment - Date.now())"
    for page in pages:
        page.evaluate(press, moment)
    pages[0].wait_for_selector("#eh-live .eh-card, #eh-cards .eh-card")
    before = len(answers)
    for page in pages:
        wait_for_status(page, "Done in")
        page.wait_for_selector("#eh-cards .eh-card")
    answered = len(answers) - before
    seen = [places(page.evaluate("window.statuses")) for page in pages]
    told = [one for one in seen if one]
    assert told, "the drafter serves fewer at once, so somebody had to wait"
    for one in told:
        assert one == sorted(one, reverse=True), "nobody overtakes"
    for page, name in zip(pages, NAMES, strict=True):
        content = everything_on(page)
        proposals = page.text_content("#eh-cards")
        assert f"The {name} must" in proposals
        assert not [other for other in NAMES if other != name and other in content]
    # Drafting on the event loop would have told nobody their place, and have let an answer through between rounds only.
    assert answered > len(NAMES), "the app did not answer while it drafted"
    assert all(answers)
