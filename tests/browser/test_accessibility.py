"""Everybody can use the page: axe-core, the keyboard alone, 200 % zoom, a phone, dark, German."""

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.browser.driving import (
    VIEW_A,
    VIEW_B,
    choose_example,
    open_page,
    propose_and_wait,
    resize,
    wait_for_status,
)

pytestmark = pytest.mark.browser

SERIOUS = ("serious", "critical")


def violations(page):
    """What axe-core calls serious or critical, with the elements."""
    found = Axe().run(page).response["violations"]
    return [
        f"{entry['id']}: {entry['help']}: {[node['html'][:160] for node in entry['nodes'][:3]]}"
        for entry in found
        if entry["impact"] in SERIOUS
    ]


def open_every_fold(page):
    for summary in page.query_selector_all("#eh-cards details:not([open]) > summary:visible"):
        summary.click()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_on_any_tab(browser, app, proposed_address, scheme):
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme=scheme)
    page = open_page(context.new_page(), app.url)
    assert violations(page) == []
    open_page(page, proposed_address)
    page.click(".eh-card [data-action=edit]")
    open_every_fold(page)
    page.wait_for_timeout(500)
    assert violations(page) == []
    for tab in ("Sessions", "Train", "Models"):
        page.click(f"#eh-tabs [role=tab]:has-text('{tab}')")
        page.wait_for_timeout(1500)
        assert violations(page) == [], tab
    context.close()


def test_the_keyboard_is_enough(page):
    page.focus("#eh-text-a textarea")
    page.keyboard.type(VIEW_A)
    names = []
    for _ in range(60):
        page.keyboard.press("Tab")
        here = page.evaluate(
            """() => { const e = document.activeElement, box = e.closest("[id^=eh-]"), style = getComputedStyle(e);
                       return [box ? box.id : "", style.outlineStyle + " " + style.boxShadow]; }"""
        )
        names.append(here[0])
        assert here[1] != "none none", f"the focus cannot be seen on {here[0]}"
        if here[0] == "eh-text-b":
            page.keyboard.type(VIEW_B)
        if here[0] == "eh-propose":
            page.keyboard.press("Enter")
            page.wait_for_function("() => document.activeElement.id === 'eh-stop'")
            break
    order = [name for name in names if name]
    assert order[-1] == "eh-propose", order
    assert order.index("eh-form-b") < order.index("eh-text-b") < order.index("eh-comment") < order.index("eh-model")
    wait_for_status(page, "Done in")
    page.wait_for_selector("#eh-cards .eh-card")
    page.wait_for_function("() => document.activeElement.id === 'eh-propose'")
    page.focus("#eh-cards .eh-card [data-action=keep]")
    page.keyboard.press("Enter")
    page.wait_for_selector(".eh-kept")
    assert page.evaluate("() => document.activeElement.dataset.focus || ''").startswith("keep-"), "the focus was lost"
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")  # Edit
    page.wait_for_selector(".eh-card textarea")
    page.keyboard.type(" Both sides look at it again in May.")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector(".eh-tag:has-text('edited')")


def test_nothing_is_cut_off_at_any_width(proposed):
    page = proposed
    page.click(".eh-card [data-action=edit]")
    open_every_fold(page)
    tabs = ("Sessions", "Train", "Models", "Mediate")
    # A desk, a laptop, the same at 200 %, a phone, a small phone; where there is no room, some tabs are in a menu.
    for width, height in ((1440, 900), (1024, 700), (640, 450), (390, 844), (320, 640)):
        resize(page, width, height)
        seen = 0
        for tab in tabs:
            chosen = page.query_selector(f"#eh-tabs [role=tab]:has-text('{tab}'):visible")
            if chosen:
                chosen.click()
                page.wait_for_timeout(500)
                seen += 1
            assert page.evaluate("() => document.documentElement.scrollWidth") <= width, (width, tab)
        assert seen == len(tabs) or width < 640


def test_the_page_speaks_german(browser, app):
    context = browser.new_context(locale="de-DE")
    page = open_page(context.new_page(), app.url)
    assert page.evaluate("() => document.documentElement.lang").startswith("de")
    assert page.inner_text("#eh-propose") == "Vorschlagen"
    choose_example(page, "library")
    propose_and_wait(page, "Fertig nach")
    for word in ("Behalten", "Runde 1"):
        assert word in page.text_content("#eh-cards")
    shown = page.inner_text("body")
    for english in ("Propose", "Keep", "View A", "Round 1", "about equal", "Numbers", "As a table", "Writer", "Saved"):
        assert english not in shown, english
    page.click("#eh-propose")
    wait_for_status(page, "Fertig nach")
    context.close()


def test_a_language_we_do_not_have_gets_english(browser, app):
    context = browser.new_context(locale="fr-FR")
    page = open_page(context.new_page(), app.url)
    assert page.inner_text("#eh-propose") == "Propose"
    assert "stays on this computer" in page.text_content(".eh-where")
    context.close()
