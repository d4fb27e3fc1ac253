"""Refining what came, in headless Chromium: keep, drop, edit, copy, more like this, feedback, the trail, the audit."""

import pytest

from mediator.session import Session
from mediator.store import Store
from tests.browser.driving import (
    cards,
    choose_example,
    choose_writer,
    meters,
    open_page,
    press,
    propose_and_wait,
    texts,
    wait_for_saving,
    wait_for_status,
)
from tests.support.patience import until

pytestmark = pytest.mark.browser

EDITED = "The upper floor stays silent all day; the ground floor is for children from three to six, with games."


def saved(page, app) -> Session:
    """What is on the disk of the session that the page shows."""
    wait_for_saving(page)
    store = Store(app.log.parent / "data" / "sessions.sqlite3")
    try:
        return store.get(page.evaluate("() => new URL(location.href).searchParams.get('session')"))
    finally:
        store.close()


def test_keeping_and_dropping_is_seen_saved_and_taken_back(proposed, app):
    page, before = proposed, texts(proposed)
    press(page, "keep", 2)
    page.wait_for_selector(".eh-kept")
    assert before[1][:30] in page.text_content(".eh-kept")
    assert cards(page)[1].query_selector("[data-focus^=keep]").get_attribute("aria-pressed") == "true"
    press(page, "drop", 1)
    page.wait_for_selector('.eh-card[data-mark="dropped"]')
    marks = {entry.candidate.text: entry.mark for entry in saved(page, app).rounds[0].selected}
    assert marks[before[0]] == "dropped"
    assert marks[before[1]] == "kept"
    page.click('.eh-card[data-mark="dropped"] [data-action=undecided]')
    page.wait_for_selector('.eh-card[data-mark="dropped"]', state="detached")
    assert texts(page) == before


def test_an_edit_is_scored_while_it_is_typed_and_the_old_wording_stays(proposed, app):
    page, before = proposed, texts(proposed)
    bars = meters(cards(page)[0])
    press(page, "edit")
    editor = page.wait_for_selector(".eh-card textarea")
    assert editor.input_value() == before[0]
    assert editor.evaluate("(element) => element === document.activeElement"), "the focus is in the editor"
    editor.fill(EDITED)
    until(lambda: meters(cards(page)[0]) != bars, "the bars do not follow the typing")
    live = meters(cards(page)[0])
    editor.press("Control+Enter")
    page.wait_for_selector(".eh-card textarea", state="detached")
    until(lambda: texts(page)[0] == EDITED)
    assert meters(cards(page)[0]) == live, "what was shown while typing is what is saved"
    (edit,) = saved(page, app).rounds[0].selected[0].edits
    assert edit.text == EDITED
    assert round(100 * edit.scores.score_a) == live[0]
    page.click("details[data-fold=history] summary")
    assert before[0] in page.text_content("details[data-fold=history]")
    page.click('details[data-fold=history] button[data-action="edit"]')
    until(lambda: texts(page)[0] == before[0])
    assert [entry.text for entry in saved(page, app).rounds[0].selected[0].edits] == [EDITED, before[0]]


def test_escape_leaves_the_editor_and_the_text_as_they_were(proposed):
    page, before = proposed, texts(proposed)
    press(page, "edit")
    page.wait_for_selector(".eh-card textarea").fill("Something else entirely.")
    page.keyboard.press("Escape")
    page.wait_for_selector(".eh-card textarea", state="detached")
    assert texts(page) == before


def test_unsaved_words_survive_what_happens_around_them(proposed):
    page = proposed
    press(page, "edit", 1)
    page.wait_for_selector(".eh-card textarea").fill("Half a thought")
    press(page, "keep", 2)
    page.wait_for_selector(".eh-kept")
    assert page.wait_for_selector(".eh-card textarea").input_value() == "Half a thought"


def test_copying_takes_the_text_alone(proposed, browser):
    page = proposed
    page.context.grant_permissions(["clipboard-write"])
    press(page, "copy", 3)
    until(lambda: "Copied" in page.text_content("#eh-cards"))
    page.focus("#eh-comment textarea")
    page.keyboard.press("Control+V")
    assert page.input_value("#eh-comment textarea") == texts(page)[2]


def test_the_sentence_that_tilts_and_how_acceptable_it_is_are_said_on_demand(proposed):
    page = proposed
    page.click("details[data-fold=tilting] summary")
    page.wait_for_selector("details[data-fold=tilting] .eh-sentences li")
    said = page.text_content("details[data-fold=tilting]")
    assert "pulls towards" in said
    page.click("details[data-fold=acceptance] summary")
    page.wait_for_selector("details[data-fold=acceptance] .eh-quiet")
    said = page.text_content("details[data-fold=acceptance]")
    assert "agreement than most" in said
    assert "nothing to do with the bars" in said


def test_how_each_side_takes_it_is_saved(proposed, app):
    page = proposed
    page.click("details[data-fold=ratings] summary")
    page.click('details[data-fold=ratings] [data-action=rate][data-rater=a][data-value="4"]')
    page.wait_for_selector('details[data-fold=ratings] [data-rater=a][data-value="4"][aria-pressed=true],'
                           'details[data-fold=ratings] [data-rater=a][data-value="4"][aria-checked=true]')  # fmt: skip
    ratings = saved(page, app).rounds[0].selected[0].ratings
    assert [(rating.rater, rating.value) for rating in ratings] == [("a", 4)]


def test_feedback_makes_a_further_round_and_earlier_ones_can_be_returned_to(proposed, app):
    page, first = proposed, texts(proposed)
    press(page, "drop", 1)
    page.fill("#eh-comment textarea", "no silent rooms")
    propose_and_wait(page)
    assert page.input_value("#eh-comment textarea") == ""
    trail = page.text_content(".eh-trail")
    assert "Round 1" in trail
    assert "no silent rooms" in trail
    second = texts(page)
    assert not set(first) & set(second), "a further round repeats nothing"
    page.click('.eh-trail button[data-round="1"]')
    until(lambda: texts(page)[:1] != second[:1])
    assert "looking back at round 1" in page.text_content("#eh-cards")
    address = page.url
    assert address.endswith("&round=1")
    page.go_back()
    until(lambda: texts(page) == second)
    page.go_forward()
    until(lambda: texts(page)[:1] != second[:1])
    assert page.url == address
    entries = page.evaluate("() => history.length")
    page.reload()
    page.wait_for_selector("#eh-cards :text('looking back at round 1')")
    assert (page.url, page.evaluate("() => history.length")) == (address, entries)
    open_page(page, address.replace("round=1", "round=9"))
    assert "Round 9 is not there any more" in page.text_content("#eh-status")
    until(lambda: texts(page) == second)
    assert "round=" not in page.url
    page.click('.eh-trail button[data-round="1"]')
    page.wait_for_selector("#eh-cards [data-action=restore]")
    rounds = saved(page, app).rounds
    assert [entry.comment for entry in rounds] == ["", "no silent rooms"]
    page.fill("#eh-reason-a textarea", "Something quite different.")
    page.click("[data-action=restore]")
    wait_for_status(page, "back in the fields")
    assert page.input_value("#eh-reason-a textarea") == rounds[0].dispute.view_a.reason


def test_more_like_this_stays_close_and_says_so(proposed, app):
    page = proposed
    liked = saved(page, app).rounds[0].selected[1]
    page.evaluate("() => { document.querySelector('.eh-status').textContent = ''; }")
    cards(page)[1].query_selector("[data-action=like]").press("Enter")
    wait_for_status(page, "Done in")
    page.wait_for_function("() => document.activeElement.dataset.focus === 'round-2'")  # its card is not there any more
    assert "like Round 1, proposal 2" in page.text_content(".eh-trail")
    assert saved(page, app).rounds[1].like == liked.id
    assert liked.candidate.text not in texts(page)


def test_the_plane_shows_every_candidate_by_mouse_keyboard_and_table(proposed, app):
    page = proposed
    count = len(saved(page, app).rounds[0].proposals)
    points = page.query_selector_all("#eh-plane svg [data-action=show]")
    assert len(points) == count
    points[0].focus()
    page.wait_for_selector("#eh-plane .eh-tip:visible")
    page.keyboard.press("Home")
    leftmost = page.text_content("#eh-plane .eh-tip")
    page.keyboard.press("ArrowRight")
    until(lambda: page.text_content("#eh-plane .eh-tip") != leftmost)
    page.keyboard.press("Escape")  # what a point says lies over what is below it
    page.click("#eh-plane details summary")
    assert len(page.query_selector_all("#eh-plane tbody tr")) == count


def test_the_audit_says_that_nothing_changed(proposed):
    page = proposed
    page.click("#eh-audit-panel > button")
    page.press("#eh-run-audit", "Enter")
    page.wait_for_function("() => document.activeElement.id === 'eh-audit'")
    page.wait_for_selector("#eh-audit :text('Nothing changed')")
    page.wait_for_function("() => document.activeElement.id === 'eh-run-audit'")
    assert len(page.query_selector_all("#eh-audit [role=meter]")) >= 4
    found = page.inner_html("#eh-audit .eh-audit")
    page.reload()
    page.wait_for_selector("#eh-audit :text('Nothing changed')")
    assert page.inner_html("#eh-audit .eh-audit") == found


def test_a_dispute_file_goes_out_and_comes_in_again(proposed, app, browser, tmp_path):
    page = proposed
    page.fill("#eh-label-a textarea, #eh-label-a input", "Readers 🦉 <b>")
    with page.expect_download() as download:
        page.click("#eh-save-file")
    path = tmp_path / "dispute.yaml"
    download.value.save_as(path)
    context = browser.new_context()
    other = open_page(context.new_page(), app.url)
    other.set_input_files("#eh-open-file input[type=file]", path)
    wait_for_status(other, "Opened")
    for field in ("place", "reason", "suggestion"):
        assert other.input_value(f"#eh-{field}-b textarea") == page.input_value(f"#eh-{field}-b textarea")
    assert other.input_value("#eh-label-a textarea, #eh-label-a input") == "Readers 🦉 <b>"
    context.close()


def test_a_bad_file_is_one_sentence(page, tmp_path):
    path = tmp_path / "bad.yaml"
    for content, words in (
        ("view_a: {text: one}\n", "view_b"), ("", "empty"), ("\x00\x01", "text"), ("[" * 400, "JSON"),
    ):  # fmt: skip
        path.write_text(content)
        page.evaluate("() => { document.querySelector('.eh-status').textContent = ''; }")
        page.set_input_files("#eh-open-file input[type=file]", path)
        wait_for_status(page, words)
        assert page.get_attribute(".eh-status-error", "role") == "alert"
        assert "Traceback" not in page.text_content(".eh-status")


def test_an_example_never_replaces_what_was_typed(page, app):
    page.fill("#eh-text-a textarea", "My own words.")
    wait_for_saving(page)
    mine = page.url
    choose_example(page, "library")
    wait_for_status(page, "new dispute")
    assert page.url != mine
    page.go_back()
    page.wait_for_function("() => document.querySelector('#eh-text-a textarea')?.value === 'My own words.'")
    assert page.url == mine


def test_marks_in_quick_succession_all_count(proposed):
    page = proposed
    count = len(cards(page))
    page.evaluate(
        "() => { for (const keep of document.querySelectorAll("
        "'#eh-cards section[data-cards] > .eh-grid > .eh-card [data-action=keep]')) "
        "if (keep.checkVisibility()) keep.click(); }"
    )
    page.wait_for_function("count => document.querySelectorAll('.eh-kept li').length >= count", arg=count)


def test_cards_can_be_marked_while_more_like_one_of_them_is_written(proposed, slow_server):
    page = proposed
    choose_writer(page, slow_server.spec("endless"))
    press(page, "like", 1)
    page.wait_for_selector("#eh-live .eh-card")
    press(page, "drop", 2)
    page.wait_for_selector(".eh-card-dropped")
    assert page.is_enabled("#eh-stop")
    page.click("#eh-stop")
    wait_for_status(page, "Stopped")


def test_an_audit_whose_writer_cannot_be_reached_says_so_and_can_be_run_again(proposed):
    page = proposed
    choose_writer(page, "openai:m@http://127.0.0.1:9/v1")
    page.click("#eh-audit-panel > button")
    page.click("#eh-run-audit")
    page.wait_for_selector("#eh-audit .eh-status-error:has-text('cannot be reached')")
    assert page.is_enabled("#eh-run-audit")
    assert page.is_enabled("#eh-propose")
    assert not page.is_enabled("#eh-stop")
