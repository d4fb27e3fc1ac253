"""The Sessions tab in headless Chromium, on a real store: find, rename, duplicate, delete, export, import, keyboard."""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.sessions import TEXTS, a_session

from mediator.report import as_json
from mediator.store import Store
from tests.browser.conftest import free_port
from ui.serving import Access, Server
from ui.sessions import LARGEST_IMPORT as IMPORT_LIMIT

pytestmark = pytest.mark.browser

HOSTILE = '"><img src=x onerror="window.hurt=1"><script>window.hurt=2</script>${window.hurt=3}{{value}}'
SECRET = "Quetzalcoatlus"


@dataclass
class Tab:
    """The tab being served: its address, its store, and the folder of the store's file."""

    url: str
    store: Store
    folder: Path


@pytest.fixture
def tab(tmp_path):
    """The tab alone, served as the app is served, on a store of its own."""
    store = Store(tmp_path / "sessions.sqlite3")

    def make_page():
        import gradio as gr

        from ui.engine import Engine
        from ui.sessions import build_tab
        from ui.workspace import Workspace

        with gr.Blocks(analytics_enabled=False) as page, gr.Tabs():
            with gr.Tab("First"):
                gr.Markdown("Nothing here.")
            with gr.Tab("Sessions"):
                build_tab(Workspace(Engine(), store))
        return page

    server = Server(make_page, Access(port=free_port()))
    yield Tab(server.address, store, tmp_path)
    server.close()
    store.close()


@pytest.fixture
def page(browser, tab):
    """A fresh page; fails the test on a script error, a hostile script that ran, or a strange request."""
    context = browser.new_context(viewport={"width": 1024, "height": 900}, locale="en-GB", accept_downloads=True)
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(f"script error: {error}"))
    page.on("console", lambda message: message.type == "error" and faults.append(message.text))
    page.on(
        "request",
        lambda request: request.url.startswith((tab.url, "data:", "blob:")) or faults.append(f"asked {request.url}"),
    )
    yield page
    hurt = page.evaluate("window.hurt")
    context.close()
    assert hurt is None
    assert faults == []


def open_tab(page, tab, query=""):
    page.goto(f"{tab.url}{query}")
    page.get_by_role("tab", name="Sessions").click()
    page.wait_for_selector(".eh-sessions")


def titles(page):
    return [link.text_content() for link in page.query_selector_all(".eh-session-link")]


def button(page, what, title):
    return page.get_by_role("button", name=f"{what}: {title}", exact=True)


def wait_for_answer(page, words):
    page.wait_for_function(
        "words => document.querySelector('#eh-sessions-answer')?.textContent.includes(words)", arg=words
    )


def focused(page):
    return page.evaluate("document.activeElement.dataset.focus || document.activeElement.outerHTML.slice(0, 120)")


def wait_for_focus(page, key):
    page.wait_for_function("key => document.activeElement.dataset.focus === key", arg=key)


def save(page, title, kind, words="", language=None):
    if page.locator("section[data-panel]").count() == 0:
        button(page, "Export", title).click()
    panel = page.locator("section[data-panel]")
    panel.get_by_label(kind, exact=True).check()
    if language:
        panel.get_by_label(language, exact=True).check()
    panel.locator("textarea").fill(words)
    with page.expect_download() as download:
        panel.get_by_role("button", name="Save file").click()
    return download.value.suggested_filename, Path(download.value.path()).read_text(encoding="utf-8")


def test_an_empty_list_says_what_will_be_in_it(page, tab):
    open_tab(page, tab)
    assert "No session yet." in page.text_content("#eh-sessions")


def test_the_list_is_drawn_anew_when_the_tab_is_selected_and_links_open_sessions(page, tab):
    open_tab(page, tab)
    session = tab.store.create(title="Made elsewhere")
    page.get_by_role("tab", name="First").click()
    page.get_by_role("tab", name="Sessions").click()
    page.get_by_role("link", name="Made elsewhere").click()
    page.wait_for_url(f"**/?session={session.id}")
    page.get_by_role("tab", name="Sessions").click()
    assert "open here" in page.text_content(".eh-session:has(a[aria-current=true]) h3")


def test_searching_shows_those_with_every_word_while_one_types(page, tab):
    for title in ("Kitchen rota", "Kitchen noise", "Hedge"):
        tab.store.create(title=title)
    tab.store.add(a_session("The long table"))
    open_tab(page, tab)
    assert len(titles(page)) == 4
    page.locator("#eh-session-search input, #eh-session-search textarea").press_sequentially("KITCHEN noi")
    page.wait_for_function("document.querySelectorAll('.eh-session').length === 1")
    assert titles(page) == ["Kitchen noise"]
    page.locator("#eh-session-search input, #eh-session-search textarea").fill("cleaner equal parts")
    page.wait_for_function("document.querySelector('.eh-session-link')?.textContent === 'The long table'")
    page.locator("#eh-session-search input, #eh-session-search textarea").fill("nothing of the kind")
    page.wait_for_selector("text=No session holds all these words.")


def test_renaming_and_duplicating_by_keyboard_alone(page, tab):
    session = tab.store.add(a_session("Kitchen"))
    tab.store.create(title="Hedge")
    open_tab(page, tab)
    button(page, "Rename", "Kitchen").focus()
    page.keyboard.press("Enter")
    wait_for_focus(page, f"panel:{session.id}")
    page.keyboard.type("The kitchen again")  # the old title was selected
    page.keyboard.press("Enter")
    wait_for_focus(page, f"rename:{session.id}")
    assert titles(page) == ["The kitchen again", "Hedge"]
    assert tab.store.get(session.id).title == "The kitchen again"
    page.keyboard.press("Enter")
    wait_for_focus(page, f"panel:{session.id}")
    page.keyboard.type("never")
    page.keyboard.press("Escape")
    wait_for_focus(page, f"rename:{session.id}")
    assert page.locator("[data-panel]").count() == 0
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    page.wait_for_function("document.querySelectorAll('.eh-session').length === 3")
    copy = tab.store.list()[0]
    wait_for_focus(page, f"open:{copy.id}")
    assert titles(page) == ["Copy of The kitchen again", "The kitchen again", "Hedge"]
    assert len(tab.store.get(copy.id).rounds) == 2


def test_deleting_asks_first_and_then_leaves_no_byte(page, tab):
    session = a_session(f"Kitchen {SECRET}")
    session = tab.store.add(session)
    tab.store.create(title="Hedge")
    open_tab(page, tab)

    def bytes_left():
        return [path.name for path in tab.folder.iterdir() if SECRET.encode() in path.read_bytes()]

    assert bytes_left()
    button(page, "Delete", f"Kitchen {SECRET}").click()
    wait_for_focus(page, f"panel:{session.id}")
    question = page.get_by_role("alertdialog")
    assert f"Delete “Kitchen {SECRET}” for good?" in question.text_content()
    page.keyboard.press("Enter")  # the focus is on keeping it
    wait_for_focus(page, f"delete:{session.id}")
    assert tab.store.get(session.id)
    page.keyboard.press("Enter")
    wait_for_focus(page, f"panel:{session.id}")
    page.get_by_role("alertdialog").get_by_role("button", name="Delete for good").click()
    wait_for_answer(page, "is deleted.")
    assert titles(page) == ["Hedge"]
    assert focused(page) == f"open:{tab.store.list()[0].id}"
    assert bytes_left() == []


def test_deleting_the_session_that_is_open_leaves_its_page(page, tab):
    session = tab.store.create(title="Open here")
    open_tab(page, tab, f"?session={session.id}")
    button(page, "Delete", "Open here").click()
    page.get_by_role("alertdialog").get_by_role("button", name="Delete for good").click()
    page.wait_for_url(f"{tab.url.rstrip('/')}/#deleted")
    wait_for_answer(page, "The session that was open is deleted. A new one begins under Mediate.")
    assert page.get_by_role("tab", name="Sessions").get_attribute("aria-selected") == "true"
    assert tab.store.list() == []
    page.get_by_role("tab", name="First").click()
    page.get_by_role("tab", name="Sessions").click()
    page.wait_for_function("document.querySelector('#eh-sessions-answer').textContent.trim() === ''")


def test_each_format_is_saved_and_the_json_is_imported_again(page, tab):
    session = tab.store.add(a_session("Kitchen: a/b"))
    open_tab(page, tab)
    day = session.updated_at.astimezone().date()
    name, html = save(page, "Kitchen: a/b", "Page to print (HTML)")
    assert name == f"Kitchen a b {day}.html"
    assert html.startswith("<!DOCTYPE html>")
    assert TEXTS[1] in html
    name, markdown = save(page, "Kitchen: a/b", "Markdown", language="Deutsch (German)")
    assert name.endswith(".md")
    assert "# Kitchen: a/b" in markdown
    assert "Entwurf mit Hilfe von KI" in markdown
    name, text = save(page, "Kitchen: a/b", "Everything, to import again (JSON)")
    assert text == as_json(tab.store.get(session.id))
    tab.store.delete(session.id)
    page.set_input_files(
        "#eh-import input[type=file]", {"name": name, "mimeType": "application/json", "buffer": text.encode()}
    )
    wait_for_answer(page, "Imported “Kitchen: a/b”.")
    (again,) = tab.store.list()
    assert again.id != session.id
    assert (again.rounds, again.proposals, again.kept) == (2, 5, 2)
    wait_for_focus(page, f"open:{again.id}")


def test_a_redacted_export_shows_how_much_is_replaced_and_keeps_what_was_typed(page, tab):
    tab.store.add(a_session("Kitchen"))
    open_tab(page, tab)
    button(page, "Export", "Kitchen").click()
    count = as_json(a_session("Kitchen")).count("Anna")
    page.locator("[data-panel] textarea").fill("Anna\nCarver House = a house\nFrieda")
    page.wait_for_function("document.querySelector('.eh-preview')?.textContent.includes('Not found: Frieda.')")
    replaced = count + as_json(a_session("Kitchen")).count("Carver House")
    assert page.text_content(".eh-preview") == f"{replaced} passages will be replaced. Not found: Frieda."
    assert "descriptions that give somebody away are not found" in page.text_content("[data-panel]")
    panel = page.locator("[data-panel]")
    panel.get_by_label("Everything, to import again (JSON)").check()
    for _ in range(2):
        with page.expect_download() as download:
            panel.get_by_role("button", name="Save file").click()
        text = Path(download.value.path()).read_text()
        assert not re.search("anna|carver", text, re.IGNORECASE)
        assert "[name 1] Berger" in text
        wait_for_answer(page, "by your browser")
    assert page.input_value("[data-panel] textarea").startswith("Anna")
    assert "Not found" in page.text_content(".eh-preview")
    assert panel.get_by_label("Everything, to import again (JSON)").is_checked()


def test_what_may_be_confidential_is_in_the_file_only_once_its_box_is_ticked(page, tab):
    tab.store.add(a_session("Kitchen"))
    open_tab(page, tab)
    private = {
        "Ratings and notes": "If it is kept up",
        "Feedback and history": "Ask Anna first",
        "Proposals not kept": "For two months nobody",
    }

    def in_it(kind):
        _, text = save(page, "Kitchen", kind)
        return {name for name, words in private.items() if words in text}

    assert in_it("Page to print (HTML)") == set()
    panel, said = page.locator("section[data-panel]"), page.locator(".eh-contents")
    assert "Left out: proposals not kept; ratings and notes; feedback," in said.inner_text()
    panel.get_by_label("Ratings and notes").focus()
    page.keyboard.press("Space")
    assert "Left out: proposals not kept; feedback," in said.inner_text()
    assert in_it("Page to print (HTML)") == in_it("Markdown") == {"Ratings and notes"}
    panel.get_by_label("Feedback and history").check()
    panel.get_by_label("Proposals not kept").check()
    assert in_it("Page to print (HTML)") == set(private)
    for name in private:
        panel.get_by_label(name).uncheck()
    assert in_it("Everything, to import again (JSON)") == set(private)
    assert "In the file: everything" in said.inner_text()
    assert all(panel.get_by_label(name).is_disabled() for name in private)


def test_hostile_words_are_shown_as_words(page, tab):
    session = a_session(HOSTILE)
    session = tab.store.add(session)
    open_tab(page, tab)
    assert titles(page) == [HOSTILE]
    for what in ("Rename", "Export", "Delete"):
        button(page, what, HOSTILE).click()
        wait_for_focus(page, f"panel:{session.id}")
    assert HOSTILE in page.get_by_role("alertdialog").text_content()
    page.keyboard.press("Escape")
    name, _ = save(page, HOSTILE, "Page to print (HTML)")
    assert "<" not in name
    button(page, "Duplicate", HOSTILE).click()
    page.wait_for_function("document.querySelectorAll('.eh-session').length === 2")
    page.wait_for_timeout(300)


def test_a_file_that_is_no_session_is_one_sentence(page, tab):
    open_tab(page, tab)
    for content, words in (
        (b"{", "line 1, column 2: this is not valid JSON"),
        (b'{"evenhand_session": 9}', "newer version of Evenhand"),
        (b"\x89PNG\xff\xff", "is not a text file"),
        (b'{"title": "<img src=x onerror=window.hurt=1>"}', "holds no session of Evenhand"),
    ):
        page.set_input_files(
            "#eh-import input[type=file]",
            {"name": "<img src=x onerror=window.hurt=1>.json", "mimeType": "", "buffer": content},
        )
        wait_for_answer(page, words)
        assert page.locator("#eh-sessions-answer [role=alert]").count() == 1
        assert tab.store.list() == []


def test_a_large_session_is_imported(page, tab):
    session = a_session("Large")
    form = session.form.model_copy(update={"summary": 'a "long" summary\n' * 300_000})
    text = as_json(session.model_copy(update={"form": form}))
    assert 6_000_000 < len(text) < IMPORT_LIMIT
    open_tab(page, tab)
    page.set_input_files("#eh-import input[type=file]", {"name": "l.json", "mimeType": "", "buffer": text.encode()})
    wait_for_answer(page, "Imported “Large”.")
    assert len(tab.store.get(tab.store.list()[0].id).form.summary) == len(form.summary)


def test_a_thousand_sessions_are_shown_by_pages(page, tab):
    for number in range(1000):
        tab.store.create(title=f"Session {number}")
    open_tab(page, tab)
    assert "1000 sessions" in page.text_content(".eh-sessions > [role=status]")
    assert titles(page)[0] == "Session 999"
    assert len(titles(page)) == 50
    pages = page.get_by_role("navigation", name="Pages of the list")
    assert pages.get_by_role("button", name="Newer").get_attribute("aria-disabled") == "true"
    pages.get_by_role("button", name="Older").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("text=51 to 100 of 1000")
    assert titles(page)[0] == "Session 949"
    assert page.evaluate("document.activeElement.dataset.page") == "2"  # the same button, to the page after


def test_it_speaks_german_and_fits_a_phone(browser, tab):
    tab.store.add(a_session("Küche"))
    context = browser.new_context(viewport={"width": 320, "height": 700}, locale="de-DE")
    page = context.new_page()
    open_tab(page, tab)
    assert "Geändert am" in page.text_content("#eh-sessions")
    assert page.text_content("#eh-import-button") == "Sitzung importieren…"
    assert "Suchen" in page.text_content("#eh-session-search")
    page.get_by_role("button", name="Exportieren: Küche", exact=True).first.click()
    page.wait_for_selector("section[data-panel]")
    assert page.locator("input[name=eh-language]:checked").get_attribute("value") == "de"
    page.locator("[data-panel] textarea").fill("Anna")
    page.wait_for_function("document.querySelector('.eh-preview')?.textContent.includes('Stellen werden ersetzt')")
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    context.close()
