"""Where the text goes: said before, asked once a session for a remote writer; and the note about harm."""

import pytest

from tests.browser.driving import VIEW_A, VIEW_B, choose_writer, propose, propose_and_wait, wait_for_status, write_views

pytestmark = pytest.mark.browser

REMOTE = "openai:any@https://models.example.org/v1"


def test_a_remote_writer_asks_once_and_sends_nothing_before(page):
    write_views(page)
    choose_writer(page, REMOTE)
    propose(page)
    page.wait_for_selector("#eh-consent [data-action=consent]")
    assert "models.example.org" in page.text_content("#eh-consent")
    page.click("#eh-consent [data-action=decline]")
    wait_for_status(page, "Nothing was sent")
    assert page.is_enabled("#eh-propose")
    propose(page)
    page.click("#eh-consent [data-action=consent]")
    page.wait_for_selector(".eh-status-error")  # it was tried, and there is no such server
    assert "models.example.org" in page.text_content(".eh-status")
    page.evaluate("() => { document.querySelector('.eh-status').className = 'eh-status'; }")
    propose(page)
    page.wait_for_selector(".eh-status-error")
    assert not page.query_selector("#eh-consent [data-action=consent]"), "it asked a second time"


def test_a_new_session_is_asked_again(page, browser, app):
    write_views(page)
    choose_writer(page, REMOTE)
    propose(page)
    page.click("#eh-consent [data-action=consent]")
    page.wait_for_selector(".eh-status-error")
    page.goto(f"{app.url}/?new=open")
    page.wait_for_selector("#eh-propose")
    write_views(page)
    choose_writer(page, REMOTE)
    propose(page)
    page.wait_for_selector("#eh-consent [data-action=consent]")


def test_the_audit_sends_nothing_without_consent(page):
    write_views(page)
    choose_writer(page, REMOTE)
    page.click("#eh-audit-panel > button")
    page.click("#eh-run-audit")
    page.wait_for_selector(".eh-status-error")
    assert "models.example.org" in page.text_content(".eh-status")


def test_a_view_that_speaks_of_violence_gets_a_calm_note_and_no_block(page):
    write_views(page, "He hit me twice last winter and I am afraid of him. I want him to move out.", VIEW_B)
    page.wait_for_selector("#eh-safety .eh-safety")
    note = page.query_selector("#eh-safety .eh-safety")
    assert note.get_attribute("role") == "note"
    propose_and_wait(page)
    write_views(page, VIEW_A, VIEW_B)
    page.wait_for_selector("#eh-safety .eh-safety", state="detached")
