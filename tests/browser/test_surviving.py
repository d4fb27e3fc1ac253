"""Nothing a person made is lost: reloads, second windows, closed windows, a killed app, private sessions."""

import json
import sqlite3
from contextlib import closing

import pytest

from tests.browser.conftest import running_app
from tests.browser.driving import (
    VIEW_A,
    VIEW_B,
    cards,
    choose_writer,
    open_page,
    press,
    propose,
    propose_and_wait,
    texts,
    wait_for_saving,
    wait_for_status,
    write_views,
)
from tests.support.patience import PATIENCE, until

pytestmark = pytest.mark.browser


def dispute_file(view_a, view_b, **about_b):
    """A dispute file as Playwright hands it to the page's chooser."""
    dispute = {"view_a": {"text": view_a}, "view_b": {"text": view_b, **about_b}}
    return {"name": "dispute.json", "mimeType": "application/json", "buffer": json.dumps(dispute).encode()}


def test_typing_survives_a_reload(page):
    page.fill("#eh-title textarea, #eh-title input", "Quiet or play")
    write_views(page)
    page.fill("#eh-label-b textarea, #eh-label-b input", "Parents")
    wait_for_saving(page)
    page.reload()
    page.wait_for_function("() => document.querySelector('#eh-text-a textarea')?.value")
    assert page.input_value("#eh-text-a textarea") == VIEW_A
    assert page.input_value("#eh-text-b textarea") == VIEW_B
    assert page.input_value("#eh-label-b textarea, #eh-label-b input") == "Parents"
    assert page.input_value("#eh-title textarea, #eh-title input") == "Quiet or play"


def test_a_reload_in_mid_stream_goes_on_watching(page, slow_server):
    write_views(page)
    choose_writer(page, slow_server.spec("slow"))
    propose(page)
    page.wait_for_selector("#eh-live .eh-card")
    page.reload()
    page.wait_for_selector("#eh-live .eh-card, #eh-cards .eh-card")
    wait_for_status(page, "Done in")
    assert len(cards(page)) == 4
    assert page.is_enabled("#eh-propose")


def test_back_and_forward_in_mid_stream_show_what_the_address_names(page, slow_server):
    write_views(page)
    choose_writer(page, slow_server.spec("slow"))
    propose(page)
    page.wait_for_selector("#eh-live .eh-card")
    first = page.url
    page.set_input_files("#eh-open-file input[type=file]", dispute_file("Another view of A.", "Another view of B."))
    page.wait_for_url(lambda address: address != first)
    second = page.url
    assert page.query_selector("#eh-live .eh-card, #eh-cards .eh-card") is None
    page.go_back()
    page.wait_for_selector("#eh-live .eh-card, #eh-cards .eh-card")
    assert (page.url, page.input_value("#eh-text-a textarea")) == (first, VIEW_A)
    page.go_forward()
    page.wait_for_function("() => document.querySelector('#eh-text-a textarea')?.value.startsWith('Another')")
    assert page.url == second
    assert page.query_selector("#eh-live .eh-card, #eh-cards .eh-card") is None
    page.go_back()
    wait_for_status(page, "Done in")
    assert len(cards(page)) == 4


def test_a_second_window_sees_the_stream_and_the_marks(page, browser, slow_server):
    write_views(page)
    choose_writer(page, slow_server.spec("slow"))
    propose(page)
    page.wait_for_selector("#eh-live .eh-card")
    context = browser.new_context()
    second = open_page(context.new_page(), page.url)
    second.wait_for_selector("#eh-live .eh-card, #eh-cards .eh-card")  # on a busy machine the round may be over
    wait_for_status(page, "Done in")
    wait_for_status(second, "Done in")
    page.wait_for_selector("#eh-cards .eh-card")
    press(page, "keep", 1)
    second.wait_for_selector(".eh-kept")
    assert texts(second) == texts(page)
    press(second, "keep", 2)
    until(lambda: len(page.query_selector_all(".eh-kept li")) == 2)
    context.close()


def test_a_round_of_another_window_puts_no_stop_under_the_finger_of_this_one(page, browser, slow_server):
    write_views(page)
    choose_writer(page, slow_server.spec("endless"))
    wait_for_saving(page)
    page.focus("#eh-propose")
    page.keyboard.press("Tab")
    page.keyboard.press("Shift+Tab")
    page.wait_for_function("() => document.activeElement.id === 'eh-propose'")
    context = browser.new_context()
    second = open_page(context.new_page(), page.url)
    propose(second)
    page.wait_for_selector("#eh-propose:disabled")
    page.wait_for_function("() => document.activeElement.id === 'eh-status'")
    hung_up = len(slow_server.hung_up)
    page.keyboard.press("Enter")
    page.wait_for_timeout(500)
    assert len(slow_server.hung_up) == hung_up
    second.click("#eh-stop")
    page.wait_for_function("() => document.activeElement.id === 'eh-propose'")
    context.close()


def test_a_closed_window_does_not_leave_a_writer_at_work(browser, tmp_path, slow_server):
    from ui import running

    context = browser.new_context()
    with running_app(tmp_path) as app:
        window = open_page(context.new_page(), app.url)
        write_views(window)
        choose_writer(window, slow_server.spec("endless"))
        propose(window)
        window.wait_for_selector("#eh-live .eh-card")
        hung_up = len(slow_server.hung_up)
        context.close()
        until(lambda: len(slow_server.hung_up) > hung_up, seconds=running.PATIENCE_WITHOUT_WATCHERS + PATIENCE)


def test_a_killed_app_loses_nothing_finished(browser, tmp_path, slow_server):
    context = browser.new_context()
    with running_app(tmp_path) as app:
        page = open_page(context.new_page(), app.url)
        write_views(page)
        propose_and_wait(page)
        before = texts(page)
        press(page, "keep", 1)
        page.wait_for_selector(".eh-kept")
        choose_writer(page, slow_server.spec("endless"))
        propose(page)
        page.wait_for_selector('#eh-live .eh-card[data-state="done"]')
        finished = page.text_content('#eh-live .eh-card[data-state="done"] .eh-text')
        address = page.url
        app.process.kill()
        app.process.wait()
    with running_app(tmp_path, port=int(app.url.rpartition(":")[2])):
        page = open_page(context.new_page(), address)
        page.wait_for_selector("#eh-cards .eh-card")
        assert "ended in the midst" in page.text_content("#eh-cards")
        assert texts(page) == [finished]
        page.click('.eh-trail button[data-round="1"]')
        until(lambda: texts(page) == before)
        assert page.query_selector(".eh-kept")
    context.close()


def test_an_opened_file_survives_a_restart_under_an_open_page_with_what_it_told_of_the_authors(browser, tmp_path):
    told = {"age": "34", "work": "nurse"}
    context = browser.new_context()
    with running_app(tmp_path) as app:
        window = open_page(context.new_page(), app.url)
        window.set_input_files("#eh-open-file input[type=file]", dispute_file(VIEW_A, VIEW_B, demographics=told))
        wait_for_status(window, "Opened")
        assert window.input_value("#eh-text-b textarea") == VIEW_B
        wait_for_saving(window)
        window.evaluate("window.isBeforeTheRestart = true")
    with running_app(tmp_path, port=int(app.url.rpartition(":")[2])):
        # The page finds by itself that the app was started anew, and reloads.
        window.wait_for_function(
            "() => !window.isBeforeTheRestart && document.querySelector('#eh-text-b textarea')?.value"
        )
        window.fill("#eh-text-a textarea", "Another view of A, typed after the restart.")

        def saved():
            with closing(sqlite3.connect(next((tmp_path / "data").glob("*.sqlite3")))) as store:
                return [json.loads(form) for (form,) in store.execute("SELECT form_json FROM session")]

        until(lambda: "after the restart" in saved()[0]["side_a"]["text"])
        assert saved()[0]["side_b"]["demographics"] == told
    context.close()


def test_a_private_session_is_never_on_disk(page, app, browser):
    open_page(page, f"{app.url}/?new=private")
    secret = "Zaphod's wall keeps out the morning light"
    write_views(page, f"{secret}. Take it down.", VIEW_B)
    page.wait_for_function("() => document.querySelector('.eh-saved')?.dataset.state === 'private'")
    propose_and_wait(page)
    press(page, "keep", 1)
    page.wait_for_selector(".eh-kept")
    kept = texts(page)[0]
    wait_for_saving(page)
    page.reload()  # memory is enough for a reload
    page.wait_for_selector(".eh-kept")
    for path in app.log.parent.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert secret.encode() not in content, path
            assert kept[:40].encode() not in content, path
    context = browser.new_context()
    other = open_page(context.new_page(), app.url)
    other.click("#eh-tabs [role=tab]:has-text('Sessions')")
    other.wait_for_selector("#eh-session-search")
    other.wait_for_timeout(1000)
    assert "Zaphod" not in other.content(), "another window is told of it"
    context.close()


def test_a_session_that_is_gone_says_so(page, app):
    open_page(page, f"{app.url}/?session={'0' * 32}")
    assert "not on this computer any more" in page.text_content(".eh-status")
    write_views(page)
    propose_and_wait(page)
    assert len(cards(page)) == 4


def test_a_session_of_another_person_cannot_be_guessed_or_forged(page, app):
    open_page(page, f"{app.url}/?session=' OR 1=1 --")
    assert page.query_selector(".eh-status-error")
    write_views(page)
    wait_for_saving(page)
    with sqlite3.connect(app.log.parent / "data" / "sessions.sqlite3") as database:
        ids = [row[0] for row in database.execute("SELECT id FROM session")]
    assert all(len(name) == 32 for name in ids)


def test_a_disk_that_cannot_be_written_is_said_and_the_work_goes_on(browser, tmp_path):
    (tmp_path / "data").write_text("a file where the folder should be")
    context = browser.new_context()
    with running_app(tmp_path) as app:
        page = open_page(context.new_page(), app.url)
        write_views(page)
        page.wait_for_function("() => document.querySelector('.eh-saved')?.dataset.state === 'problem'")
        assert "private" in page.text_content("#eh-saved").lower()
        page.goto(f"{app.url}/?new=private")
        page.wait_for_selector("#eh-propose")
        write_views(page)
        propose_and_wait(page)
        assert len(cards(page)) == 4
    context.close()


def test_two_windows_that_type_in_one_session_lose_nothing(page, browser):
    write_views(page)
    wait_for_saving(page)
    context = browser.new_context()
    second = open_page(context.new_page(), page.url)
    page.fill("#eh-text-b textarea", "Typed in the first window.")
    page.fill("#eh-label-a textarea, #eh-label-a input", "Readers")
    wait_for_saving(page)
    second.fill("#eh-text-a textarea", "Typed in the second window.")
    fields = {
        "#eh-text-b textarea": "Typed in the first window.",
        "#eh-text-a textarea": "Typed in the second window.",
        "#eh-label-a textarea, #eh-label-a input": "Readers",
    }

    def shows(window):
        return {name: window.input_value(name) for name in fields} == fields

    until(lambda: shows(page) and shows(second))
    context.close()


def test_a_page_of_a_private_session_that_is_gone_stays_private(browser, tmp_path):
    context = browser.new_context()
    with running_app(tmp_path) as app:
        window = open_page(context.new_page(), f"{app.url}/?new=private")
        write_views(window, "SECRETVIEW before", "SECRETVIEW before")
        wait_for_saving(window)
        address = window.url.removeprefix(app.url)
        window.close()
    with running_app(tmp_path) as app:
        window = open_page(context.new_page(), f"{app.url}{address}")
        write_views(window, "SECRETVIEW after", "SECRETVIEW after")
        wait_for_saving(window)
        assert window.get_attribute("#eh-saved .eh-saved", "data-state") == "private"
    context.close()
    assert not any(b"SECRETVIEW" in path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file())
