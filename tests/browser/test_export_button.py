"""The Export button of the Train tab in headless Chromium: a real export, across a restart of the app, to its use."""

import os

import pytest
from support.stored_runs import stored_run

from tests.browser.conftest import free_port, running_app
from tests.browser.test_accessibility import violations
from tests.browser.test_train_tab import close, opened
from trainer.export import jobs as export_jobs
from trainer.runs import runs

pytestmark = pytest.mark.browser


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A data folder of the app and of this process; export processes outlive the app, and none outlives the test."""
    monkeypatch.setenv("EVENHAND_DATA_FOLDER", str(tmp_path / "data"))
    yield tmp_path
    for run in runs.list_runs():
        for job in export_jobs.list_jobs(run):
            runs.stop(job.run, patience=0.0)


def test_a_model_is_exported_across_a_restart_checked_and_used(browser, folder):
    pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("gguf", reason="gguf is not installed")
    from support.toy_training import toy_model

    run = stored_run("sft-1")
    toy_model(run.folder / "model", width=64, layers=2)
    (run.folder / "model" / "evenhand.json").write_text('{"prompt": "alignment", "recipe": "sft"}')
    port = free_port()
    with running_app(folder, port) as app:
        page = opened(browser, app.url)
        page.click("summary:has-text('Export…')")
        assert page.is_checked(".eh-export-choice [value=q4_k_m]")
        page.check(".eh-export-choice [value=q8_0]")
        if place := os.environ.get("EVENHAND_SCREENSHOTS"):
            page.screenshot(path=f"{place}/choice.png", full_page=True)
        assert violations(page) == []
        page.click("[data-act=export]")
        page.wait_for_selector("[data-export=q8_0] [role=progressbar]")
        assert not page.is_visible(".eh-export-choice fieldset"), "the choice makes room for the progress"
        assert page.get_attribute("[data-act=export]", "aria-disabled") == "true"
        if place:
            page.screenshot(path=f"{place}/progress.png", full_page=True)
        address = page.url.removeprefix(app.url)
        close(page)
    with running_app(folder, port) as app:
        page = opened(browser, app.url, address)
        page.wait_for_selector("[data-export=q8_0] .eh-run-state:has-text('Done')")
        card = page.locator("[data-export=q8_0]")
        file = run.folder / "exports" / "q8_0" / "sft-1-q8_0.gguf"
        assert card.locator("code").inner_text() == str(file)
        rows = card.locator("tbody tr")
        assert rows.locator("th").all_inner_texts()[2:] == ["Logits", "Likeliest next token", "Perplexity on prose"]
        assert all("yes" in text for text in rows.locator("td:last-child").all_inner_texts())
        assert violations(page) == []
        if place:
            page.screenshot(path=f"{place}/done.png", full_page=True)
        card.locator("[data-act=use]").click()
        page.wait_for_selector("#eh-propose:visible")
        page.wait_for_function("name => document.querySelector('#eh-model input').value === name", arg=f"gguf:{file}")
        page.wait_for_selector("text=trained on the two views alone")
        if place:
            page.screenshot(path=f"{place}/mediate.png", full_page=True)
        close(page)
